"""Models in file objects: whatever has `write` or `read`, seekable or not, `io.BytesIO` and open files among them.

A model goes out as bytes that were whole before the first of them was written, and comes in as bytes that are whole
before anything of them is believed. The objects are somebody's own code: nothing is held while it runs.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import _checks
from .strict_json import ModelFileError, parse

KINDS = ("npz", "safetensors")
HEADER_LIMIT = 100_000_000  # of the list of tensors in safetensors, the text among it: the format's own
HEADER_VALUES = 2**19  # in that list: eight for each of 2^16 tensors
_NPZ_LIMIT = 2**31  # more than an .npz of ours can have
_CHUNK = 2**20


class Place(NamedTuple):
    """Where a model is written to, or read from: a path, or a file object."""

    kind: str | None  # npz or safetensors; None: what is read says it itself
    path: Path | None
    file: Any = None

    @property
    def name(self) -> str:
        """For messages."""
        return "the model's file" if self.path is None else self.path.name


def kind_of(path: Path) -> str:
    """npz or safetensors, by the name's end."""
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".safetensors"):
        raise ValueError(f"the name of a model's file must end in .npz or .safetensors, got {path.name!r}")
    return suffix[1:]


def place_of(path: Any, format: str | None, *, writing: bool) -> Place:  # noqa: A002 - the argument's name
    """What save and load were given, checked: a path or a file object, and the format."""
    if format is not None:
        _checks.choice("format", format, KINDS)
    is_path = isinstance(path, (str, os.PathLike))
    if not is_path and not callable(getattr(path, "write" if writing else "read", None)):
        if callable(getattr(path, "read" if writing else "write", None)):
            raise TypeError(
                f"path is a file that cannot be {'written to' if writing else 'read'}, {_checks.kind(path)}"
            )
        hint = ": io.BytesIO(data) makes a file of it" if isinstance(path, (bytes, bytearray)) and not writing else ""
        raise TypeError(f"path must be a path, a string or a file that is open, got {_checks.kind(path)}{hint}")
    if is_path:
        own = _checks.path("path", path)
        return Place(_agreed(own, format), own)
    _check_open(path, writing)
    name = getattr(path, "name", None)
    known = isinstance(name, str) and Path(name).suffix.lower()[1:] in KINDS
    if writing:
        return Place(_agreed(Path(str(name)), format) if known else format or "npz", None, path)
    return Place(format, None, path)


def _agreed(path: Path, format: str | None) -> str:  # noqa: A002
    if format is None:
        try:
            return kind_of(path)
        except ValueError as error:
            raise ValueError(f"{error}; for another name say format='npz' or format='safetensors'") from None
    if (ending := path.suffix.lower()[1:]) in KINDS and ending != format:
        raise ValueError(f"format is {format!r}, but the name ends in {path.suffix}: {path.name!r}")
    return format


def _check_open(file: Any, writing: bool) -> None:
    mode = "wb" if writing else "rb"
    if getattr(file, "closed", False) is True:
        raise ValueError(f"path is a file that is closed: {_checks.kind(file)}")
    if isinstance(file, io.TextIOBase) or hasattr(file, "encoding"):
        raise TypeError(f"path is a file of text, and a model is bytes: open it with mode {mode!r}")
    may = getattr(file, "writable" if writing else "readable", None)
    if callable(may) and not may():
        raise ValueError(f"path is a file that was not opened for {'writing' if writing else 'reading'}: mode {mode!r}")


# ---- writing ---------------------------------------------------------------------------------------------------------


def put(file: Any, data: bytes) -> None:
    """Write all of it. What a failed write left at the end of a file that can be cut is cut off again."""
    start = _end(file)
    try:
        left = data
        while left:
            count = file.write(left)
            if count is None:
                if isinstance(file, io.RawIOBase):
                    raise BlockingIOError("path is a file that would have to be waited for, and does not block")
                break  # objects of somebody's own need not say how much they took: it is all
            if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or not 0 < count <= len(left):
                raise OSError(f"write of {_checks.kind(file)} said it took {count!r} of {len(left)} bytes")
            left = left[count:]
        if callable(flush := getattr(file, "flush", None)):
            flush()  # a full disk is told here, and not when the file is closed
    except BaseException:
        if start is not None:
            with contextlib.suppress(Exception):
                file.seek(start)
                file.truncate()
        raise


def _end(file: Any) -> int | None:
    """Where the file ends, if it is there that we are; None: what is written cannot be taken back."""
    try:
        at = file.tell()
        end = file.seek(0, io.SEEK_END)
        if at != end:
            file.seek(at)
    except Exception:  # not seekable, each in its own way
        return None
    return at if at == end and isinstance(at, int) else None


# ---- reading ---------------------------------------------------------------------------------------------------------


def taken(file: Any, kind: str | None) -> tuple[bytearray, str]:
    """The bytes from where the file is to its end, and which format they are of. Of a stream without an end no more
    than a model of the size that it claims would have."""
    data = bytearray()
    _read(file, data, 8)
    if not data:
        raise ModelFileError(
            "the file has nothing to read: it is empty, or at its end; after writing to it, file.seek(0)"
        )
    kind = kind or ("npz" if data[:2] == b"PK" else "safetensors")
    if kind == "npz":
        _read(file, data, _NPZ_LIMIT + 1)
        if len(data) > _NPZ_LIMIT:
            raise ModelFileError(f"it has more than {_NPZ_LIMIT >> 30} GiB, which no .npz of a model has")
        return data, kind
    if (length := int.from_bytes(data, "little")) <= HEADER_LIMIT:
        _read(file, data, 8 + length)
        _read(file, data, 8 + length + _claimed(bytes(data[8:])) + 1)  # a byte more shows what does not belong there
    return data, kind


def _read(file: Any, data: bytearray, most: int) -> None:
    """More bytes, until there are so many in all, or no more."""
    while len(data) < most:
        part = file.read(min(_CHUNK, most - len(data)))
        if part is None:
            raise BlockingIOError("path is a file that would have to be waited for, and does not block")
        if not isinstance(part, (bytes, bytearray, memoryview)):
            raise TypeError(f"path is a file whose read gives {_checks.kind(part)}, and a model is bytes: mode 'rb'")
        if not len(part):
            return
        data += part


def _claimed(header: bytes) -> int:
    """How many bytes of tensors a header of safetensors speaks of; 0 if it is none, as its check will say."""
    try:
        entries = parse(header.decode("utf-8"), HEADER_VALUES)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        return max([0, *(end for end in ends if type(end) is int)])
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return 0
