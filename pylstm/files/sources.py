"""Where the bytes of a model's file come from: a file on a disk, or memory."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterable
from io import FileIO
from typing import TYPE_CHECKING, Any

import numpy as np

from .._arrays import Array
from .strict_json import ModelFileError

if TYPE_CHECKING:
    from .tensors import Tensor

_CHUNK = 2**20  # what is read at once: it is still in the cache when its checksum is taken


class File:
    """An open file of a fixed size, read piece by piece."""

    def __init__(self, raw: Any) -> None:
        self.raw, self.before = raw, os.fstat(raw.fileno())
        if not stat.S_ISREG(self.before.st_mode):
            raise ModelFileError("it is no regular file")
        self.size = self.before.st_size

    def fill(self, at: int, buffer: Any, crc: int | None = 0) -> int:
        """Read what fits into the buffer of bytes; the CRC-32 of it, after `crc`. None: nobody asks for it."""
        self.raw.seek(at)
        view = memoryview(buffer)
        while len(view):
            count = self.raw.readinto(view[:_CHUNK])
            if not count:
                raise ModelFileError("it was cut short while it was read")
            if crc is not None:
                crc = zlib.crc32(view[:count], crc)
            view = view[count:]
        return crc or 0

    def get(self, at: int, count: int) -> bytes:
        buffer = bytearray(count)
        self.fill(at, buffer)
        return bytes(buffer)

    def array(self, at: int, tensor: Tensor, crc: int = 0) -> tuple[Array, int]:
        """An array that begins there, and its CRC-32 after `crc`."""
        array = np.empty(tensor.shape, "<f4" if tensor.dtype == "float32" else "<f8")
        if array.size:
            crc = self.fill(at, array.reshape(-1).view(np.uint8), crc)
        return array.astype(tensor.dtype, copy=False), crc

    def check_unchanged(self) -> None:
        """safetensors has no checksums: without this, a file that is written over would be read as a mixture."""
        now = os.fstat(self.raw.fileno())
        if (now.st_size, now.st_mtime_ns) != (self.before.st_size, self.before.st_mtime_ns):
            raise ModelFileError("it was written to while it was read")


class Memory(File):
    """Bytes that nobody else has."""

    def __init__(self, data: bytes | bytearray) -> None:
        self.data, self.size = memoryview(data), len(data)

    def fill(self, at: int, buffer: Any, crc: int | None = 0) -> int:
        view = memoryview(buffer)
        part = self.data[at : at + len(view)]
        if len(part) < len(view):
            raise ModelFileError("it is cut off")
        view[:] = part
        return 0 if crc is None else zlib.crc32(part, crc)

    def check_unchanged(self) -> None:
        """It cannot change."""


def opened_raw(path: str | os.PathLike[str]) -> FileIO:
    """A file to read from, as it is on the disk."""
    flags = getattr(os, "O_NONBLOCK", 0)  # a pipe would keep us waiting for somebody to write
    return open(path, "rb", buffering=0, opener=lambda name, mode: os.open(name, mode | flags))


def check_apart(places: Iterable[tuple[int, int]], start: int | None = None) -> int:
    """Where the last one ends. No two share bytes; given a start, there are no gaps from there on, either."""
    at = start or 0
    for begin, stop in sorted(places):
        if begin < at or (start is not None and begin != at):
            raise ModelFileError("the tensors overlap, or leave gaps between them")
        at = stop
    return at
