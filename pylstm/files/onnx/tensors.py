"""Tensors of ONNX files as arrays: dtypes, where their numbers are, and files beside the model's."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..._arrays import Array
from ..sources import File, opened_raw
from ..strict_json import ModelFileError
from .protobuf import FIXED32, FIXED64, SPAN, VARINT, fields, integers, signed, text

# TensorProto.DataType -> dtype; bfloat16 (16) is widened to float32
DTYPES: dict[int, np.dtype[Any]] = {
    number: np.dtype(name) for number, name in {
        1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
        10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "float32",
    }.items()
}  # fmt: skip
NUMBERS = {dtype: number for number, dtype in reversed(DTYPES.items())}
BFLOAT16 = 16
_NAMES = {
    0: "no type", 8: "string", 14: "complex64", 15: "complex128", 17: "float8e4m3fn", 18: "float8e4m3fnuz",
    19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4e2m1",
}  # fmt: skip
_MOST_AXES = 32  # what every NumPy has


def dtype_of(number: int, where: str) -> np.dtype[Any]:
    """The dtype of a TensorProto's number."""
    if number not in DTYPES:
        raise ModelFileError(
            f"{where} is of {_NAMES.get(number, f'type number {number}')}, which is not read: float16, bfloat16, "
            "float32, float64, integers and bool are; convert the model to one of these"
        )
    return DTYPES[number]


def tensor(data: memoryview, beside: Folder | None) -> tuple[str, Array]:
    """Name and numbers of a TensorProto. The array is read-only, and may be a view of `data`."""
    dims: list[int] = []
    kind, name = 0, ""
    raw: Any = None
    numbers: dict[int, list[Any]] = {}
    external: dict[str, str] = {}
    location = 0
    value: Any
    for number, wire, value in fields(data):
        if number == 1:
            dims += _numbers(value)
        elif number == 2 and wire == VARINT:
            kind = int(value)
        elif number == 8:
            name = text(value)
        elif number == 9 and wire == SPAN:
            raw = value
        elif number in (4, 5, 7, 10, 11):
            numbers.setdefault(number, []).append((wire, value))
        elif number == 13 and wire == SPAN:
            key, entry = _pair(value)
            external[key] = entry
        elif number == 14 and wire == VARINT:
            location = int(value)
        elif number == 3:
            raise ModelFileError("a tensor in it is in segments, which no program writes")
    where = f"tensor {name[:80]!r}"
    if len(dims) > _MOST_AXES or any(size < 0 for size in dims):
        raise ModelFileError(f"{where} has the shape {dims[:40]}: none that an array can have")
    dtype, count = dtype_of(kind, where), math.prod(dims)
    stored = np.dtype(np.uint16) if kind == BFLOAT16 else dtype
    if location:
        raw = _beside(external, beside, count * stored.itemsize, where)
    if raw is not None:
        if len(raw) != count * stored.itemsize:
            raise ModelFileError(
                f"{where} of shape {tuple(dims)} and {dtype} needs {count * stored.itemsize} bytes, and has {len(raw)}"
            )
        array = np.frombuffer(raw, stored.newbyteorder("<")).astype(stored, copy=False)
    else:
        array = _typed(kind, numbers, stored, count, where)
    if kind == BFLOAT16:
        array = (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if dtype.kind == "b":
        array = array.view(np.uint8) != 0
    array = array.reshape(dims)
    if not array.flags.aligned or not array.size:  # nothing at all is anywhere
        array = array.copy()
    array.setflags(write=False)
    return name, array


def _numbers(value: Any) -> list[int]:
    if isinstance(value, int):
        return [signed(value)]
    if len(value) > 8 * _MOST_AXES * 10:
        raise ModelFileError("a tensor in it has more axes than an array can have")
    found: list[int] = integers(value).tolist()
    return found


def _pair(data: Any) -> tuple[str, str]:
    found = {number: text(value) for number, _, value in fields(data) if number in (1, 2)}
    return found.get(1, ""), found.get(2, "")


_WIDE = {4: (FIXED32, "<f4"), 10: (FIXED64, "<f8")}


def _typed(kind: int, numbers: dict[int, list[Any]], stored: Any, count: int, where: str) -> Array:
    """The numbers of one of the fields that are not raw."""
    number = 4 if kind == 1 else 10 if kind == 11 else 7 if kind == 7 else 11 if kind in (12, 13) else 5
    parts = []
    single: list[int] = []
    for wire, value in numbers.get(number, []):
        if number in _WIDE:
            code, form = _WIDE[number]
            if wire not in (SPAN, code) or len(value) % int(form[2]):
                raise ModelFileError(f"{where} has numbers that are cut off")
            parts.append(np.frombuffer(value, form))
        elif wire == SPAN:
            parts.append(integers(value))
        elif wire == VARINT:
            single.append(signed(value))
        else:
            raise ModelFileError(f"{where} has numbers of another kind than {stored}")
    if single:
        parts.append(np.array(single, np.int64))
    array = np.concatenate(parts) if parts else np.zeros(0, stored)
    if array.size != count:
        raise ModelFileError(f"{where} needs {count} numbers, and has {array.size}")
    if kind == 10:  # bits of float16
        return array.astype(np.uint16).view(np.float16)
    return array.astype(stored)


class Folder:
    """Of the model's file, in which files beside it may lie. What is read of a file is at most its size, twice."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._left: dict[Path, int] = {}

    def take(self, path: Path, size: int, count: int) -> bool:
        """Whether so many bytes of a file of that size may still be read."""
        left = self._left.setdefault(path, 2 * size) - count
        self._left[path] = left
        return left >= 0


def _beside(external: dict[str, str], beside: Folder | None, count: int, where: str) -> memoryview:
    """The bytes of a tensor in a file of its own, which must lie in the model's folder."""
    place = external.get("location", "")
    if beside is None:
        raise ModelFileError(f"{where} is in a file of its own, {place[:80]!r}: give the model's path, not its bytes")
    parts = place.replace("\\", "/").split("/")
    if not place or "\0" in place or ".." in parts or os.path.isabs(place) or ":" in parts[0]:
        raise ModelFileError(f"{where} is to be read from {place[:80]!r}, which is not in the model's folder")
    path = (beside.path / place).resolve()
    if beside.path.resolve() not in path.parents:
        raise ModelFileError(f"{where} is to be read from {place[:80]!r}, which leads out of the model's folder")
    try:
        start, size = int(external.get("offset") or "0"), int(external.get("length") or count)
    except ValueError:
        raise ModelFileError(f"{where} says where its numbers are in {place[:80]!r}, but not with numbers") from None
    try:
        with opened_raw(path) as raw:
            file = File(raw)
            if size != count or not 0 <= start <= file.size - count:
                raise ModelFileError(
                    f"{where} needs {count} bytes from byte {start} on of {place[:80]!r}, which has {file.size}"
                )
            if not beside.take(path, file.size, count):
                raise ModelFileError(
                    f"many tensors are the same bytes of {place[:80]!r}: more than one file would hold"
                )
            buffer = bytearray(count)
            file.fill(start, buffer, None)
    except FileNotFoundError:
        raise ModelFileError(
            f"{where} is in {place[:80]!r}, which is not there: copy it into the model's folder, too"
        ) from None
    return memoryview(buffer).toreadonly()
