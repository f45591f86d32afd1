"""Matrix products of the core, and their gradients: as `np.matmul`, over threads, with the same bits for any number of
them and for any rows and matrices beside."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core

Array = NDArray[Any]


def matmul(a: Array, b: Array, *, num_threads: int | None = None) -> Array:
    """a (..., rows, k) @ b (..., k, columns), batch axes broadcast as `np.matmul` does.

    Both float32 or both float64, with any strides. Returns a fresh array in C order.

    Raises TypeError for other dtypes, ValueError for shapes that do not match.
    """
    _check_pair(a, b)
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"b must have shape (..., k, columns) where a is (..., rows, k), got {a.shape} and {b.shape}")
    return _product(a, b, False, num_threads)


def matmul_backward(
    a: Array, b: Array, d: Array, *, need_a: bool = True, need_b: bool = True, num_threads: int | None = None
) -> tuple[Array | None, Array | None]:
    """From d, the gradient to `matmul(a, b)` and of its shape, those to a and to b; None for one that is not needed.

    Where a matrix was broadcast, its gradient is the sum over all it was multiplied with. Sums over the rows of a batch
    are cut into chains, as those of `Linear`.
    """
    _check_pair(a, b)
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    if d.shape != shape or d.dtype.char != a.dtype.char:
        raise ValueError(f"d must have shape {shape} and dtype {a.dtype}, got {d.shape} and {d.dtype}")
    d_a = d_b = None
    if need_a:
        d_a = _unbroadcast(_product(d, b.swapaxes(-1, -2), False, num_threads), a.shape)
    if need_b:
        if b.ndim == 2 and a.ndim > 2:  # one matrix for all: a single sum over all rows
            a, d = _flat(a), _flat(d)
        d_b = _unbroadcast(_product(a.swapaxes(-1, -2), d, True, num_threads), b.shape)
    return d_a, d_b


def sum_of_rows(rows: Array) -> Array:
    """(rows, columns) -> (columns,): cut into chains, as the sums over a batch of weight gradients are."""
    return _core.matmul(np.ones((1, len(rows)), rows.dtype), np.ascontiguousarray(rows), True, None)[0]  # type: ignore[no-any-return]


def _product(a: Array, b: Array, sum_of_rows: bool, num_threads: int | None) -> Array:
    a, b = _one_axis_contiguous(a), _one_axis_contiguous(b)
    if b.ndim == 2 and a.ndim > 2 and a.flags.c_contiguous:  # rows of all matrices at once: b is packed once
        rows = _core.matmul(_flat(a), b, sum_of_rows, num_threads)
        return rows.reshape(*a.shape[:-1], b.shape[-1])
    try:
        return _core.matmul(a, b, sum_of_rows, num_threads)
    except ValueError as error:
        raise ValueError(f"{error}: got {a.shape} and {b.shape}") from None


def _flat(array: Array) -> Array:
    """(..., k) as (rows, k)."""
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def _check_pair(a: object, b: object) -> None:
    for name, array in (("a", a), ("b", b)):
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name} must be an array of float32 or float64, got type {type(array).__name__}")
        if array.dtype.char not in "fd":
            raise TypeError(f"{name} must be an array of float32 or float64, got dtype {array.dtype}")
    if a.dtype.char != b.dtype.char:  # type: ignore[attr-defined]
        raise TypeError(f"b must have the dtype of a, got {b.dtype} and {a.dtype}")  # type: ignore[attr-defined]


def _one_axis_contiguous(array: Array) -> Array:
    """`array` as the core takes it, a copy where that cannot be helped."""
    size = array.itemsize
    rows, columns = array.shape[-2:]
    fits = array.strides[-1] == size or columns <= 1 or array.strides[-2] == size or rows <= 1
    if fits and array.flags.aligned and array.dtype.isnative and not any(stride % size for stride in array.strides):
        return array
    return np.array(array, array.dtype.newbyteorder("="), order="C")  # a copy, of what is misaligned, too


def _unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Summed over the axes that were broadcast from `shape`."""
    if gradient.shape == shape:
        return gradient
    more = gradient.ndim - len(shape)
    axes = [axis for axis in range(gradient.ndim) if axis < more or shape[axis - more] != gradient.shape[axis]]
    return np.asarray(gradient.sum(axis=tuple(axes))).reshape(shape)
