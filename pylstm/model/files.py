"""The two kinds of model files, as tensors and a text, and nothing about what these mean.

.npz: a zip of `structure.json` and one .npy per tensor, stored, not compressed; `np.load` reads it, too.
.safetensors: https://github.com/huggingface/safetensors, the text in its metadata.

Reading trusts nothing: sizes, types and places of all tensors are checked against the file's own size before any of
them is read, so a damaged or hostile file costs no more memory than its honest size and says what is wrong with it.
Nothing in a file is ever executed or unpickled.
"""

from __future__ import annotations

import json
import math
import os
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._arrays import Array

_TEXT = "structure.json"
_TEXT_LIMIT = 2**22  # of the structure: more is not a model's description
_HEADER_LIMIT = 2**24  # of the list of tensors
_DIRECTORY_LIMIT = 2**22
# The one way in which NumPy writes headers. No general parser sees what comes from a file.
_NPY_HEADER = re.compile(
    rb"\{'descr': '<(f4|f8)', 'fortran_order': False, 'shape': \((|\d{1,18},|\d{1,18}(?:, \d{1,18}){1,7})\), \} *\n"
)
_CODES = {"f4": "F32", "f8": "F64"}
_NAMES = {"F32": "float32", "F64": "float64"}


class ModelFileError(ValueError):
    """A file that is not a model of this library, or a damaged one."""


class Tensor(NamedTuple):
    """What a file says about one of its tensors."""

    dtype: str  # float32 or float64
    shape: tuple[int, ...]


class Contents(NamedTuple):
    """A checked file: its text, its tensors, and a function that reads one of them."""

    text: str
    tensors: dict[str, Tensor]
    read: Callable[[str], Array]


def kind_of(path: Path) -> str:
    """npz or safetensors, by the name's end."""
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".safetensors"):
        raise ValueError(f"the name of a model's file must end in .npz or .safetensors, got {path.name!r}")
    return suffix[1:]


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "files in the safetensors format need the library of that name: pip install 'pylstm[train]', "
            "or take a name that ends in .npz"
        ) from error
    return safetensors


# ---- writing ---------------------------------------------------------------------------------------------------------


def write(path: Path, text: str, arrays: Mapping[str, Array]) -> None:
    """Write the file: whole, or not at all."""
    kind = kind_of(path)
    if len(text.encode()) > _TEXT_LIMIT:
        raise ValueError(f"the model's structure and metadata take more than {_TEXT_LIMIT >> 20} MiB of text")
    little = {
        name: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for name, array in arrays.items()
    }  # fmt: skip
    library = _safetensors() if kind == "safetensors" else None
    if library is None and sum(array.nbytes for array in little.values()) > 2**30:
        raise ValueError("more than 1 GiB of parameters: take a name that ends in .safetensors")
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(partial, "wb") as file:
            if library is not None:
                file.write(library.numpy.save(little, metadata={"pylstm": text}))
            else:
                _write_npz(file, text, little)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write_npz(file: Any, text: str, arrays: Mapping[str, Array]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        archive.writestr(zipfile.ZipInfo(_TEXT), text)  # a ZipInfo has a fixed date: same model, same bytes
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(name + ".npy"), "w") as member:
                np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)


# ---- reading ---------------------------------------------------------------------------------------------------------


@contextmanager
def opened(path: Path) -> Iterator[Contents]:
    """The checked contents of a model's file. Raises ModelFileError, or OSError where the file cannot be read."""
    kind = kind_of(path)
    library = _safetensors() if kind == "safetensors" else None
    with open(path, "rb") as raw:  # what fails here is no fault of the file's contents
        size = os.fstat(raw.fileno()).st_size
        try:
            if library is not None:
                text, tensors = _check_safetensors(raw, size)
                with library.safe_open(path, framework="numpy") as file:
                    yield Contents(text, tensors, lambda name: np.asarray(file.get_tensor(name)))
            else:
                _check_directory(raw, size)
                with zipfile.ZipFile(raw) as archive:
                    yield _check_npz(archive, size)
        except (ModelFileError, MemoryError, ImportError):
            raise
        except Exception as error:
            # zipfile, json and safetensors raise a dozen kinds of errors for damaged files, OSError among them
            raise ModelFileError(f"{path.name} is damaged: {type(error).__name__}: {error}") from error


