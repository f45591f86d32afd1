"""Any .safetensors file, of every dtype that the format has: https://github.com/huggingface/safetensors.

A length, a header in JSON that says where each tensor lies, and the tensors. The header is checked as a whole, with
everything it claims, before a tensor is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from ..._arrays import Array
from ..sources import File
from ..streams import HEADER_LIMIT, HEADER_VALUES
from ..strict_json import ModelFileError, parse
from .spans import Span
from .tensors import DTYPES, FileTensor, Storage

_DIMENSIONS = 64
_CODES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
    "C64": "complex64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
}  # fmt: skip


def tensors_of(file: File) -> tuple[dict[str, Any], Callable[[Any], Array]]:
    """Name -> tensor, none of which has been read, and a function that reads one."""
    length = int.from_bytes(file.get(0, 8), "little")
    if length > min(file.size - 8, HEADER_LIMIT):
        raise ModelFileError(f"the header claims {length} bytes in a file of {file.size}: cut off, or something else")
    header = parse(file.get(8, length).decode("utf-8"), HEADER_VALUES)
    if not isinstance(header, dict):
        raise ModelFileError("the header is not a list of tensors")
    header.pop("__metadata__", None)
    tensors: dict[str, FileTensor] = {}
    places = []
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise ModelFileError(f"the header's entry of {name[:80]!r} is malformed")
        code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(code, str) or code not in _CODES:
            raise ModelFileError(f"{name[:80]!r} is of a dtype that is not known: {code!r:.80}")
        if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2 or len(shape) > _DIMENSIONS:
            raise ModelFileError(f"shape or place of {name[:80]!r} is malformed")
        dtype, (begin, stop) = _CODES[code], offsets
        if stop - begin != math.prod(shape) * DTYPES[dtype][0]:
            raise ModelFileError(f"{name[:80]!r} does not have the size of its shape {shape!r:.200}")
        places.append((begin, stop))
        tensors[name] = FileTensor(Storage(name, dtype, begin, stop - begin), 0, tuple(shape), _strides(shape), dtype)
    end = 0
    for begin, stop in sorted(places):
        if begin != end:
            raise ModelFileError("the tensors overlap, or leave gaps between them")
        end = stop
    if 8 + length + end != file.size:
        raise ModelFileError(f"the tensors take {end} bytes, but the file holds {file.size - 8 - length}")
    whole = Span(8 + length, end)
    return dict(tensors), lambda tensor: tensor.read(file, whole, "<")


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(n) is int and 0 <= n < 2**60 for n in values)


def _strides(shape: list[int]) -> tuple[int, ...]:
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
