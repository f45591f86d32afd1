"""Parts of a file, with the checksum that their bytes must have."""

from __future__ import annotations

from typing import Any

from ..sources import File
from ..strict_json import ModelFileError

_CHUNK = 2**20


class Span:
    """Bytes of a file, from one place to another.

    crc: their CRC-32; None: nobody wrote it down.
    stored: whether they are what was meant; no, where they are compressed or encrypted: then nothing is read.
    """

    __slots__ = ("at", "checked", "crc", "name", "nbytes", "stored")

    def __init__(self, at: int, nbytes: int, name: str = "", crc: int | None = None, stored: bool = True) -> None:
        self.at, self.nbytes, self.name, self.crc, self.stored = at, nbytes, name, crc, stored
        self.checked = crc is None

    def fill(self, file: File, start: int, buffer: Any) -> None:
        """Read what fits into the buffer of bytes, from `start` on. Raises ModelFileError where the file is damaged."""
        whole = start == 0 and len(buffer) == self.nbytes
        if not self.stored or not (whole or self.checked):
            self.check(file)
        if self.checked:
            file.fill(self.at + start, buffer, None)
        else:
            self._compare(file.fill(self.at, buffer))

    def check(self, file: File) -> None:
        """Read all of it, to see whether it is damaged."""
        if not self.stored:
            raise ModelFileError(
                f"{self.name[:80]!r} in it is compressed or encrypted, and torch.save stores what it writes"
            )
        if self.checked:
            return
        crc, buffer = 0, memoryview(bytearray(min(_CHUNK, self.nbytes)))
        for at in range(0, self.nbytes, _CHUNK):
            crc = file.fill(self.at + at, buffer[: self.nbytes - at], crc)
        self._compare(crc)

    def _compare(self, crc: int) -> None:
        if self.crc is not None and crc != self.crc:
            raise ModelFileError(f"the checksum of {self.name[:80]!r} in it is wrong: it is damaged")
        self.checked = True
