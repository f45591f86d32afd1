"""Operators that make arrays of other shapes, and those that make arrays of nothing but a shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...._arrays import Array
from .registry import Call, Compute, ForShapes, operator

MOST = 2**28  # numbers of an array whose size a model says, unless so many go in:
_TIMES = 16  # so many times those that go in, at most


def checked_size(shape: Sequence[int], given: int = 0) -> tuple[int, ...]:
    """A shape that a model asks for, as integers; given: how many numbers go in."""
    found = tuple(int(size) for size in shape)
    if any(size < 0 for size in found):
        raise ValueError(f"asks for an array of shape {found[:40]}")
    if math.prod(found) > max(MOST, _TIMES * given):
        raise ValueError(
            f"asks for an array of shape {found[:40]}, more numbers than any model means: 2**28 are computed, and "
            f"{_TIMES} times as many as go in"
        )
    return found


def axis_of(axis: int, axes: int) -> int:
    """An axis counted from the front."""
    if not -axes <= axis < axes:
        raise ValueError(f"axis {axis} is none of an array of {axes} axes")
    return axis + axes if axis < 0 else axis


@operator("Constant", 0)
def _constant(call: Call) -> Compute:
    call.ignore("sparse_value", "value_string", "value_strings")
    names = [name for name in call.node.attributes if name.startswith("value")]
    if len(names) != 1 or "sparse_value" in call.node.attributes:
        raise call.error("must have one value, a dense one")
    name = names[0]
    if name == "value":
        array = call.array(name)
    elif name in ("value_float", "value_floats"):
        array = np.array(call.number(name) if name[-1] == "t" else call.numbers(name), np.float32)
    elif name in ("value_int", "value_ints"):
        array = np.array(call.integer(name) if name[-1] == "t" else call.integers(name), np.int64)
    else:
        raise call.error("holds texts, which are not read")
    return lambda: array


@operator("Shape", 1)
def _shape(call: Call) -> Compute:
    start, end = call.integer("start", 0), call.integer("end", None)
    return lambda x: np.array(x.shape[start:end], np.int64)


@operator("Size", 1)
def _size(call: Call) -> Compute:  # noqa: ARG001
    return lambda x: np.array(x.size, np.int64)


@operator("Reshape", 2)
def _reshape(call: Call) -> Compute:
    zeros_are_sizes = call.flag("allowzero", 0)

    def compute(x: Array, shape: Array) -> Array:
        sizes = [int(size) for size in shape.ravel()]
        if not zeros_are_sizes:
            sizes = [x.shape[at] if size == 0 else size for at, size in enumerate(sizes)]
        return x.reshape(sizes)

    return compute


@operator("Flatten", 1)
def _flatten(call: Call) -> Compute:
    axis = call.integer("axis", 1)

    def compute(x: Array) -> Array:
        at = axis + x.ndim if axis < 0 else axis
        if not 0 <= at <= x.ndim:
            raise ValueError(f"axis {axis} is none of an array of {x.ndim} axes")
        return x.reshape(math.prod(x.shape[:at]), math.prod(x.shape[at:]))

    return compute


def _squeezed(x: Array, axes: Any) -> Array:
    if axes is None:
        return x.squeeze()
    return x.squeeze(tuple(int(axis) for axis in np.ravel(axes)))


@operator("Squeeze", 1)
def _squeeze_by_attribute(call: Call) -> Compute:
    axes = call.integers("axes", None)
    return lambda x: _squeezed(x, axes)


@operator("Squeeze", 1, 2, since=13)
def _squeeze(call: Call) -> Compute:  # noqa: ARG001
    return lambda x, axes=None: _squeezed(x, axes)


def _unsqueezed(x: Array, axes: Any) -> Array:
    return np.expand_dims(x, tuple(int(axis) for axis in np.ravel(axes)))


@operator("Unsqueeze", 1)
def _unsqueeze_by_attribute(call: Call) -> Compute:
    axes = call.integers("axes")
    return lambda x: _unsqueezed(x, axes)


@operator("Unsqueeze", 2, since=13)
def _unsqueeze(call: Call) -> Compute:  # noqa: ARG001
    return _unsqueezed


@operator("Transpose", 1)
def _transpose(call: Call) -> Compute:
    perm = call.integers("perm", None)
    return lambda x: x.transpose(perm)


@operator("Expand", 2)
def _expand(call: Call) -> Compute:  # noqa: ARG001
    def compute(x: Array, shape: Array) -> Array:
        sizes = checked_size(shape.ravel().tolist(), x.size)
        full = np.broadcast_shapes(x.shape, sizes)
        checked_size(full, x.size)
        return np.broadcast_to(x, full)

    return compute


@operator("Tile", 2)
def _tile(call: Call) -> Compute:  # noqa: ARG001
    def compute(x: Array, repeats: Array) -> Array:
        counts = repeats.ravel().tolist()
        if len(counts) != x.ndim:
            raise ValueError(f"repeats has {len(counts)} numbers for an array of {x.ndim} axes")
        checked_size([size * count for size, count in zip(x.shape, counts, strict=True)], x.size)
        return np.tile(x, counts)

    return compute


@operator("Concat", 1, -1)
def _concat(call: Call) -> Compute:
    axis = call.integer("axis")
    return lambda *arrays: np.concatenate(arrays, axis)


@operator("Split", 1, 2)
def _split(call: Call) -> Compute:
    axis, sizes, count = call.integer("axis", 0), call.integers("split", None), call.integer("num_outputs", None)
    outputs = call.outputs
    if count is not None and count < outputs:
        raise call.error(f"has {outputs} outputs, and num_outputs={count}")

    def compute(x: Array, given: Array | None = None) -> tuple[Array, ...]:
        at, parts = axis_of(axis, x.ndim), sizes if given is None else given.ravel().tolist()
        size = x.shape[at]
        if parts is None:
            each = -(-size // outputs)
            if count is None and size % outputs:
                raise ValueError(f"{size} cannot be cut into {outputs} equal parts")
            parts = [each] * (outputs - 1) + [size - each * (outputs - 1)]
        if len(parts) < outputs or sum(parts) != size or min(parts) < 0:
            raise ValueError(f"the parts {parts[:20]} are not those of an axis of {size} for {outputs} outputs")
        ends = np.cumsum(parts).tolist()
        return tuple(x[(slice(None),) * at + (slice(end - part, end),)] for part, end in zip(parts, ends, strict=True))[
            :outputs
        ]

    return (lambda *arrays: compute(*arrays)[0]) if outputs == 1 else compute


@operator("Slice", 1)
def _slice_by_attributes(call: Call) -> Compute:
    starts, ends, axes = call.integers("starts"), call.integers("ends"), call.integers("axes", None)
    return lambda x: _sliced(x, starts, ends, axes, None)


@operator("Slice", 3, 5, since=10)
def _slice(call: Call) -> Compute:  # noqa: ARG001
    def compute(x: Array, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None) -> Array:
        return _sliced(x, _listed(starts), _listed(ends), _listed(axes), _listed(steps))

    def ready_for(known: list[Array | None], x: Array) -> Compute:
        cut = _cut(x, *[_listed(one) for one in (*known[1:], None, None)][:4])
        return lambda x, *_: x[cut]

    return ForShapes(compute, ready_for)


def _listed(array: Array | None) -> Any:
    return None if array is None else array.ravel().tolist()


def _sliced(x: Array, starts: list[int], ends: list[int], axes: Any, steps: Any) -> Array:
    return np.asarray(x[_cut(x, starts, ends, axes, steps)])


def _cut(x: Array, starts: Any, ends: Any, axes: Any, steps: Any) -> tuple[slice, ...]:
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    cut: list[Any] = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        at = axis_of(axis, x.ndim)
        size = x.shape[at]
        if step == 0:
            raise ValueError("a step of 0")
        low, high = (0, size) if step > 0 else (-1, size - 1)
        start = min(max(start + size if start < 0 else start, max(low, 0)), high)
        end = min(max(end + size if end < 0 else end, low), size if step > 0 else size - 1)
        cut[at] = slice(start, None if end < 0 else end, step)
    return tuple(cut)


@operator("Pad", 1)
def _pad_by_attributes(call: Call) -> Compute:
    mode, pads, value = call.text("mode", "constant"), call.integers("pads"), call.number("value", 0.0)
    return lambda x: _padded(x, pads, mode, x.dtype.type(value), None)


@operator("Pad", 2, 4, since=11)
def _pad(call: Call) -> Compute:
    mode = call.choice("mode", "constant", ("constant", "reflect", "edge", "wrap"))

    def compute(x: Array, pads: Array, value: Array | None = None, axes: Array | None = None) -> Array:
        fill = x.dtype.type(0) if value is None else value.ravel()[0]
        return _padded(x, pads.ravel().tolist(), mode, fill, _listed(axes))

    def ready_for(known: list[Array | None], x: Array) -> Compute | None:
        """Places that numbers are taken from, an axis after the other."""
        pads, axes = known[1], known[3] if len(known) > 3 else None
        if mode == "constant" or pads is None or not x.size or (len(known) > 3 and axes is None):
            return None
        takes = []
        for axis, size in enumerate(x.shape):
            line = np.arange(size).reshape([-1 if other == axis else 1 for other in range(x.ndim)])
            places = _padded(line, _of_axis(pads.ravel().tolist(), _listed(axes), axis, x.ndim), mode, 0, None)
            if places.size != size or not np.array_equal(places, line):
                takes.append((places.ravel(), axis))

        def taken(x: Array, *_: Array | None) -> Array:
            for places, axis in takes:
                x = x.take(places, axis)
            return x

        return taken

    return ForShapes(compute, ready_for)


def _of_axis(pads: list[int], axes: Any, axis: int, ndim: int) -> list[int]:
    """The pads of all axes, with those of this one alone."""
    found = [0] * (2 * ndim)
    given = list(range(ndim)) if axes is None else [axis_of(one, ndim) for one in axes]
    if axis in given:
        at = given.index(axis)
        found[axis], found[axis + ndim] = pads[at], pads[at + len(given)]
    return found


def _padded(x: Array, pads: list[int], mode: str, value: Any, axes: Any) -> Array:
    given = range(x.ndim) if axes is None else [axis_of(axis, x.ndim) for axis in axes]
    if len(pads) != 2 * len(given):
        raise ValueError(f"has {len(pads)} pads for {len(given)} axes")
    around = [(0, 0)] * x.ndim
    cut: list[Any] = [slice(None)] * x.ndim
    for place, axis in enumerate(given):
        before, after = pads[place], pads[place + len(given)]
        if before < 0 or after < 0:  # negative pads cut off
            cut[axis] = slice(max(-before, 0), x.shape[axis] - max(-after, 0))
        around[axis] = max(before, 0), max(after, 0)
    checked_size([size + a + b for size, (a, b) in zip(x.shape, around, strict=True)], x.size)
    x = x[tuple(cut)]
    if mode == "constant":
        return np.pad(x, around, constant_values=value)
    return np.pad(x, around, mode=mode)  # type: ignore[call-overload, no-any-return, unused-ignore]


@operator("ConstantOfShape", 1)
def _constant_of_shape(call: Call) -> Compute:
    value = call.array("value", None)
    one = np.zeros((), np.float32) if value is None else value.reshape(-1)[:1].reshape(())

    def compute(shape: Array) -> Array:
        return np.full(checked_size(shape.ravel().tolist()), one, one.dtype)

    return compute


@operator("Range", 3)
def _range(call: Call) -> Compute:  # noqa: ARG001
    def compute(start: Array, limit: Array, delta: Array) -> Array:
        if not delta:
            raise ValueError("a step of 0")
        count = max(math.ceil((limit.item() - start.item()) / delta.item()), 0)
        checked_size([count])
        return np.asarray(start + np.arange(count) * delta, start.dtype)

    return compute


@operator("EyeLike", 1)
def _eye_like(call: Call) -> Compute:
    from ..tensors import dtype_of

    offset, number = call.integer("k", 0), call.integer("dtype", None)
    dtype = None if number is None else dtype_of(number, "what it gives")
    return lambda x: np.eye(x.shape[0], x.shape[1], k=offset, dtype=x.dtype if dtype is None else dtype)


@operator("DepthToSpace", 1)
def _depth_to_space(call: Call) -> Compute:
    block, mode = call.integer("blocksize"), call.choice("mode", "DCR", ("DCR", "CRD"))

    def compute(x: Array) -> Array:
        n, c, h, w = x.shape
        if mode == "DCR":
            parts = x.reshape(n, block, block, c // block**2, h, w).transpose(0, 3, 4, 1, 5, 2)
        else:
            parts = x.reshape(n, c // block**2, block, block, h, w).transpose(0, 1, 4, 2, 5, 3)
        return parts.reshape(n, c // block**2, h * block, w * block)

    return compute
