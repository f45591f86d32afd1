"""The header of an object in an HDF5 file: a list of messages (HDF5 File Format Specification, III.A and IV.A)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from ..sources import File
from ..strict_json import ModelFileError

DATASPACE, LINK_INFO, DATATYPE, LINK, LAYOUT, FILTERS, ATTRIBUTE, CONTINUED, SYMBOL_TABLE, ATTRIBUTE_INFO = (
    0x01, 0x02, 0x03, 0x06, 0x08, 0x0B, 0x0C, 0x10, 0x11, 0x15,
)  # fmt: skip
UNDEFINED = 2**64 - 1
_BLOCKS = 2**10  # of one header


class Message(NamedTuple):
    kind: int
    shared: bool  # whether it only says where the message is
    data: bytes


class Metered(File):
    """A file of which no more is read than it has, some times over: what refers to itself ends."""

    def __init__(self, file: File, at: int = 0, size: int | None = None) -> None:
        self._file, self._at = file, at
        self.size = file.size - at if size is None else size
        self._left = 8 * self.size + 2**16

    def fill(self, at: int, buffer: object, crc: int | None = 0) -> int:
        count = memoryview(buffer).nbytes  # type: ignore[arg-type]
        if at < 0 or at + count > self.size:
            raise ModelFileError(f"it refers to {count} bytes at {at}, and has {self.size}: it is cut off or damaged")
        self._left -= count + 64  # what is small takes time, too
        if self._left < 0:
            raise ModelFileError("its parts refer to each other more often than they can: it is damaged")
        return self._file.fill(self._at + at, buffer, crc)

    def get(self, at: int, count: int) -> bytes:
        if count > self.size:  # before there is room for it
            raise ModelFileError(f"it refers to {count} bytes at {at}, and has {self.size}: it is cut off or damaged")
        return super().get(at, count)

    def check_unchanged(self) -> None:
        self._file.check_unchanged()


def messages(file: File, at: int) -> Iterator[Message]:
    """Those of the object at this place."""
    head = file.get(at, 16) if at + 16 <= file.size else b""
    if head[:4] == b"OHDR":
        yield from _second(file, at, head)
    elif head[:1] == b"\1" and head[1:2] == b"\0":
        size = struct.unpack_from("<I", head, 8)[0]
        yield from _first(file, at + 16, size, struct.unpack_from("<H", head, 2)[0])
    else:
        raise ModelFileError(f"there is no object at {at}, where one is said to be: it is damaged")


def _first(file: File, at: int, size: int, count: int) -> Iterator[Message]:
    blocks, done = [(at, size)], 0
    while done < len(blocks):
        data, place = file.get(*blocks[done]), 0
        done += 1
        while count and place + 8 <= len(data):
            kind, length, flags = struct.unpack_from("<2HB", data, place)
            body = data[place + 8 : place + 8 + length]
            if len(body) < length:
                raise ModelFileError("the header of an object is cut off")
            place, count = place + 8 + length, count - 1
            if kind == CONTINUED:
                _continue(blocks, body)
            else:
                yield Message(kind, bool(flags & 2), body)


def _second(file: File, at: int, head: bytes) -> Iterator[Message]:
    version, flags = head[4], head[5]
    if version != 2:
        raise ModelFileError(f"the header of an object is of version {version}")
    place = at + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    size = int.from_bytes(file.get(place, width), "little")
    blocks, done = [(place + width, size)], 0
    extra = 2 if flags & 4 else 0
    while done < len(blocks):
        data, where = file.get(*blocks[done]), 0
        if done:
            if data[:4] != b"OCHK":
                raise ModelFileError("the header of an object goes on where nothing is: it is damaged")
            data, where = data[:-4], 4
        done += 1
        while where + 4 + extra <= len(data):
            kind, length, mark = struct.unpack_from("<BHB", data, where)
            where += 4 + extra
            body = data[where : where + length]
            if len(body) < length:
                raise ModelFileError("the header of an object is cut off")
            where += length
            if kind == CONTINUED:
                _continue(blocks, body)
            else:
                yield Message(kind, bool(mark & 2), body)


def _continue(blocks: list[tuple[int, int]], body: bytes) -> None:
    if len(body) < 16 or len(blocks) >= _BLOCKS:
        raise ModelFileError("the header of an object is damaged")
    blocks.append(struct.unpack_from("<2Q", body))
