"""Inputs of ONNX graphs: arrays as a graph takes them, and words about their names and sizes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _arrays
from .._arrays import Array
from ..files.onnx.model import Value


def take_input(value: Value, given: Any) -> Array:
    """An array as an input takes it. Raises TypeError or ValueError, naming it."""
    name, dtype = f"input {value.name!r}", value.dtype
    if dtype is None or dtype.char in "fd":
        array = _arrays.real_array(name, given, np.dtype(np.float32) if dtype is None else dtype)
    else:
        array = np.asarray(given)
        kinds = {"f": "fiub", "i": "iub", "u": "iub", "b": "b"}[dtype.kind]
        if array.dtype.kind not in kinds:
            raise TypeError(f"{name} must be of {dtype}, got {array.dtype}")
        if dtype.kind in "iu" and array.size and array.dtype != dtype:
            bounds = np.iinfo(dtype)
            if int(array.min()) < bounds.min or int(array.max()) > bounds.max:
                raise ValueError(f"{name} has numbers that {dtype} cannot hold")
        array = array.astype(dtype, copy=False)
    shape = value.shape
    if shape is not None and (
        len(shape) != array.ndim
        or any(isinstance(size, int) and size != own for size, own in zip(shape, array.shape, strict=True))
    ):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape ({wanted}), got {array.shape}")
    return array


def differing(inputs: tuple[Value, ...], arrays: list[Array]) -> str:
    """Which inputs have other sizes where the file has one name for them; "": none."""
    known: dict[str, tuple[str, int]] = {}
    for value, array in zip(inputs, arrays, strict=True):
        for name, size in zip(value.shape or (), array.shape, strict=False):
            if isinstance(name, str):
                other, before = known.setdefault(name, (value.name, size))
                if before != size:
                    return (
                        f"The file has one name for sizes that differ, {name!r}: {before} of input {other!r}, and "
                        f"{size} of {value.name!r}"
                    )
    return ""


def listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:20]) or "none"
