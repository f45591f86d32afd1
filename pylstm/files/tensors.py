"""The two kinds of model files, as tensors and a text, and nothing about what these mean.

.npz: a zip of `structure.json` and one .npy per tensor, stored, not compressed; `np.load` reads it, too.
.safetensors: https://github.com/huggingface/safetensors, the text in its metadata.

Reading trusts nothing: sizes, types and places of all tensors are checked against the file's own size before any of
them is read, so a damaged or hostile file costs no more memory than its honest size and says what is wrong with it.
What is read is what was checked: one open file, read into memory, so that a file that is replaced meanwhile is read as
it was, and one that is cut short or written to meanwhile is an error. Nothing in a file is ever executed or unpickled.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .._arrays import Array
from .atomic import replacing
from .safetensors_header import entries_of, header_of
from .sources import File, Memory, check_apart, opened_raw
from .streams import HEADER_LIMIT, Place, kind_of, put, taken
from .strict_json import TEXT_LIMIT, ModelFileError, encodable

__all__ = ["Contents", "ModelFileError", "Tensor", "nbytes", "opened", "write"]

_TEXT = "structure.json"
_DIRECTORY_LIMIT = 2**22  # of the list of tensors in a zip
_TENSORS_LIMIT = 2**16 - 2  # what the directory of a plain zip counts up to, less the text
_DIMENSIONS = 8
# The one way in which NumPy writes headers. No general parser sees what comes from a file.
_NPY_HEADER = re.compile(
    rb"\{'descr': '<(f4|f8)', 'fortran_order': False, 'shape': \((|\d{1,18},|\d{1,18}(?:, \d{1,18}){1,7})\), \} *\n"
)
_CODES = {"f4": "F32", "f8": "F64"}
_NAMES, _WIDTHS = {"F32": "float32", "F64": "float64"}, {"F32": 4, "F64": 8}
_ZIP_END = struct.Struct("<4s4H2LH")
_ZIP_ENTRY = struct.Struct("<4s6H3L5H2L")  # of the directory
_ZIP_LOCAL = struct.Struct("<4s5H3L2H")  # before each entry's data


class Tensor(NamedTuple):
    """What a file says about one of its tensors."""

    dtype: str  # float32 or float64
    shape: tuple[int, ...]


class Contents(NamedTuple):
    """A checked file: its text, its tensors, and a function that reads one of them."""

    text: str
    tensors: dict[str, Tensor]
    read: Callable[[str], Array]


def safetensors_library() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "files in the safetensors format need the library of that name: pip install 'pylstm[train]', "
            "or take a name that ends in .npz"
        ) from error
    return safetensors


# ---- writing ---------------------------------------------------------------------------------------------------------


def write(place: Place, text: str, arrays: Mapping[str, Array]) -> None:
    """Write the file: whole, or not at all; and only what `opened` will read. Raises TypeError or ValueError else."""
    kind = place.kind or "npz"
    check(kind, text, arrays)
    little = {
        name: np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
        for name, array in arrays.items()
    }
    if place.path is None:
        put(place.file, _serialised(kind, text, little))
    elif kind == "safetensors":
        data = _serialised(kind, text, little)
        with replacing(place.path) as file:
            file.write(data)
    else:
        with replacing(place.path) as file:
            _write_npz(file, text, little)


def _serialised(kind: str, text: str, arrays: Mapping[str, Array]) -> bytes:
    if kind == "safetensors":
        return _with_header(safetensors_library(), text, arrays)
    buffer = io.BytesIO()
    _write_npz(buffer, text, arrays)
    return buffer.getvalue()


def check(kind: str, text: str, arrays: Mapping[str, Array]) -> None:
    """Raises TypeError or ValueError if there can be no such file; of `arrays`, only names, sizes and dtypes matter."""
    if len(encodable(text)) > TEXT_LIMIT:
        raise ValueError(f"the model's structure and metadata take more than {TEXT_LIMIT >> 20} MiB of text")
    _check_arrays(arrays)
    if kind == "safetensors":
        if len(text) + text.count('"') + text.count("\\") > HEADER_LIMIT:
            raise _long_header()
        return
    if sum(array.nbytes for array in arrays.values()) > 2**30:
        raise ValueError("more than 1 GiB of parameters: take a name that ends in .safetensors")
    if sum(_ZIP_ENTRY.size + len(name.encode()) + 4 for name in arrays) > _DIRECTORY_LIMIT - 64:
        raise ValueError(f"the names of parameters take more than {_DIRECTORY_LIMIT >> 20} MiB")


def _with_header(library: Any, text: str, arrays: Mapping[str, Array]) -> bytes:
    try:
        data: bytes = library.numpy.save(arrays, metadata={"pylstm": text})
        large = int.from_bytes(data[:8], "little") > HEADER_LIMIT
    except Exception as error:  # of a class of its own
        if "too large" not in str(error):
            raise
        large = True
    if large:
        raise _long_header()
    return data


def _long_header() -> ValueError:
    return ValueError(
        f"text and names of parameters take more than {HEADER_LIMIT / 10**6:g} MB, and .safetensors has no room for "
        "more: take a name that ends in .npz"
    )


def _check_arrays(arrays: Mapping[str, Array]) -> None:
    if len(arrays) > _TENSORS_LIMIT:
        raise ValueError(f"a model's file holds at most {_TENSORS_LIMIT} arrays, and these are {len(arrays)}")
    for name, array in arrays.items():
        if array.dtype not in (np.float32, np.float64) or array.ndim > _DIMENSIONS:
            raise TypeError(
                f"files hold arrays of float32 or float64 of at most {_DIMENSIONS} dimensions, and {name[:80]!r} "
                f"is of {array.dtype} and shape {array.shape}"
            )
        if not name or len(name) > 2**12 or not name.isprintable() or "\\" in name:
            raise ValueError(f"{name[:80]!r} cannot be the name of an array in a file")


def _write_npz(file: BinaryIO, text: str, arrays: Mapping[str, Array]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        archive.writestr(zipfile.ZipInfo(_TEXT), text)  # a ZipInfo has a fixed date: same model, same bytes
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(name + ".npy"), "w") as member:
                np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)


# ---- reading ---------------------------------------------------------------------------------------------------------


@contextmanager
def opened(place: Place | Path) -> Iterator[Contents]:
    """The checked contents of a model's file. Raises ModelFileError, or OSError where the file cannot be read."""
    if not isinstance(place, Place):
        place = Place(kind_of(place), place)
    if place.path is None:
        data, kind = taken(place.file, place.kind)
        with _checked(lambda: Memory(data), kind, place.name) as contents:
            yield contents
        return
    with (
        opened_raw(place.path) as raw,
        _checked(lambda: File(raw), str(place.kind), place.name) as contents,
    ):
        yield contents


