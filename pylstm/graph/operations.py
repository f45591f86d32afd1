"""The operations on arrays, each with its derivative beside it. They know nothing of recording.

    output, backward = operation(needs, *arrays, **options)
    d_arrays = backward(d_output)

needs: for each array whether its gradient is wanted; the others may be None. A gradient may be a view of `d_output`; it
is never one of the arrays that `backward` keeps. No array is written to. The gradient of an indexed array is a `Part`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np

from .. import _activations, _products
from .._arrays import Array

Needs = tuple[bool, ...]
Backward = Callable[[Array], tuple[Any, ...]]
Result = tuple[Any, Backward]


class Part:
    """A gradient that is zero but for `array[index]`: added to another one in place, without all the zeros."""

    __slots__ = ("distinct", "index", "values")

    def __init__(self, index: Any, values: Array, distinct: bool) -> None:
        self.index, self.values, self.distinct = index, values, distinct

    def add_to(self, total: Array) -> None:
        """total[index] += values, where an index may name an element several times."""
        if self.distinct:
            total[self.index] += self.values
        else:
            np.add.at(total, self.index, self.values)


def summed_to(d: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of an array of `shape` that was broadcast to that of d: summed over what was repeated."""
    if d.shape == shape:
        return d
    d = d.sum(axis=tuple(range(d.ndim - len(shape))))
    repeated = tuple(axis for axis, n in enumerate(shape) if n == 1 and d.shape[axis] != 1)
    return np.asarray(d.sum(axis=repeated, keepdims=True) if repeated else d)


# ---- arithmetic ------------------------------------------------------------------------------------------------------


def add(needs: Needs, a: Array, b: Array) -> Result:
    shapes = a.shape, b.shape
    return a + b, lambda d: (
        summed_to(d, shapes[0]) if needs[0] else None,
        summed_to(d, shapes[1]) if needs[1] else None,
    )


def subtract(needs: Needs, a: Array, b: Array) -> Result:
    shapes = a.shape, b.shape
    return a - b, lambda d: (
        summed_to(d, shapes[0]) if needs[0] else None,
        summed_to(-d, shapes[1]) if needs[1] else None,
    )


def multiply(needs: Needs, a: Array, b: Array) -> Result:
    return a * b, lambda d: (
        summed_to(d * b, a.shape) if needs[0] else None,
        summed_to(d * a, b.shape) if needs[1] else None,
    )


def divide(needs: Needs, a: Array, b: Array) -> Result:
    y = a / b
    shape = a.shape
    return y, lambda d: (
        summed_to(d / b, shape) if needs[0] else None,
        summed_to(-d * y / b, b.shape) if needs[1] else None,
    )


def negative(needs: Needs, a: Array) -> Result:  # noqa: ARG001
    return -a, lambda d: (-d,)


def power(needs: Needs, a: Array, exponent: float) -> Result:  # noqa: ARG001
    """a ** exponent, a number. The derivative of a ** 0 is zero everywhere."""

    def backward(d: Array) -> tuple[Any, ...]:
        if exponent == 0:
            return (np.zeros_like(d),)
        return (d * a * 2 if exponent == 2 else d * exponent * a ** (exponent - 1),)

    return a**exponent, backward


def matmul(needs: Needs, a: Array, b: Array) -> Result:
    """a @ b as NumPy's: matrices in the last two axes, the others broadcast; a vector is a row on the left, a column on
    the right."""
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError("@ needs vectors or matrices, got a single number")
    if a.dtype is not b.dtype:
        dtype = np.promote_types(a.dtype, b.dtype)
        a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
    left, right = a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b
    y = _products.matmul(left, right)
    inner = y.shape
    y = y[..., 0] if b.ndim == 1 else y
    y = y[..., 0] if b.ndim == 1 and a.ndim == 1 else y[..., 0, :] if a.ndim == 1 else y

    def backward(d: Array) -> tuple[Any, ...]:
        da, db = _products.matmul_backward(left, right, d.reshape(inner), need_a=needs[0], need_b=needs[1])
        return None if da is None else da.reshape(a.shape), None if db is None else db.reshape(b.shape)

    return y, backward


# ---- shapes ----------------------------------------------------------------------------------------------------------


def getitem(needs: Needs, a: Array, index: Any) -> Result:  # noqa: ARG001
    entries = index if isinstance(index, tuple) else (index,)
    distinct = not any(isinstance(entry, np.ndarray) and entry.dtype != np.bool_ for entry in entries)
    return a[index], lambda d: (Part(index, d, distinct),)


def reshape(needs: Needs, a: Array, shape: Any) -> Result:  # noqa: ARG001
    before = a.shape
    return a.reshape(shape), lambda d: (d.reshape(before),)


def transpose(needs: Needs, a: Array, axes: tuple[int, ...] | None = None) -> Result:  # noqa: ARG001
    y = a.transpose(axes)
    back = None if axes is None else tuple(np.argsort([axis % a.ndim for axis in axes]).tolist())
    return y, lambda d: (d.transpose(back),)