def strict_json(text: str) -> Any:
    """JSON without duplicate keys, NaN and infinities."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            raise ModelFileError(f"duplicate key {next(n for n in names if names.count(n) > 1)!r}")
        return found

    def refuse(word: str) -> Any:
        raise ModelFileError(f"{word} is not a number in JSON")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except RecursionError:
        raise ModelFileError("the structure is nested too deeply") from None
    except ModelFileError:
        raise
    except ValueError as error:
        raise ModelFileError(f"the structure is not JSON: {error}") from error


def _check_directory(raw: Any, size: int) -> None:
    """Refuse an absurd central directory before zipfile makes an object of each entry."""
    if size < 22:
        raise ModelFileError(f"the file has {size} bytes and is no .npz")
    raw.seek(-22, os.SEEK_END)
    end = raw.read(22)
    if end[:4] != b"PK\x05\x06":
        raise ModelFileError("the file does not end as a .npz does: cut off, or something else")
    directory = struct.unpack("<L", end[12:16])[0]
    if directory > _DIRECTORY_LIMIT:
        raise ModelFileError(f"the list of the file's contents claims {directory} bytes")
    raw.seek(0)


def _check_npz(archive: zipfile.ZipFile, size: int) -> Contents:
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        raise ModelFileError(f"duplicate entry {next(n for n in names if names.count(n) > 1)!r}")
    if _TEXT not in names:
        raise ModelFileError(f"there is no {_TEXT} in it: an .npz, but not a model")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise ModelFileError(f"{entry.filename!r} is compressed, and models are stored as they are")
        if entry.flag_bits & 0x1:
            raise ModelFileError(f"{entry.filename!r} is encrypted")
        if entry.filename != _TEXT and not entry.filename.endswith(".npy"):
            raise ModelFileError(f"unknown entry {entry.filename!r}")
    if sum(entry.file_size for entry in entries) > size:
        raise ModelFileError("the entries claim more bytes than the file has")
    if archive.getinfo(_TEXT).file_size > _TEXT_LIMIT:
        raise ModelFileError("the structure is absurdly long")
    text = archive.read(_TEXT).decode("utf-8")
    headers = {entry.filename[:-4]: _npy_header(archive, entry) for entry in entries if entry.filename != _TEXT}

    def read(name: str) -> Array:
        tensor, start = headers[name]
        data = archive.read(name + ".npy")  # checks the CRC
        code = "<f4" if tensor.dtype == "float32" else "<f8"
        return np.frombuffer(data, code, offset=start).reshape(tensor.shape).astype(tensor.dtype, copy=False)

    return Contents(text, {name: tensor for name, (tensor, _) in headers.items()}, read)


def _npy_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[Tensor, int]:
    with archive.open(entry) as member:
        start = member.read(10)
        if len(start) < 10 or start[:8] != b"\x93NUMPY\x01\x00":
            raise ModelFileError(f"{entry.filename!r} is not an array")
        length = struct.unpack("<H", start[8:])[0]
        match = _NPY_HEADER.fullmatch(member.read(length))
    if match is None:
        raise ModelFileError(f"{entry.filename!r} is not a plain array of float32 or float64")
    shape = tuple(int(word) for word in match[2].decode().split(",") if word.strip())
    tensor = Tensor(_NAMES[_CODES[match[1].decode()]], shape)
    if entry.file_size != 10 + length + nbytes(tensor):
        raise ModelFileError(f"{entry.filename!r} does not have the size of its shape {shape}")
    return tensor, 10 + length


def nbytes(tensor: Tensor) -> int:
    """How many bytes its numbers take."""
    return math.prod(tensor.shape) * (4 if tensor.dtype == "float32" else 8)


def _check_safetensors(raw: Any, size: int) -> tuple[str, dict[str, Tensor]]:
    start = raw.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(size - 8, _HEADER_LIMIT):
        raise ModelFileError(f"the header claims {length} bytes in a file of {size}: cut off, or something else")
    header = strict_json(raw.read(length).decode("utf-8"))
    if not isinstance(header, dict):
        raise ModelFileError("the header is not a list of tensors")
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not isinstance(text := metadata.get("pylstm"), str):
        raise ModelFileError("there is no structure in its metadata: a safetensors file, but not a model")
    if len(text) > _TEXT_LIMIT:
        raise ModelFileError("the structure is absurdly long")
    tensors: dict[str, Tensor] = {}
    places = []
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise ModelFileError(f"the header's entry of {name!r} is malformed")
        shape, offsets = entry["shape"], entry["data_offsets"]
        if entry["dtype"] not in _NAMES:
            raise ModelFileError(f"{name!r} must be of float32 or float64, not {entry['dtype']!r}")
        if not _is_sizes(shape) or not _is_sizes(offsets) or len(offsets) != 2 or len(shape) > 8:
            raise ModelFileError(f"shape or place of {name!r} is malformed")
        tensors[name] = Tensor(_NAMES[entry["dtype"]], tuple(shape))
        if offsets[1] - offsets[0] != nbytes(tensors[name]):
            raise ModelFileError(f"{name!r} does not have the size of its shape {shape}")
        places.append(tuple(offsets))
    at = 0
    for begin, stop in sorted(places):
        if begin != at:
            raise ModelFileError("the tensors overlap, or leave gaps between them")
        at = stop
    if at != size - 8 - length:
        raise ModelFileError(f"the tensors take {at} bytes, but the file holds {size - 8 - length}")
    return text, tensors


def _is_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**60 for n in value)