@contextmanager
def _checked(source: Callable[[], File], kind: str, name: str) -> Iterator[Contents]:
    try:
        file = source()
        yield _check_safetensors(file) if kind == "safetensors" else _check_npz(file)
        file.check_unchanged()
    except (ModelFileError, MemoryError, OSError):
        raise
    except Exception as error:  # whatever else a damaged file may lead to
        raise ModelFileError(f"{name} is damaged: {type(error).__name__}: {str(error)[:300]}") from error


def nbytes(tensor: Tensor) -> int:
    """How many bytes its numbers take."""
    return math.prod(tensor.shape) * (4 if tensor.dtype == "float32" else 8)


class _Entry(NamedTuple):
    name: str
    raw_name: bytes
    crc: int
    size: int
    at: int  # its local header


def _directory(file: File) -> tuple[list[_Entry], int]:
    """The entries of a plain zip, and where their data must have ended. None of zip's later additions (zip64,
    comments, parts, encryption) has a place in a model."""
    if file.size < _ZIP_END.size:
        raise ModelFileError(f"the file has {file.size} bytes and is no .npz")
    last = file.size - _ZIP_END.size
    sign, disk, first_disk, here, count, size, start, comment = _ZIP_END.unpack(file.get(last, _ZIP_END.size))
    if sign != b"PK\x05\x06" or disk or first_disk or here != count or comment:
        raise ModelFileError("the file does not end as a .npz does: cut off, or something else")
    if size > _DIRECTORY_LIMIT or start + size != last or count * _ZIP_ENTRY.size > size:
        raise ModelFileError(f"the list of the file's contents claims {count} entries in {size} bytes at {start}")
    data, at = file.get(start, size), 0
    entries = []
    for _ in range(count):
        if at + _ZIP_ENTRY.size > size:
            raise ModelFileError("the list of the file's contents is cut off")
        fields = _ZIP_ENTRY.unpack_from(data, at)
        flags, method, crc, packed, unpacked, *lengths = fields[3], fields[4], *fields[7:13]
        begin = at + _ZIP_ENTRY.size
        raw_name, at = data[begin : begin + lengths[0]], begin + sum(lengths)
        if fields[0] != b"PK\x01\x02" or at > size:
            raise ModelFileError("the list of the file's contents is damaged")
        name = raw_name.decode("utf-8" if flags & 0x800 else "cp437")
        if method != zipfile.ZIP_STORED or packed != unpacked:
            raise ModelFileError(f"{name[:80]!r} is compressed, and models are stored as they are")
        if flags & 0x1:
            raise ModelFileError(f"{name[:80]!r} is encrypted")
        if name != _TEXT and not name.endswith(".npy"):
            raise ModelFileError(f"unknown entry {name[:80]!r}")
        entries.append(_Entry(name, raw_name, crc, unpacked, fields[16]))
    if at != size:
        raise ModelFileError("the list of the file's contents is damaged")
    return entries, start


