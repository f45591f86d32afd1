"""Checks of array arguments: what users pass in, to what the backends take.

A *normalised* array has the layer's dtype in native byte order, is aligned, and its last axis is contiguous
(stride == itemsize, or at most one element long). Its other strides are any multiple of the itemsize, zero and
negative ones included, on every axis longer than one. An array that is so already is passed on without a copy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _checks

Array = NDArray[Any]

_REAL = frozenset("?bBhHiIlLqQefd")  # bool, integers, float16, float32, float64: what converts without surprise


def real_array(name: str, value: object, dtype: np.dtype[Any]) -> Array:
    """`value` (array, sequence, or anything `np.asarray` takes) as a normalised array of any shape."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array, got a masked array; fill or drop the masked entries first")
    try:
        array = np.asarray(value)
    except ValueError as error:  # sequences of differing lengths
        raise ValueError(f"{name} cannot be made an array: {error}") from error
    except (TypeError, RuntimeError) as error:  # a tensor that requires a gradient or lives on another device
        raise TypeError(f"{name} cannot be made an array: {error}") from error
    if array.dtype.char not in _REAL:
        found = _checks.kind(value) if value is None else f"dtype {array.dtype}"
        raise TypeError(f"{name} must hold real numbers (float16/32/64, integers or bools), got {found}")
    if array.dtype != dtype or not array.flags.aligned:  # another byte order compares unequal, too
        return array.astype(dtype, order="C")
    return array if _rows_contiguous(array) else np.array(array, order="C")


def _rows_contiguous(array: Array) -> bool:
    size = array.itemsize
    if array.ndim and array.shape[-1] > 1 and array.strides[-1] != size:
        return False
    return all(step % size == 0 for n, step in zip(array.shape, array.strides, strict=True) if n > 1)


def shaped(name: str, value: object, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """`value` as a normalised array of exactly `shape`."""
    array = real_array(name, value, dtype)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    return array


def contiguous(name: str, value: object, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """`value` as a C-contiguous array of exactly `shape`."""
    if type(value) is np.ndarray and value.dtype is dtype and value.shape == shape:
        flags = value.flags
        if flags.c_contiguous and flags.aligned:
            return value
    array = shaped(name, value, dtype, shape)
    return array if array.flags.c_contiguous else np.array(array, order="C")


def length_array(value: object, steps: int, batch: int) -> NDArray[np.int64]:
    """`lengths` as a fresh C-contiguous int64 array (batch,), each in 0..steps."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError("lengths must be a plain array of integers, got a masked array")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"lengths must be integers of shape ({batch},): {error}") from error
    if array.size == 0 and not isinstance(value, np.ndarray) and value is not None:
        array = array.astype(np.int64)  # the list [] has no dtype of its own
    if array.dtype.kind not in "iu":
        raise TypeError(f"lengths must be integers, got dtype {array.dtype}")
    if array.shape != (batch,):
        raise ValueError(f"lengths must have shape ({batch},), one per sequence, got {array.shape}")
    if batch:
        low, high = int(array.min()), int(array.max())
        if low < 0 or high > steps:
            raise ValueError(f"lengths must lie in 0..{steps}, got {low}..{high}")
    return np.array(array, dtype=np.int64, order="C")


def check_out(out: object, shape: tuple[int, ...], dtype: np.dtype[Any], inputs: Iterable[object]) -> Array:
    """`out` unchanged if results can be written straight into it: nothing is ever converted or copied here."""
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"out must be a NumPy array, got {_checks.kind(out)}")
    if out.dtype != dtype:
        raise TypeError(f"out must have dtype {dtype} in native byte order, got {out.dtype.str}")
    if out.shape != shape:
        raise ValueError(f"out must have shape {shape}, got {out.shape}")
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    if not out.flags.aligned or not _rows_contiguous(out):
        raise ValueError("out must be aligned and its last axis contiguous")
    if not out.flags.c_contiguous and any(n > 1 and step == 0 for n, step in zip(shape, out.strides, strict=True)):
        raise ValueError("out has several elements at one place in memory")
    for array in inputs:
        if isinstance(array, np.ndarray) and _overlap(out, array):
            raise ValueError("out must not overlap x or state in memory")
    return out


def _overlap(a: Array, b: Array) -> bool:
    if not np.may_share_memory(a, b):  # compares bounds only, cheap
        return False
    try:
        return bool(np.shares_memory(a, b, max_work=10_000))  # type: ignore[arg-type, unused-ignore]
    except RuntimeError:  # NumPy's TooHardError: undecided, so on the safe side
        return True


def frozen(array: Array) -> Array:
    """A read-only copy that nobody can make writeable again: its memory is an immutable bytes object."""
    return np.frombuffer(array.tobytes(), dtype=array.dtype).reshape(array.shape)
