"""Checks of array arguments: what users pass in, to what the backends take.

A *normalised* array has the layer's dtype in native byte order, is aligned, and its last axis is contiguous
(stride == itemsize, or at most one element long). Its other strides are any multiple of the itemsize, zero and
negative ones included, on every axis longer than one. An array that is so already is passed on without a copy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _checks, _core

Array = NDArray[Any]

_REAL = frozenset("?bBhHiIlLqQefd")  # bool, integers, float16, float32, float64: what converts without surprise
_PIECE = 2**24  # bytes converted before Python hears a signal: some 10 ms


def array_of(name: str, value: object, what: str = "a plain array") -> Array:
    """`value` as NumPy makes an array of it, of whatever dtype and shape; errors name the argument."""
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be {what}, got a masked array; fill or drop the masked entries first")
    try:
        return np.asarray(value)
    except (ValueError, OverflowError) as error:  # sequences of differing lengths
        raise ValueError(f"{name} cannot be made an array: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # a tensor that requires a gradient or lives on another device; what __array__ raises
        raise TypeError(f"{name} cannot be made an array: {error}") from error


def real_array(name: str, value: object, dtype: np.dtype[Any]) -> Array:
    """`value` (array, sequence, or anything `np.asarray` takes) as a normalised array of any shape."""
    if type(value) is np.ndarray and value.dtype is dtype and (flags := value.flags).c_contiguous and flags.aligned:
        return value  # as most are: asked first, since small layers ask this several times
    if type(value) is Sealed and value.dtype is dtype and value.flags.c_contiguous:
        return value
    array = array_of(name, value)
    if array.dtype.char not in _REAL:
        found = _checks.kind(value) if value is None else f"dtype {array.dtype}"
        raise TypeError(f"{name} must hold real numbers (float16/32/64, integers or bools), got {found}")
    if array.dtype != dtype or not array.flags.aligned:  # another byte order compares unequal, too
        return _converted(array, dtype)
    if array.dtype is not dtype:
        array = array.view(dtype)  # the core looks for this very object, and others mean the same (those of ctypes)
    return array if _rows_contiguous(array) else _converted(array, dtype)


def _converted(array: Array, dtype: np.dtype[Any]) -> Array:
    """A C-contiguous copy in `dtype`. NumPy copies an array in one go: a large one in pieces, so that Ctrl-C is heard
    in between."""
    if array.size * dtype.itemsize <= _PIECE:
        return array.astype(dtype, order="C")
    out = np.empty(array.shape, dtype)
    _copy(array, out)
    return out


def _copy(array: Array, out: Array) -> None:
    if array.ndim == 0 or out.nbytes <= _PIECE:
        out[...] = array
        return
    rows = max(1, _PIECE * len(out) // out.nbytes)
    for start in range(0, len(out), rows):
        part = slice(start, start + rows)
        if rows > 1 or out.ndim == 1:
            out[part] = array[part]
        else:
            _copy(array[start], out[start])


def _rows_contiguous(array: Array) -> bool:
    size = array.itemsize
    if array.ndim and array.shape[-1] > 1 and array.strides[-1] != size:
        return array.size == 0  # whose strides may be anything
    return all(step % size == 0 for n, step in zip(array.shape, array.strides, strict=True) if n > 1)


_NATIVE = {dtype.char: dtype for dtype in (np.dtype(np.float32), np.dtype(np.float64))}


def float_array(name: str, value: ArrayLike, dtype: DTypeLike = np.float32) -> Array:
    """`value` as an array of float32 or float64, whichever it has; anything else that is real becomes `dtype`."""
    own = getattr(value, "dtype", None)
    native = _NATIVE.get(own.char) if isinstance(own, np.dtype) else None
    return real_array(name, value, np.dtype(dtype) if native is None else native)


def number_array(name: str, value: object, hint: str = "") -> Array:
    """`value` as an array of real numbers, of the dtype it has.

    hint: what an error says besides, where there are texts or objects.
    """
    array = value if type(value) is np.ndarray else array_of(name, value)
    if array.dtype.kind not in "biuf":
        hint = hint if array.dtype.kind in "OUS" else ""
        raise TypeError(f"{name} must hold real numbers, got {_checks.kind(value)} of dtype {array.dtype}{hint}")
    return array


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
    return array if array.flags.c_contiguous else _converted(array, dtype)


def length_array(value: object, steps: int, batch: int) -> NDArray[np.int64]:
    """`lengths` as a fresh C-contiguous int64 array (batch,), each in 0..steps."""
    array = array_of("lengths", value, "a plain array of integers")
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


def check_out(out: object, shape: tuple[int, ...], dtype: np.dtype[Any], read: Iterable[Array | None]) -> Array:
    """`out` unchanged if results can be written straight into it: nothing is ever converted or copied here.

    read: the arrays that are read meanwhile, after all conversions (another object's memory is theirs, too).
    """
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
    if not out.flags.c_contiguous and _may_overlap_itself(out):
        raise ValueError("out has several elements at one place in memory")
    for array in read:
        if array is not None and _overlap(out, array):
            raise ValueError("out must not overlap x or state in memory")
    return out


def _may_overlap_itself(array: Array) -> bool:
    """Whether two elements may share memory: False where each axis steps past all that the finer ones reach over.

    So it is for every slice of an array without shared elements. What is stranger counts as overlapping.
    """
    reach = array.itemsize
    axes = [(abs(step), n) for n, step in zip(array.shape, array.strides, strict=True) if n > 1]
    for step, n in sorted(axes):
        if step < reach:
            return array.size > 0
        reach += (n - 1) * step
    return False


def _overlap(a: Array, b: Array) -> bool:
    if not np.may_share_memory(a, b):  # compares bounds only, cheap
        return False
    try:
        return bool(np.shares_memory(a, b, max_work=10_000))  # type: ignore[arg-type, unused-ignore]
    except RuntimeError:  # NumPy's TooHardError: undecided, so on the safe side
        return True


# ---- memory that stays read-only ---------------------------------------------------------------------------------
#
# `flags.writeable` can be set again on an array whose memory NumPy owns, or lies behind an object with a writeable
# buffer, and on every view of such an array. So what must not be edited lies behind an object without one. It is handed
# out as views: their base is the array that has this object for a base, never a view that the library holds.


# A new array of uninitialised elements for `sealed`: room(shape, dtype).
room = _core.sealable


def room_like(array: Array) -> Array:
    """A view of a `room` with the shape and dtype of `array`, laid out as NumPy lays out results on it."""
    if array.flags.c_contiguous:
        return room(array.shape, array.dtype).view()
    strides = np.empty_like(array).strides
    axes = sorted(range(array.ndim), key=lambda axis: -strides[axis])
    inside = room([array.shape[axis] for axis in axes], array.dtype)
    return inside.transpose(sorted(range(array.ndim), key=axes.__getitem__))


def sealed(array: Array) -> Array:
    """A view of `array`, which is a `room` or a view of one: read-only, and nobody can make it writeable again."""
    base = array.base
    if isinstance(base, np.ndarray):
        base.setflags(write=False)
    else:
        array.setflags(write=False)
    view = array.view()
    view.setflags(write=False)
    return view


class Sealed(np.ndarray[Any, np.dtype[Any]]):
    """A view of `sealed` memory, from one part of the library to another: `frozen` takes it without a copy."""


def handed_on(array: Array) -> Array:
    """A `room`, or a view of one, that is filled for good."""
    return sealed(array).view(Sealed)


def frozen(array: Array) -> Array:
    """A read-only array that nobody can make writeable again: a copy whose memory is an immutable bytes object, or of
    what is `Sealed` a view of its own."""
    if type(array) is Sealed and array.flags.c_contiguous:
        return array.view(np.ndarray)
    return np.frombuffer(array.tobytes(), dtype=array.dtype).reshape(array.shape)
