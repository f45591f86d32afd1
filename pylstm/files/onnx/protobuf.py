"""The wire format of protocol buffers, as far as ONNX uses it: tags, varints, fixed numbers and spans of bytes.

A message is a row of fields (number, wire type, value). Nothing is copied but numbers: a span is a view of the file.
Reading goes through every byte of a message once, whatever the file claims.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from ..._arrays import Array
from ..strict_json import ModelFileError

VARINT, FIXED64, SPAN, FIXED32 = 0, 1, 2, 5
_LONGEST = 10  # bytes of a varint of 64 bits
_NAMED = {3: "a group", 4: "a group"}


def fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """(number, wire type, value) of a message: a varint as it is, without a sign; the others as their bytes."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ModelFileError(f"its field number {number} is none")
        if wire == VARINT:
            value, at = _varint(data, at, end)
            yield number, wire, value
            continue
        if wire == SPAN:
            count, at = _varint(data, at, end)
        elif wire in (FIXED32, FIXED64):
            count = 4 if wire == FIXED32 else 8
        else:
            raise ModelFileError(f"its field {number} is {_NAMED.get(wire, f'of wire type {wire}')}: ONNX has no such")
        if count > end - at:
            raise ModelFileError(f"its field {number} has {count} bytes, of which {end - at} are there: it is cut off")
        yield number, wire, data[at : at + count]
        at += count


def _varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    if at < end and (byte := data[at]) < 0x80:  # as most are
        return byte, at + 1
    value = shift = 0
    for place in range(at, min(end, at + _LONGEST)):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, place + 1
        shift += 7
    raise ModelFileError("a number in it does not end: it is damaged or cut off")


def signed(value: int) -> int:
    """A varint as an int64."""
    return value - (1 << 64) if value >= 1 << 63 else value


def integers(data: memoryview) -> Array:
    """Packed varints as int64."""
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    if not raw.size:
        return np.zeros(0, np.int64)
    if not ends.size or ends[-1] != raw.size - 1:
        raise ModelFileError("a row of numbers in it is cut off")
    starts = np.concatenate([[0], ends[:-1] + 1])
    counts = ends - starts + 1
    longest = int(counts.max())
    if longest > _LONGEST:
        raise ModelFileError("a number in it has more than 64 bits")
    values = np.zeros(ends.size, np.uint64)
    for place in range(longest):
        there = counts > place
        part = (raw[starts[there] + place] & 0x7F).astype(np.uint64)
        values[there] |= part << np.uint64(7 * place)
    return values.view(np.int64)


def text(data: object) -> str:
    """A span as a string."""
    if not isinstance(data, memoryview):
        raise ModelFileError("a text in it is a number")
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise ModelFileError("a text in it is not UTF-8") from None


# ---- writing ---------------------------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    """An int64 or uint64."""
    value &= 0xFFFFFFFFFFFFFFFF
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def number_field(number: int, value: int) -> bytes:
    return varint(number << 3 | VARINT) + varint(value)


def float_field(number: int, value: float) -> bytes:
    return varint(number << 3 | FIXED32) + struct.pack("<f", value)


def span_field(number: int, data: bytes | str) -> bytes:
    if isinstance(data, str):
        data = data.encode()
    return varint(number << 3 | SPAN) + varint(len(data)) + data


def span_head(number: int, count: int) -> bytes:
    """What stands before a span of that many bytes."""
    return varint(number << 3 | SPAN) + varint(count)
