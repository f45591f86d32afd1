"""The header of a .safetensors file, in JSON: where each tensor lies. https://github.com/huggingface/safetensors

It is checked as a whole, with everything it claims, before a tensor is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from .sources import File, check_apart
from .streams import HEADER_LIMIT, HEADER_VALUES
from .strict_json import ModelFileError, parse


class Entry(NamedTuple):
    """What it says of a tensor: its dtype, as the format calls it, and the bytes of the file from begin to stop."""

    code: str
    shape: tuple[int, ...]
    begin: int
    stop: int


def header_of(file: File) -> tuple[dict[str, Any], int]:
    """The header, of which nothing has been looked at, and where the tensors begin."""
    length = int.from_bytes(file.get(0, min(8, file.size)), "little")
    if file.size < 8 or length > min(file.size - 8, HEADER_LIMIT):
        raise ModelFileError(f"the header claims {length} bytes in a file of {file.size}: cut off, or something else")
    header = parse(file.get(8, length).decode("utf-8"), HEADER_VALUES)
    if not isinstance(header, dict):
        raise ModelFileError("the header is not a list of tensors")
    return header, 8 + length


def entries_of(
    header: Mapping[str, Any], start: int, size: int, widths: Mapping[str, int], wanted: str, dimensions: int
) -> dict[str, Entry]:
    """Name -> entry, of a header without its metadata.

    start: where the tensors begin, in a file of so many bytes. widths: bytes of a number, by dtype, of those that are
    `wanted`. dimensions: the most there may be.
    """
    entries: dict[str, Entry] = {}
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise ModelFileError(f"the header's entry of {name[:80]!r} is malformed")
        code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(code, str) or code not in widths:
            raise ModelFileError(f"{name[:80]!r} must be of {wanted}, not {code!r:.80}")
        if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2 or len(shape) > dimensions:
            raise ModelFileError(f"shape or place of {name[:80]!r} is malformed")
        begin, stop = offsets
        if stop - begin != math.prod(shape) * widths[code]:
            raise ModelFileError(f"{name[:80]!r} does not have the size of its shape {shape!r:.200}")
        entries[name] = Entry(code, tuple(shape), start + begin, start + stop)
    end = check_apart(((entry.begin, entry.stop) for entry in entries.values()), start)
    if end != size:
        raise ModelFileError(f"the tensors take {end - start} bytes, but the file holds {size - start}")
    return entries


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(n) is int and 0 <= n < 2**60 for n in values)
