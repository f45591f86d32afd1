"""Any .safetensors file, of every dtype that the format has."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from ..._arrays import Array
from ..safetensors_header import entries_of, header_of
from ..sources import File
from ..streams import HEADER_LIMIT
from .spans import Span
from .tensors import DTYPES, FileTensor, Storage

_DIMENSIONS = 64
_CODES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
    "C64": "complex64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
}  # fmt: skip
_WIDTHS = {code: DTYPES[dtype][0] for code, dtype in _CODES.items()}


def tensors_of(file: File) -> tuple[dict[str, Any], Callable[[Any], Array]]:
    """Name -> tensor, none of which has been read, and a function that reads one."""
    header, start = header_of(file)
    header.pop("__metadata__", None)
    tensors: dict[str, FileTensor] = {}
    entries = entries_of(header, start, file.size, _WIDTHS, "a dtype that is known", _DIMENSIONS)
    for name, (code, shape, begin, stop) in entries.items():
        dtype = _CODES[code]
        storage = Storage(name, dtype, begin - start, stop - begin)
        tensors[name] = FileTensor(storage, 0, shape, _strides(shape), dtype)
    whole = Span(start, file.size - start)
    return dict(tensors), lambda tensor: tensor.read(file, whole, "<")


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of an array in C order; where there is nothing in it, any will do."""
    if 0 in shape:
        return (0,) * len(shape)
    steps = [1]
    for size in reversed(shape[1:]):
        steps.append(steps[-1] * size)
    return tuple(reversed(steps))[: len(shape)]


def write(file: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """Write arrays of float32 and float64 as PyTorch's programs expect them."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, array in arrays.items():
        code = "F32" if array.dtype == np.float32 else "F64"
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > HEADER_LIMIT:
        raise ValueError(f"the names of the tensors take more than {HEADER_LIMIT / 10**6:g} MB")
    file.write(len(text).to_bytes(8, "little") + text)
    for array in arrays.values():
        file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
