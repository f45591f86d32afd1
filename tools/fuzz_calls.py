"""A long random fuzz of the layers' front: right and wrong calls by the million. `python tools/fuzz_calls.py --help`

Every call is drawn from a seed that is printed when something goes wrong, so it can be repeated. What may happen is a
result or one of the errors that a user is promised; results of every tenth call that succeeds are compared with the
NumPy reference. A watchdog ends the process, with a traceback, if a call hangs; a crash of the interpreter ends it by
itself. Run it on a build with AddressSanitizer as well: `nox -s asan`.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import os
import sys
import time
from pathlib import Path

import numpy as np

import pylstm
import pylstm.reference

try:
    import resource
except ImportError:  # Windows
    resource = None

PROMISED = (TypeError, ValueError, IndexError, MemoryError)
DTYPES = ["f4", "f8", "f2", ">f4", ">f8", "i4", "u1", "?", "c8", "O", "S3", "M8[s]", "g"]
# AddressSanitizer's operator new ends the process where others raise an error: no huge sizes then.
HUGE = [] if os.environ.get("PYLSTM_CHECKER") else [2**31, 2**31 - 1, 2**62, 2**63 - 1, 2**64, 10**30, -1, -(2**63)]


class Draw:
    """Random arguments, most of them nearly right."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def pick(self, options):
        return options[int(self.rng.integers(len(options)))]

    def junk(self):
        """Something that is no array at all, or a strange one."""
        return self.pick([
            None, True, 3, 2.5, float("nan"), "x", b"x", [], [[]], [1, [2]], {}, set(), object(), Ellipsis, slice(3),
            np.float32(1), np.array(None), np.zeros(0), np.zeros((0, 0, 0)), np.ma.masked_array([1.0], [True]),
            np.zeros(3, [("a", "f4")]), np.nan, 1j, range(3), type, lambda: None, iter([1]), *HUGE,
        ])  # fmt: skip

    def array(self, shape, dtype="f4"):
        """An array of about this shape: strides, dtypes, values and sizes vary."""
        rng = self.rng
        if self.chance(0.02):
            return self.junk()
        shape = list(shape)
        if self.chance(0.06):
            for _ in range(int(rng.integers(1, 3))):
                change = int(rng.integers(4))
                if change == 0 and shape:
                    shape.pop(int(rng.integers(len(shape))))
                elif change == 1:
                    shape.insert(int(rng.integers(len(shape) + 1)), int(rng.integers(0, 3)))
                elif shape:
                    shape[int(rng.integers(len(shape)))] = int(rng.integers(0, 6))
        kind = self.pick(DTYPES) if self.chance(0.08) else dtype
        array = rng.standard_normal(shape).astype(kind) if kind not in ("M8[s]",) else np.zeros(shape, kind)
        if self.chance(0.05) and array.dtype.kind == "f" and array.size:
            array.flat[int(rng.integers(array.size))] = self.pick([np.nan, np.inf, -np.inf, 1e38, 1e-42, -0.0])
        if self.chance(0.15) and array.ndim:
            axis = int(rng.integers(array.ndim))
            change = int(rng.integers(5))
            if change == 0:
                array = np.flip(array, axis)
            elif change == 1:
                array = np.repeat(array, 2, axis)[(slice(None),) * axis + (slice(None, None, 2),)]
            elif change == 2:
                array = np.asfortranarray(array)
            elif change == 3 and array.shape[axis]:
                array = np.broadcast_to(array.take([0], axis), array.shape)
            else:
                array.flags.writeable = False
        if self.chance(0.03) and array.dtype.kind == "f":  # misaligned
            room = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
            room[...] = array
            array = room
        return array.tolist() if self.chance(0.02) and array.dtype.kind in "fiu" else array


def make_layer(draw: Draw):
    """A layer and its options; now and then with options that no layer has."""
    cls = draw.pick(["LSTM", "GRU", "RNN"])
    options = {
        "input_size": int(draw.rng.integers(1, 9)),
        "hidden_size": int(draw.rng.integers(1, 20)),
        "num_layers": int(draw.rng.integers(1, 3)),
        "bidirectional": draw.chance(0.3),
        "batch_first": draw.chance(0.3),
        "bias": draw.chance(0.8),
        "dtype": draw.pick(["float32", "float64"]),
        "seed": 0,
    }
    if cls == "LSTM" and draw.chance(0.2):
        options["proj_size"] = int(draw.rng.integers(0, 5))
    if cls == "GRU":
        options["reset_after"] = draw.chance(0.5)
    if cls == "RNN":
        options["nonlinearity"] = draw.pick(["tanh", "relu", "silu", ("elu", 0.5)])
    if cls != "RNN" and draw.chance(0.2) and "proj_size" not in options:
        options["activation"] = draw.pick(["relu", "softsign", ("scaled_tanh", 0.9, 1.1)])
        options["recurrent_activation"] = draw.pick(["hard_sigmoid", ("hard_sigmoid", 1 / 6, 0.5)])
    if draw.chance(0.2) and "proj_size" not in options:
        options["clip"] = draw.pick([0.5, 3])
    if cls == "LSTM" and draw.chance(0.2) and "proj_size" not in options:
        options |= {"peephole": draw.chance(0.5), "coupled": draw.chance(0.5)}
    if draw.chance(0.1):
        options[draw.pick(list(options))] = draw.junk()
    return getattr(pylstm, cls)(**options)


