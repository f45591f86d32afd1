"""The zip archives that torch.save writes: entries stored as they are, zip64 allowed, nothing read twice.

Described in PKWARE's APPNOTE.TXT; a directory is believed after every entry has been found where it says.
"""

from __future__ import annotations

import struct

from ..sources import File
from ..strict_json import ModelFileError
from .spans import Span

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_DIRECTORY = 2**25  # bytes: a hundred for each entry
_ENTRIES = 2**17


def directory(file: File) -> dict[str, Span]:
    """Name -> place of what is in the archive."""
    count, size, start = _end(file)
    if size > _DIRECTORY or count > _ENTRIES or count * _ENTRY.size > size or start + size > file.size:
        raise ModelFileError(f"the list of its contents claims {count} entries in {size} bytes at {start}")
    data, at = file.get(start, size), 0
    entries: dict[str, Span] = {}
    places: list[tuple[int, int]] = []
    for _ in range(count):
        if at + _ENTRY.size > size:
            raise ModelFileError("the list of its contents is cut off")
        sign, _, _, flags, method, _, _, crc, packed, unpacked, *rest = _ENTRY.unpack_from(data, at)
        names, extra, comment, _, _, _, local = rest
        begin = at + _ENTRY.size
        at = begin + names + extra + comment
        if sign != b"PK\x01\x02" or at > size:
            raise ModelFileError("the list of its contents is damaged")
        raw = data[begin : begin + names]
        name = raw.decode("utf-8")
        unpacked, packed, local = _wide(data[begin + names : begin + names + extra], unpacked, packed, local)
        stored = not method and packed == unpacked and not flags & 0x1
        if name in entries:
            raise ModelFileError(f"{name[:80]!r} is in it twice")
        data_at = _data(file, name, raw, local, start)
        if data_at + packed > start:
            raise ModelFileError(f"{name[:80]!r} is not where the list of its contents says")
        # PyTorch may be told to compute no checksums: then they are 0
        entries[name] = Span(data_at, packed, name, crc or None, stored)
        places.append((local, data_at + packed))
    end = 0
    for begin, stop in sorted(places):
        if begin < end:
            raise ModelFileError("its entries overlap")
        end = stop
    return entries


def _data(file: File, name: str, raw: bytes, local: int, limit: int) -> int:
    """Where an entry's bytes begin."""
    header = file.get(local, _LOCAL.size) if local + _LOCAL.size <= limit else b""
    if header[:4] == b"PK\x03\x04":
        names, extra = _LOCAL.unpack(header)[9:]
        begin: int = local + _LOCAL.size + names + extra
        if begin <= limit and file.get(local + _LOCAL.size, names) == raw:
            return begin
    raise ModelFileError(f"{name[:80]!r} is not where the list of its contents says")


def _wide(extra: bytes, *fields: int) -> list[int]:
    """The fields, those that have no room in 32 bits from the extra field of zip64."""
    wide, at = list(fields), 0
    missing = [i for i, field in enumerate(fields) if field == 0xFFFFFFFF]
    while missing and at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1 and length >= 8 * len(missing) and at + 4 + 8 * len(missing) <= len(extra):
            for i, value in zip(missing, struct.unpack_from(f"<{len(missing)}Q", extra, at + 4), strict=True):
                wide[i] = value
            missing = []
        at += 4 + length
    if missing:
        raise ModelFileError("the list of its contents is damaged")
    return wide


def _end(file: File) -> tuple[int, int, int]:
    """How many entries there are; how many bytes the directory has, and where it begins."""
    last = file.size - _END.size
    if last < 0:
        raise ModelFileError("it is cut off: no end of a zip archive")
    sign, disk, first, here, count, size, start, comment = _END.unpack(file.get(last, _END.size))
    if sign != b"PK\x05\x06" or disk or first or here != count or comment:
        raise ModelFileError("it does not end as a zip archive does: cut off, or something else")
    stop = last
    if last >= _LOCATOR.size + _END64.size:
        sign, _, at, _ = _LOCATOR.unpack(file.get(last - _LOCATOR.size, _LOCATOR.size))
        if sign == b"PK\x06\x07":
            if at + _END64.size > last - _LOCATOR.size:
                raise ModelFileError("the end of its zip archive is damaged")
            sign, _, _, _, disk, first, here, count, size, start = _END64.unpack(file.get(at, _END64.size))
            stop = at
            if sign != b"PK\x06\x06" or disk or first or here != count:
                raise ModelFileError("the end of its zip archive is damaged")
    if start + size != stop:
        raise ModelFileError("the list of its contents is not where its end says")
    return count, size, start