def _check_npz(file: File) -> Contents:
    entries, stop = _directory(file)
    names: set[str] = set()
    for entry in entries:
        if entry.name in names:
            raise ModelFileError(f"duplicate entry {entry.name[:80]!r}")
        names.add(entry.name)
    if _TEXT not in names:
        raise ModelFileError(f"there is no {_TEXT} in it: an .npz, but not a model")
    places, starts = [], {}
    for entry in entries:
        local = file.get(entry.at, _ZIP_LOCAL.size) if entry.at + _ZIP_LOCAL.size <= stop else b""
        if local[:4] != b"PK\x03\x04":
            raise ModelFileError(f"{entry.name[:80]!r} is not where the list of the file's contents says")
        length, more = _ZIP_LOCAL.unpack(local)[9:]
        begin = entry.at + _ZIP_LOCAL.size + length + more
        if begin + entry.size > stop or file.get(entry.at + _ZIP_LOCAL.size, length) != entry.raw_name:
            raise ModelFileError(f"{entry.name[:80]!r} is not where the list of the file's contents says")
        places.append((entry.at, begin + entry.size))
        starts[entry.name] = begin
    check_apart(places)

    found: dict[str, tuple[Tensor, int, int, int]] = {}  # with place of the numbers, CRC before them, CRC with them
    text = ""
    for entry in entries:
        if entry.name == _TEXT:
            if entry.size > TEXT_LIMIT:
                raise ModelFileError("the structure is absurdly long")
            data = bytearray(entry.size)
            if file.fill(starts[_TEXT], data) != entry.crc:
                raise ModelFileError(f"the checksum of {_TEXT} is wrong: it is damaged")
            text = data.decode("utf-8")
        else:
            found[entry.name[:-4]] = _npy_header(file, entry, starts[entry.name])

    def read(name: str) -> Array:
        tensor, at, before, crc = found[name]
        array, got = file.array(at, tensor, before)
        if got != crc:
            raise ModelFileError(f"the checksum of {name} is wrong: it is damaged")
        return array

    return Contents(text, {name: tensor for name, (tensor, *_) in found.items()}, read)


def _npy_header(file: File, entry: _Entry, begin: int) -> tuple[Tensor, int, int, int]:
    start = file.get(begin, min(10, entry.size))
    if len(start) < 10 or start[:8] != b"\x93NUMPY\x01\x00":
        raise ModelFileError(f"{entry.name[:80]!r} is not an array")
    length = struct.unpack("<H", start[8:])[0]
    head = file.get(begin + 10, min(length, entry.size - 10))
    match = _NPY_HEADER.fullmatch(head)
    if match is None:
        raise ModelFileError(f"{entry.name[:80]!r} is not a plain array of float32 or float64")
    shape = tuple(int(word) for word in match[2].decode().split(",") if word.strip())
    tensor = Tensor(_NAMES[_CODES[match[1].decode()]], shape)
    if entry.size != 10 + length + nbytes(tensor):
        raise ModelFileError(f"{entry.name[:80]!r} does not have the size of its shape {shape}")
    return tensor, begin + 10 + length, zlib.crc32(start + head), entry.crc


def _check_safetensors(file: File) -> Contents:
    header, start = header_of(file)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not isinstance(text := metadata.get("pylstm"), str):
        raise ModelFileError("there is no structure in its metadata: a safetensors file, but not a model")
    if len(text) > TEXT_LIMIT:
        raise ModelFileError("the structure is absurdly long")
    entries = entries_of(header, start, file.size, _WIDTHS, "float32 or float64", _DIMENSIONS)
    tensors = {name: Tensor(_NAMES[entry.code], entry.shape) for name, entry in entries.items()}
    return Contents(text, tensors, lambda name: file.array(entries[name].begin, tensors[name])[0])
