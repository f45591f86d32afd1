"""The bits of every cell: one line per case, a hash of outputs, states and all gradients of both passes.

    python tools/bits.py > before.txt       # with one build ..
    python tools/bits.py > after.txt        # .. and with another: diff them
    python tools/bits.py --together         # one hash of all, for comparing compilers

Every cell, dtype, direction, projection, with and without lengths, states and dropout, at sizes on both sides of a
block's and a tile's edge; whole calls, chunks and steps of a stream; on every instruction set with fused
multiply-adds (they agree), for one thread and for two.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
from typing import Any

import numpy as np

import pylstm

CELLS: dict[str, tuple[str, dict[str, Any]]] = {
    "lstm": ("LSTM", {}),
    "lstm projected": ("LSTM", {"proj_size": 5}),
    "lstm one bias": ("LSTM", {"recurrent_bias": False}),
    "gru": ("GRU", {}),
    "gru before": ("GRU", {"reset_after": False}),
    "rnn tanh": ("RNN", {}),
    "rnn relu": ("RNN", {"nonlinearity": "relu", "bias": False}),
    "lstm chosen": (
        "LSTM",
        {"activation": "softsign", "recurrent_activation": "hard_sigmoid", "peephole": True, "clip": 2},
    ),
    "lstm coupled": ("LSTM", {"coupled": True, "activation": ("elu", 0.5)}),
    "gru chosen": ("GRU", {"activation": "softplus", "clip": 2}),
    "gru before chosen": ("GRU", {"reset_after": False, "activation": ("scaled_tanh", 0.8, 1.2)}),
    "rnn chosen": ("RNN", {"nonlinearity": "silu"}),
}
SHAPES = [(1, 1, 3, 8), (7, 5, 13, 33), (50, 9, 16, 70), (23, 40, 40, 100)]  # T, N, I, H


def bits(name: str, dtype: str, shape: tuple[int, int, int, int], both_ways: bool, ragged: bool, threads: int) -> str:
    """The hash of one case."""
    steps, batch, width, hidden = shape
    cls, options = CELLS[name]
    rng = np.random.default_rng([steps, batch])
    layers = 2 if steps > 1 else 1
    more = {"dropout": 0.3} if layers > 1 else {}
    layer = getattr(pylstm, cls)(width, hidden, layers, bidirectional=both_ways, dtype=dtype, seed=1, **options, **more)

    def normal(*size: int) -> np.ndarray[Any, Any]:
        return rng.standard_normal(size).astype(dtype)

    x = normal(steps, batch, width)
    states = tuple(normal(layers * layer.num_directions, batch, size) for size in layer._state_sizes)
    state = (states if len(states) > 1 else states[0]) if ragged else None
    lengths = rng.integers(0, steps + 1, batch) if ragged else None
    output, final, backward = layer.forward(x, state, lengths=lengths, num_threads=threads)
    grads = backward(normal(*output.shape), state)
    arrays = [output, grads.x, *grads.params.values(), layer(x, state, lengths=lengths, num_threads=threads)[0]]
    arrays += [*final, *grads.state] if len(states) > 1 else [final, grads.state]
    if not both_ways:
        stream = layer.stream(batch, num_threads=threads)
        arrays += [stream(x[: steps // 2]), *(stream.step(row) for row in x[steps // 2 :])]
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("--together", action="store_true", help="one hash of all cases")
    args = parser.parse_args()
    isas = [isa for isa in pylstm._core.available_isas() if isa != "baseline"] or ["baseline"]
    lines = []
    cases = itertools.product(CELLS, ("float32", "float64"), SHAPES, (False, True), (False, True))
    for name, dtype, shape, both_ways, ragged in cases:
        found = set()
        for isa, threads in itertools.product(isas, (1, 2)):
            pylstm._core.use_isa(isa)
            found.add(bits(name, dtype, shape, both_ways, ragged, threads))
        words = ["both ways" * both_ways, "ragged" * ragged]
        what = f"{name}, {dtype}, {'x'.join(map(str, shape))} {' '.join(words)}".strip()
        lines.append(f"{' != '.join(sorted(found))}  {what}")
    print(hashlib.sha256("\n".join(lines).encode()).hexdigest() if args.together else "\n".join(lines))


if __name__ == "__main__":
    main()