def one_call(draw: Draw, layer, compare: bool) -> str:
    """Draws a call and makes it; what was done."""
    rng = draw.rng
    steps, batch = int(rng.integers(0, 6)), int(rng.integers(0, 5))
    shape = (batch, steps) if layer.batch_first else (steps, batch)
    x = draw.array((*shape, layer.input_size), layer.dtype)
    count = layer.num_layers * layer.num_directions
    sizes = layer._state_sizes
    state = None
    if draw.chance(0.3):
        parts = tuple(draw.array((count, batch, size), layer.dtype) for size in sizes)
        state = parts if len(parts) > 1 else parts[0]
        state = draw.junk() if draw.chance(0.03) else state
    lengths = None
    if draw.chance(0.3):
        lengths = rng.integers(0, steps + 1, batch)
        if draw.chance(0.1):
            lengths = draw.pick(
                [lengths + 1, -lengths, lengths[:-1], lengths * 1.0, draw.junk(), np.full(batch, 2**40)]
            )
    threads = draw.pick([1, 2, None, 3]) if draw.chance(0.97) else draw.junk()
    kind = draw.pick(["call", "call", "out", "train", "train", "stream", "load"])
    output_shape = (*shape, layer.num_directions * layer.output_size)
    if kind in ("call", "out"):
        options = {"out": draw.array(output_shape, layer.dtype)} if kind == "out" else {}
        output, _ = layer(x, state, lengths=lengths, num_threads=threads, **options)
        if compare:
            twin = getattr(pylstm.reference, type(layer).__name__)(**{**layer._config(), "dtype": "float64"}, seed=0)
            twin.load_state_dict(layer.params)
            want, _ = twin(np.asarray(x, layer.dtype), state, lengths=lengths)
            # numbers that float32 cannot carry through a product overflow in one and not in the other
            given = [np.asarray(x), *layer.params.values(), *(() if state is None else map(np.asarray, parts))]
            if all(np.abs(array.astype(float)).max(initial=0) < 1e6 for array in given):
                assert np.allclose(output, want, rtol=1e-3, atol=1e-3), "not what the reference gives"
                return "compared"
    elif kind == "train":
        output, _, backward = layer.forward(x, state, lengths=lengths, need_dx=draw.chance(0.7), num_threads=threads)
        parts = tuple(draw.array((count, batch, size), layer.dtype) for size in sizes)
        d_state = None if draw.chance(0.5) else parts if len(parts) > 1 else parts[0]
        backward(draw.array(output.shape, layer.dtype) if draw.chance(0.9) else None, d_state)
    elif kind == "stream":
        stream = layer.stream(max(1, batch) if draw.chance(0.95) else draw.junk())
        out = draw.array((max(1, batch), layer.output_size), layer.dtype) if draw.chance(0.5) else None
        for _ in range(2):
            stream.step(draw.array((max(1, batch), layer.input_size), layer.dtype), out=out)
        stream(x)
    else:
        params = {name: draw.array(value.shape, layer.dtype) for name, value in layer.params.items()}
        if draw.chance(0.1):
            params.pop(draw.pick(list(params)))
        layer.load_state_dict(params if draw.chance(0.97) else draw.junk())
        layer(x)
    return kind


def resident() -> int:
    """MiB in memory, 0 where that is not told."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) // 256
    except OSError:
        return 0


@contextlib.contextmanager
def limited(room: int = 4 << 30):
    """Calls that ask for more memory than this meet a MemoryError, not the system's killer of processes."""
    if resource is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def fuzz(calls: int, seed: int, report: float = 10.0) -> collections.Counter:
    """Makes the calls; how often each outcome came."""
    try:
        with limited():
            return make_calls(calls, seed, report)
    finally:
        faulthandler.cancel_dump_traceback_later()


def make_calls(calls: int, seed: int, report: float) -> collections.Counter:
    seen: collections.Counter = collections.Counter()
    began = shown = time.monotonic()
    layer = None
    for number in range(calls):
        draw = Draw(np.random.default_rng([seed, number]))
        if number % 100 == 0:  # a call that hangs ends the process, with a traceback
            faulthandler.dump_traceback_later(60, exit=True)
        try:
            if layer is None or number % 20 == 0:
                layer = make_layer(Draw(np.random.default_rng([seed, number, 1])))
            seen[one_call(draw, layer, number % 10 == 0)] += 1
        except PROMISED as error:
            if not str(error):
                raise AssertionError(f"an error without a word, call {number} of seed {seed}") from error
            seen[type(error).__name__] += 1
        except BaseException:
            print(f"call {number} of seed {seed}", file=sys.stderr)
            raise
        if (now := time.monotonic()) - shown > report:
            shown = now
            print(f"{number + 1:,} calls, {(number + 1) / (now - began):,.0f} a second, {resident()} MiB", flush=True)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    np.seterr(all="ignore")
    fuzz(2000, args.seed + 1)
    before = resident()
    seen = fuzz(args.calls, args.seed)
    print(", ".join(f"{name} {count:,}" for name, count in seen.most_common()))
    print(f"{args.calls:,} calls: no crash, no hang, no wrong answer; {resident() - before:+d} MiB resident")
    if resident() - before > 64:
        sys.exit("memory has grown")


if __name__ == "__main__":
    main()
