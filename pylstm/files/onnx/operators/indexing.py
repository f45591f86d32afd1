"""Operators that take numbers from places, put them there, and look for places."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...._arrays import Array
from .registry import Call, Compute, ForShapes, operator
from .shapes import axis_of, checked_size


def _indices(indices: Array, size: int) -> Array:
    """From the front, none out of range."""
    found = np.where(indices < 0, indices + size, indices)
    if found.size and (found.min() < 0 or found.max() >= size):
        raise IndexError(f"an index is out of range: {indices.min()} to {indices.max()} for an axis of {size}")
    return found


@operator("Gather", 2)
def _gather(call: Call) -> Compute:
    axis = call.integer("axis", 0)

    def compute(x: Array, indices: Array) -> Array:
        at = axis_of(axis, x.ndim)
        return x.take(_indices(indices, x.shape[at]), at)

    def ready_for(known: list[Array | None], x: Array) -> Compute | None:
        if known[1] is None:
            return None
        at = axis_of(axis, x.ndim)
        indices = _indices(known[1], x.shape[at])
        if indices.ndim:
            return lambda x, _: x.take(indices, at)
        place = (slice(None),) * at + (int(indices),)
        return lambda x, _: x[place]

    return ForShapes(compute, ready_for)


@operator("GatherElements", 2)
def _gather_elements(call: Call) -> Compute:
    axis = call.integer("axis", 0)

    def compute(x: Array, indices: Array) -> Array:
        at = axis_of(axis, x.ndim)
        places: list[Any] = list(np.indices(indices.shape, sparse=True))
        places[at] = _indices(indices, x.shape[at])
        return np.asarray(x[tuple(places)])

    return compute


@operator("GatherND", 2)
def _gather_nd(call: Call) -> Compute:
    batch = call.integer("batch_dims", 0)

    def compute(x: Array, indices: Array) -> Array:
        count = indices.shape[-1]
        if not 0 <= batch < min(x.ndim, indices.ndim) or count > x.ndim - batch:
            raise ValueError(f"indices of shape {indices.shape} do not fit an array of shape {x.shape}")
        places = [_indices(indices[..., at], x.shape[batch + at]) for at in range(count)]
        head: Any = np.indices(indices.shape[:batch], sparse=True)
        more = indices.ndim - 1 - batch
        return np.asarray(x[tuple([one.reshape(one.shape + (1,) * more) for one in head] + places)])

    return compute


_UPDATES = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _put(x: Array, places: tuple[Any, ...], updates: Array, reduction: str) -> Array:
    y = x.copy()
    if reduction == "none":
        y[places] = updates
    else:
        _UPDATES[reduction].at(y, places, updates)
    return y


@operator("Scatter", 3)
@operator("ScatterElements", 3)
def _scatter_elements(call: Call) -> Compute:
    axis = call.integer("axis", 0)
    reduction = call.choice("reduction", "none", ("none", *_UPDATES))

    def compute(x: Array, indices: Array, updates: Array) -> Array:
        at = axis_of(axis, x.ndim)
        places: list[Any] = list(np.indices(indices.shape, sparse=True))
        places[at] = _indices(indices, x.shape[at])
        return _put(x, tuple(places), updates, reduction)

    return compute


@operator("ScatterND", 3)
def _scatter_nd(call: Call) -> Compute:
    reduction = call.choice("reduction", "none", ("none", *_UPDATES))

    def compute(x: Array, indices: Array, updates: Array) -> Array:
        places = tuple(_indices(indices[..., at], x.shape[at]) for at in range(indices.shape[-1]))
        return _put(x, places, updates, reduction)

    return compute


@operator("OneHot", 3)
def _one_hot(call: Call) -> Compute:
    axis = call.integer("axis", -1)

    def compute(indices: Array, depth: Array, values: Array) -> Array:
        count = int(depth.ravel()[0])
        at = axis_of(axis, indices.ndim + 1)
        shape = checked_size([*indices.shape[:at], count, *indices.shape[at:]])
        ids = indices.astype(np.int64)
        ids = np.where(ids < 0, ids + count, ids)
        y = np.full(shape, values[0], values.dtype)
        hot = np.expand_dims(ids, at) == np.arange(count).reshape([-1 if i == at else 1 for i in range(len(shape))])
        y[hot] = values[1]
        return y

    return compute


@operator("TopK", 2)
def _top_k(call: Call) -> Compute:
    axis, largest = call.integer("axis", -1), call.flag("largest", 1)
    call.ignore("sorted")

    def compute(x: Array, k: Array) -> tuple[Array, Array]:
        at, count = axis_of(axis, x.ndim), int(k.ravel()[0])
        if not 0 <= count <= x.shape[at]:
            raise ValueError(f"k={count} of an axis of {x.shape[at]}")
        # of equal numbers the first one counts: a stable sort, of the numbers turned round for the largest
        if largest:
            order = x.shape[at] - 1 - np.flip(np.argsort(np.flip(x, at), at, kind="stable"), at)
        else:
            order = np.argsort(x, at, kind="stable")
        order = order.take(np.arange(count), at)
        return np.take_along_axis(x, order, at), order.astype(np.int64)

    return compute


def _arg(name: str, largest: bool) -> None:
    @operator(name, 1)
    def build(call: Call) -> Compute:
        axis, keep, last = call.integer("axis", 0), call.flag("keepdims", 1), call.flag("select_last_index", 0)
        function = np.argmax if largest else np.argmin

        def compute(x: Array) -> Array:
            at = axis_of(axis, x.ndim)
            found = x.shape[at] - 1 - function(np.flip(x, at), at) if last else function(x, at)
            found = np.asarray(found, np.int64)
            return np.expand_dims(found, at) if keep else found

        return compute


_arg("ArgMax", True)
_arg("ArgMin", False)


@operator("NonZero", 1)
def _non_zero(call: Call) -> Compute:  # noqa: ARG001
    return lambda x: np.array(np.nonzero(np.atleast_1d(x)), np.int64).reshape(max(x.ndim, 1), -1)


@operator("Compress", 2)
def _compress(call: Call) -> Compute:
    axis = call.integer("axis", None)
    return lambda x, condition: np.compress(condition, x, axis)


@operator("CumSum", 2)
def _cum_sum(call: Call) -> Compute:
    exclusive, reverse = call.flag("exclusive", 0), call.flag("reverse", 0)

    def compute(x: Array, axis: Array) -> Array:
        at = axis_of(int(axis.ravel()[0]), x.ndim)
        x = np.flip(x, at) if reverse else x
        y = np.cumsum(x, at, dtype=x.dtype)
        if exclusive:
            y = y - x
        return np.flip(y, at) if reverse else y

    return compute


@operator("Trilu", 1, 2)
def _trilu(call: Call) -> Compute:
    function = np.triu if call.flag("upper", 1) else np.tril
    return lambda x, k=None: function(x, 0 if k is None else int(k.ravel()[0]))


@operator("ReverseSequence", 2)
def _reverse_sequence(call: Call) -> Compute:
    batch_axis, time_axis = call.integer("batch_axis", 1), call.integer("time_axis", 0)
    if {batch_axis, time_axis} != {0, 1}:
        raise call.error("its axes of time and batch must be 0 and 1")

    def compute(x: Array, lengths: Array) -> Array:
        y = x if time_axis == 0 else x.swapaxes(0, 1)
        y = reversed_steps(y, lengths)
        return y if time_axis == 0 else y.swapaxes(0, 1)

    return compute


def reversed_steps(x: Array, lengths: Array | None) -> Array:
    """x (T, N, ..) with the steps of each sequence within its length in the opposite order."""
    if lengths is None:
        return x[::-1]
    steps = np.arange(len(x))[:, None]
    order = np.where(steps < lengths, lengths - 1 - steps, steps)
    return x[order, np.arange(x.shape[1])]
