"""Forward and backward passes from tensors to tensors, over the core. Nothing here knows of gradients being recorded.

Tensors and arrays share memory: x, the output and the gradients are not copied, unless x is packed or its numbers are
not contiguous along the last axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ... import _arrays, _core
from ..._arrays import Array
from .packed import Packing
from .spec import Spec
from .weights import DTYPES, Weights


class Call(NamedTuple):
    """What a call is besides x, states and parameters."""

    spec: Spec
    weights: Weights
    packing: Packing | None  # of x, if it is packed
    key: tuple[float, int, int] | None  # dropout: probability, seed, number


class Tape:
    """What the backward pass of a call needs.

    Attributes:
        own: whether x and output are arrays that nobody else has.
    """

    __slots__ = ("own", "tape")

    def __init__(self, tape: _core.Tape, own: bool) -> None:
        self.tape, self.own = tape, own


def num_threads() -> int | None:
    """PyTorch's number where it is the smaller one: those who limit it, as its DataLoader does, mean all modules."""
    number = torch.get_num_threads()
    return number if number < _core.get_num_threads() else None


def array(tensor: Tensor) -> Array:
    try:
        return (tensor.detach() if tensor.requires_grad else tensor).numpy()  # type: ignore[no-any-return, unused-ignore]
    except RuntimeError:  # a negative that is not written down yet
        return tensor.numpy(force=True)  # type: ignore[no-any-return, unused-ignore]


def _time_major(call: Call, tensor: Tensor) -> Array:
    found = _arrays.real_array("x", array(tensor), DTYPES[tensor.dtype])
    if call.packing is not None:
        return call.packing.padded(found)
    return found.swapaxes(0, 1) if call.spec.batch_first else found


def _to_user(call: Call, found: Array) -> Tensor:
    if call.packing is not None:
        return torch.from_numpy(call.packing.packed(found))
    return torch.from_numpy(found.swapaxes(0, 1) if call.spec.batch_first else found)


def _states(tensors: Sequence[Tensor | None], dtype: np.dtype[Any]) -> tuple[Array | None, ...]:
    return tuple(
        None if one is None else np.ascontiguousarray(_arrays.real_array("hx", array(one), dtype)) for one in tensors
    )


def run(
    call: Call, x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor], training: bool
) -> tuple[list[Tensor], Tape | None]:
    """The output and the final states, and in training what `backward` needs.

    x: (T, N, I), with batch_first (N, T, I), or the data (rows, I) of a packed sequence. states: (layers, N, size)
    each, or none for zeros. weights: in PyTorch's order.
    """
    spec, packing = call.spec, call.packing
    network = call.weights.network(spec, weights)
    dtype = DTYPES[x.dtype]
    given = _time_major(call, x)
    steps, batch, _ = given.shape
    initial = _states(states, dtype) if states else (None,) * len(spec.state_sizes)
    shape = (batch, steps, spec.width) if spec.batch_first and packing is None else (steps, batch, spec.width)
    output = _core.empty(shape, dtype)
    view = output.swapaxes(0, 1) if spec.batch_first and packing is None else output
    lengths = None if packing is None else packing.lengths
    if not training:
        final = network.infer(given, initial, lengths, view, num_threads())
        kept = None
    else:
        if states:  # callers use the arrays of states again
            initial = tuple(None if one is None else one.copy() for one in initial)
        final, tape = network.train(given, initial, lengths, view, call.key, num_threads())
        kept = Tape(tape, packing is not None and packing.lengths is not None)
    result = torch.from_numpy(output) if packing is None else torch.from_numpy(packing.packed(output))
    return [result, *map(torch.from_numpy, final)], kept


def backward(
    call: Call,
    tape: Tape,
    d_output: Tensor | None,
    d_states: Sequence[Tensor | None],
    need_x: bool,
    need_weights: bool,
    moved: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor | None, list[Tensor], list[Tensor | None]]:
    """The gradients to x, to the initial states, and to the parameters, in PyTorch's order.

    moved: x and the output, where they may no longer be in the memory of the forward pass.
    """
    dtype = DTYPES[next(one for one in (d_output, *d_states) if one is not None).dtype]
    places = [] if moved is None or tape.own else [_time_major(call, one) for one in moved]
    d_x, d_initial, d_weights = tape.tape.backward(
        None if d_output is None else _time_major(call, d_output),
        _states(d_states, dtype),
        need_x, num_threads(), None, need_weights, *places,
    )  # fmt: skip
    flat = call.spec.flat(d_weights)
    return (
        None if d_x is None else _to_user(call, d_x),
        [torch.from_numpy(one) for one in d_initial],
        [None if one is None else torch.from_numpy(one) for one in flat],
    )
