"""What runs inside of JAX' programs: NumPy arrays in and out, over the core. No state but packed weights and tapes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ... import _core
from ..._arrays import Array, length_array, real_array
from . import tapes
from .sizes import Sizes

MOST_KEPT = 8  # networks
_KEPT: dict[Any, tuple[list[bytearray], _core.Network]] = {}  # the newest last


class Call(NamedTuple):
    """What a call is besides arrays. It goes through JAX' programs as a text.

    Inputs are x (T, N, I), the initial states, the lengths, and the parameters. `infer` gives the output and the final
    states; `train` also the name of a tape (`tapes`). `backward` takes, besides, the output, that name, and the
    gradients to output and final states, and gives those to x, states and parameters.
    """

    what: str  # infer, train or backward
    sizes: Sizes
    ragged: bool  # whether there are lengths

    def as_text(self) -> str:
        cell, *numbers, names = self.sizes
        return " ".join([self.what, str(int(self.ragged)), cell, *(str(int(one)) for one in numbers), *names])


@lru_cache(maxsize=256)
def call_of(text: str) -> Call:
    what, ragged, cell, *rest = text.split()
    inputs, hidden, output, layers, both = (int(one) for one in rest[:5])
    sizes = Sizes(cell, inputs, hidden, output, layers, bool(both), tuple(rest[5:]))
    return Call(what, sizes, ragged == "1")


def _network(sizes: Sizes, dtype: np.dtype[Any], params: Sequence[Array]) -> _core.Network:
    """Packed weights, of an earlier call if the numbers are the same: JAX' arrays have no identity here."""
    key = (sizes, dtype)
    kept = _KEPT.get(key)
    if kept is not None and all(copy == array for copy, array in zip(kept[0], params, strict=True)):
        return kept[1]
    copies = [bytearray(array) for array in params]  # compared byte for byte, and what the core goes on reading
    arrays = [np.frombuffer(copy, dtype).reshape(one.shape) for copy, one in zip(copies, params, strict=True)]
    network = _core.Network(
        sizes.cell, dtype, sizes.input_size, sizes.hidden_size, sizes.output_size, sizes.num_layers,
        sizes.bidirectional, sizes.nested(dict(zip(sizes.names, arrays, strict=True))),
    )  # fmt: skip
    _KEPT.pop(key, None)
    _KEPT[key] = copies, network
    for old in list(_KEPT)[:-MOST_KEPT]:
        _KEPT.pop(old, None)
    return network


def run(text: str, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
    """Fill `outputs`. None of the arrays is kept: their memory is JAX'."""
    call = call_of(text)
    rest = list(inputs)
    x = real_array("x", rest.pop(0), rest[0].dtype)
    count = len(call.sizes.state_shapes(1))
    states, rest = tuple(rest[:count]), rest[count:]
    lengths = length_array(rest.pop(0), *x.shape[:2]) if call.ragged else None
    params, rest = rest[: len(call.sizes.names)], rest[len(call.sizes.names) :]
    if call.what == "backward":
        _backward(call, x, states, lengths, params, rest, outputs)
        return
    network = _network(call.sizes, x.dtype, params)
    if call.what == "infer":
        final = network.infer(x, states, lengths, outputs[0], None)
    else:
        final, tape = _train(network, x, states, lengths, outputs[0])
        rows = x.shape[0] * x.shape[1] * call.sizes.num_layers * (2 if call.sizes.bidirectional else 1)
        size = rows * call.sizes.hidden_size * x.itemsize * 8  # a cell keeps some 4 to 8 numbers of a unit
        outputs[-1][...] = tapes.keep(tape, size)
    for target, one in zip(outputs[1:], final, strict=False):
        target[...] = one


def _train(
    network: _core.Network, x: Array, states: Sequence[Array], lengths: Any, output: Array
) -> tuple[tuple[Array, ...], _core.Tape]:
    """The tape goes on reading the initial states; x and the output it is given again."""
    return network.train(x, tuple(one.copy() for one in states), lengths, output, None, None)


def _backward(
    call: Call, x: Array, states: Sequence[Array], lengths: Any, params: Sequence[Array], rest: Sequence[Array],
    outputs: Sequence[Array],
) -> None:  # fmt: skip
    output, name, d_output, *d_final = rest
    tape = tapes.take(name)
    if tape is None:
        again = _core.empty(output.shape, x.dtype)
        _, tape = _train(_network(call.sizes, x.dtype, params), x, states, lengths, again)
    d_x, d_states, nested = tape.backward(d_output, tuple(d_final), True, None, None, True, x, output)
    found = (d_x, *d_states, *call.sizes.flat(nested).values())
    for target, one in zip(outputs, found, strict=True):
        target[...] = one
