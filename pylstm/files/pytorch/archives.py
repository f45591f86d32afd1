"""Files of weights as trees of dicts with tensors in them, whichever of PyTorch's programs wrote them.

.pt, .pth, .bin .. of PyTorch 1.6 and later: a zip with a pickle and an entry for each storage. Before: five pickles
(a magic number, a version, the byte order, the object, the keys of its storages) and the storages behind them.
.safetensors: see `safetensors`. Which it is, its first bytes say, and not its name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ... import _checks
from ..._arrays import Array
from ..sources import File, Memory, opened_raw
from ..strict_json import ModelFileError, damage_named
from . import safetensors, zips
from .pickles import Bytes, interpret
from .spans import Span
from .tensors import DTYPES, FileTensor, Storage, find, storage_of

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_CHUNK = 2**20
_HEAD = 32  # bytes that say of which kind a file is
_ZIP, _PICKLE, _HEADER = b"PK\x03\x04", b"\x80", b"{"  # what they begin with; the last one behind 8 bytes


class Archive:
    """An open file with storages in it."""

    def __init__(self, file: File) -> None:
        self.file, self.order = file, "<"
        self.spans: dict[str, Span] = {}
        self.tree: Any = None

    def read(self, tensor: FileTensor) -> Array:
        return tensor.read(self.file, self.spans[tensor.storage.key], self.order)

    def check(self, storage: Storage) -> None:
        """Raises ModelFileError where the file does not have all of it."""
        span = self.spans.get(storage.key)
        if span is None:
            raise ModelFileError(f"its storage {storage.key[:80]!r} is missing")
        if storage.start + storage.nbytes > span.nbytes:
            raise ModelFileError(
                f"its storage {storage.key[:80]!r} has {span.nbytes} bytes and must have {storage.nbytes} "
                f"from byte {storage.start} on: it is cut off"
            )


Open = tuple[Any, Callable[[Any], Array]]  # a tree, and what reads a tensor of it


@contextmanager
def opened(path: Any) -> Iterator[Open]:
    """The tree of a path or a file object: dicts, lists and values, in which tensors have a `shape`. Nothing of the
    tensors is read before somebody asks for one. Raises ModelFileError, or OSError where the file cannot be read."""
    if not isinstance(path, (str, os.PathLike)):
        data = _taken(path)
        with _checked(lambda: Memory(data), "the file") as found:
            yield found
        return
    own = _checks.path("weights", path)
    if own.is_dir():
        raise IsADirectoryError(f"{own.name!r} is a folder: give one of the files in it")
    with (
        opened_raw(own) as raw,
        _checked(lambda: File(raw), own.name) as found,
    ):
        yield found


@contextmanager
def _checked(source: Callable[[], File], name: str) -> Iterator[Open]:
    with damage_named(name):
        file = source()
        found = _read(file)
    yield found
    file.check_unchanged()


def _taken(file: Any) -> bytearray:
    """What a file object has, from where it is to its end."""
    data, known = bytearray(), False
    while True:
        part = file.read(_CHUNK)
        if not isinstance(part, (bytes, bytearray, memoryview)):
            raise TypeError(f"weights are a file whose read gives {_checks.kind(part)}: open it with mode 'rb'")
        if not len(part):
            break
        data += part
        if not known and len(data) >= _HEAD:  # a stream without an end is not read for ever
            head = bytes(data[:_HEAD])
            if not (head[:4] == _ZIP or head[:1] == _PICKLE or head[8:9] == _HEADER):
                raise ModelFileError(_unknown(Memory(data), head))
            known = True
    if not data:
        raise ModelFileError("it has nothing to read: it is empty, or at its end; after writing to it, seek(0)")
    return data


def _read(file: File) -> Open:
    head = file.get(0, min(_HEAD, file.size))
    if head[:4] == _ZIP:
        archive = _zip(file)
    elif head[:1] == _PICKLE and _MAGIC.to_bytes(10, "little") in head:
        archive = _stream(file)
    elif head[8:9] == _HEADER and int.from_bytes(head[:8], "little") <= file.size - 8:
        return safetensors.tensors_of(file)
    else:
        raise ModelFileError(_unknown(file, head))
    return archive.tree, archive.read


def _unknown(file: File, head: bytes) -> str:
    wanted = "files of torch.save (.pt, .pth, .bin) and .safetensors are read"
    if not file.size:
        return f"it is empty: {wanted}"
    if head[:8] == b"\x89HDF\r\n\x1a\n":
        return f"it is an HDF5 file, as Keras writes: {wanted}"
    if head[:1] == _PICKLE:
        return (
            "it is a pickle, and not one of torch.save's: unpickling runs code. Where you trust it, give what is in it "
            "as a dict of arrays"
        )
    if head[:1] in (b"{", b"["):
        return f"it is JSON, perhaps a list of other files: {wanted}, one at a time"
    return f"it begins with {head[:8]!r}: {wanted}"


# ---- since 1.6 -------------------------------------------------------------------------------------------------------


def _zip(file: File) -> Archive:
    entries = zips.directory(file)
    top = [name[: -len("data.pkl")] for name in entries if name.count("/") < 2 and name.endswith("data.pkl")]
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in entries):
        raise ModelFileError(
            "it is a TorchScript program, not weights. Save those, in PyTorch: "
            'torch.save(torch.jit.load(path).state_dict(), "weights.pt")'
        )
    if len(top) != 1:
        raise ModelFileError(_other_zip(set(entries)))
    root = top[0]
    archive = Archive(file)
    if (order := entries.get(f"{root}byteorder")) is not None and order.nbytes <= 8:
        word = file.get(order.at, order.nbytes)
        if word not in (b"little", b"big"):
            raise ModelFileError(f"its byte order is {word!r}")
        archive.order = "<" if word == b"little" else ">"
    for name, entry in entries.items():
        if name.startswith(f"{root}data/"):
            archive.spans[name[len(f"{root}data/") :]] = entry
    pickle = entries[f"{root}data.pkl"]
    pickle.check(file)

    def persistent(pid: Any) -> Storage:
        storage = storage_of(pid)
        archive.check(storage)
        return storage

    archive.tree = interpret(Bytes(file, pickle.at, pickle.at + pickle.nbytes), find, persistent)
    return archive


def _other_zip(names: set[str]) -> str:
    if any(name.endswith(".npy") for name in names):
        if "structure.json" in names:
            return "it is a model of pylstm's own, which pylstm.load reads"
        return "it is an .npz: give np.load(path), which is a mapping of arrays"
    if "config.json" in names:
        return "it is a model of Keras', not weights of PyTorch's"
    if any("archive_format" in name for name in names):
        return (
            "it is a program of torch.export, not weights. Save those, in PyTorch: "
            'torch.save(torch.export.load(path).state_dict, "weights.pt")'
        )
    return "it is a zip archive, and not one of torch.save's: there is no data.pkl in it"


# ---- before 1.6 ------------------------------------------------------------------------------------------------------


def _stream(file: File) -> Archive:
    source = Bytes(file, 0, file.size)
    if interpret(source, find) != _MAGIC or interpret(source, find) != _PROTOCOL:
        raise ModelFileError("it is of a version of torch.save that is not known")
    system = interpret(source, find)
    archive = Archive(file)
    if type(system) is dict and system.get("little_endian") is False:
        archive.order = ">"
    claims: dict[str, list[Storage]] = {}
    widths: dict[str, int] = {}

    def persistent(pid: Any) -> Storage:
        storage = storage_of(pid)
        width = DTYPES[storage.dtype][0] if storage.dtype else 1
        if widths.setdefault(storage.key, width) != width:
            raise ModelFileError(f"its storage {storage.key[:80]!r} has elements of several sizes")
        largest = claims.setdefault(storage.key, [storage])
        if largest[0].start + largest[0].nbytes < storage.start + storage.nbytes:
            largest[0] = storage
        return storage

    archive.tree = interpret(source, find, persistent)
    keys = interpret(source, find)
    if type(keys) is not list:
        raise ModelFileError("the list of its storages is damaged")
    at = source.place
    for key in map(str, keys):
        if key not in widths or key in archive.spans or at + 8 > file.size:
            raise ModelFileError("the list of its storages does not fit: it is damaged or cut off")
        count = int.from_bytes(file.get(at, 8), "little" if archive.order == "<" else "big")
        if count > (file.size - at - 8) // widths[key]:
            raise ModelFileError(f"its storage {key[:80]!r} claims {count} elements: it is cut off")
        archive.spans[key] = Span(at + 8, count * widths[key])
        at += 8 + count * widths[key]
    for (largest,) in claims.values():
        archive.check(largest)
    return archive