def swapaxes(needs: Needs, a: Array, axis1: int, axis2: int) -> Result:  # noqa: ARG001
    return a.swapaxes(axis1, axis2), lambda d: (d.swapaxes(axis1, axis2),)


def concatenate(needs: Needs, *arrays: Array, axis: int = 0) -> Result:
    y = np.concatenate(arrays, axis=axis)
    ends = list(accumulate([a.shape[axis] for a in arrays]))

    def backward(d: Array) -> tuple[Any, ...]:
        d = d.swapaxes(0, axis)
        parts = zip([0, *ends], ends, needs, strict=False)
        return tuple(d[begin:end].swapaxes(0, axis) if need else None for begin, end, need in parts)

    return y, backward


def stack(needs: Needs, *arrays: Array, axis: int = 0) -> Result:
    y = np.stack(arrays, axis=axis)

    def backward(d: Array) -> tuple[Any, ...]:
        d = np.moveaxis(d, axis, 0)
        return tuple(d[k] if need else None for k, need in enumerate(needs))

    return y, backward


def where(needs: Needs, a: Array, b: Array, condition: Array) -> Result:
    zero = np.zeros((), np.result_type(a, b))
    shapes = a.shape, b.shape
    return np.where(condition, a, b), lambda d: (
        summed_to(np.where(condition, d, zero), shapes[0]) if needs[0] else None,
        summed_to(np.where(condition, zero, d), shapes[1]) if needs[1] else None,
    )


# ---- sums ------------------------------------------------------------------------------------------------------------

Axis = int | tuple[int, ...] | None


def _kept(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """`shape` with ones in place of the axes that are summed over."""
    if axis is None:
        return (1,) * len(shape)
    axes = {operator.index(k) % len(shape) for k in (axis if isinstance(axis, tuple) else (axis,))}
    return tuple(1 if k in axes else n for k, n in enumerate(shape))


def sum_over(needs: Needs, a: Array, axis: Axis = None, keepdims: bool = False) -> Result:  # noqa: ARG001
    y, shape = a.sum(axis=axis, keepdims=keepdims), a.shape
    kept = _kept(shape, axis)
    return y, lambda d: (np.broadcast_to(d.reshape(kept), shape),)


def mean_over(needs: Needs, a: Array, axis: Axis = None, keepdims: bool = False) -> Result:  # noqa: ARG001
    y, shape = a.mean(axis=axis, keepdims=keepdims), a.shape
    kept = _kept(shape, axis)
    count = max(1, a.size // max(1, np.size(y)))
    return y, lambda d: (np.broadcast_to(d.reshape(kept) / count, shape),)


def max_over(needs: Needs, a: Array, axis: Axis = None, keepdims: bool = False) -> Result:  # noqa: ARG001
    """The largest numbers; several equal ones share the gradient evenly."""
    y = a.max(axis=axis, keepdims=keepdims)
    kept = _kept(a.shape, axis)

    def backward(d: Array) -> tuple[Any, ...]:
        largest = a == np.reshape(y, kept)
        axes = tuple(k for k, n in enumerate(kept) if n == 1)
        with np.errstate(invalid="ignore", divide="ignore"):  # NaN among them equals nothing: its gradient is NaN
            shares = largest / largest.sum(axis=axes, keepdims=True).astype(d.dtype)
        return (shares.astype(d.dtype, copy=False) * d.reshape(kept),)

    return y, backward


# ---- functions -------------------------------------------------------------------------------------------------------


def tanh(needs: Needs, a: Array) -> Result:  # noqa: ARG001
    y = _activations.tanh(a)
    return y, lambda d: (_activations.tanh_backward(d, y),)


def sigmoid(needs: Needs, a: Array) -> Result:  # noqa: ARG001
    y = _activations.sigmoid(a)
    return y, lambda d: (_activations.sigmoid_backward(d, y),)


def relu(needs: Needs, a: Array) -> Result:  # noqa: ARG001
    y = _activations.relu(a)
    return y, lambda d: (_activations.relu_backward(d, y),)


def absolute(needs: Needs, a: Array) -> Result:  # noqa: ARG001
    return np.abs(a), lambda d: (d * np.sign(a),)


def exp(needs: Needs, a: Array) -> Result:  # noqa: ARG001
    y = np.exp(a)
    return y, lambda d: (d * y,)


def log(needs: Needs, a: Array) -> Result:  # noqa: ARG001
    return np.log(a), lambda d: (d / a,)


def sqrt(needs: Needs, a: Array) -> Result:  # noqa: ARG001
    y = np.sqrt(a)
    return y, lambda d: (d / (y + y),)


def softmax(needs: Needs, a: Array, axis: int = -1) -> Result:  # noqa: ARG001
    y = _activations.softmax(a, axis)
    return y, lambda d: (_activations.softmax_backward(d, y, axis),)


def log_softmax(needs: Needs, a: Array, axis: int = -1) -> Result:  # noqa: ARG001
    shifted = a - a.max(axis=axis, keepdims=True) if a.size else a
    y = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    return y, lambda d: (d - np.exp(y) * d.sum(axis=axis, keepdims=True),)
