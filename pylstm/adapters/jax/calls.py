"""What runs behind JAX' callbacks: NumPy arrays in and out, over the core. No state but packed weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _core
from ..._arrays import Array, length_array, real_array
from .sizes import Sizes

MOST_KEPT = 8  # networks
_KEPT: dict[Any, tuple[list[bytearray], _core.Network]] = {}  # the newest last


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


def _taken(
    dtype: np.dtype[Any], x: Any, states: Sequence[Any], lengths: Any, params: Sequence[Any]
) -> tuple[Array, tuple[Array, ...], Any, list[Array]]:
    given = real_array("x", np.asarray(x), dtype)
    initial = tuple(np.array(one, dtype, order="C") for one in states)
    lens = None if lengths is None else length_array(np.asarray(lengths), *given.shape[:2])
    return given, initial, lens, [np.ascontiguousarray(np.asarray(one), dtype) for one in params]


def forward(
    sizes: Sizes, dtype: np.dtype[Any], x: Any, states: Any, lengths: Any, params: Any
) -> tuple[Array, tuple[Array, ...]]:
    """x: (T, N, I). The output and the final states."""
    given, initial, lens, arrays = _taken(dtype, x, states, lengths, params)
    output = _core.empty((*given.shape[:2], sizes.width), dtype)
    return output, _network(sizes, dtype, arrays).infer(given, initial, lens, output, None)


def backward(
    sizes: Sizes, dtype: np.dtype[Any], x: Any, states: Any, lengths: Any, params: Any, d_output: Any, d_states: Any
) -> tuple[Array, tuple[Array, ...], tuple[Array, ...]]:
    """The gradients to x, states and parameters, by a forward pass of its own: between callbacks nothing is kept."""
    given, initial, lens, arrays = _taken(dtype, x, states, lengths, params)
    output = _core.empty((*given.shape[:2], sizes.width), dtype)
    _, tape = _network(sizes, dtype, arrays).train(given, initial, lens, output, None, None)
    d_final = tuple(np.ascontiguousarray(np.asarray(one), dtype) for one in d_states)
    d_x, d_initial, nested = tape.backward(real_array("d_output", np.asarray(d_output), dtype), d_final, True, None)
    assert d_x is not None
    return d_x, d_initial, tuple(sizes.flat(nested).values())
