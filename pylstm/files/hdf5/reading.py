"""HDF5 files as trees: groups with attributes, and datasets of numbers. Nothing of a dataset is read before somebody
asks for it, and then no more than the file has.

Written by the HDF5 File Format Specification (support.hdfgroup.org), versions 1.1 and 3.0: superblocks 0 to 3, groups
with symbol tables or with links in their headers, contiguous and compact datasets, fixed texts and those in the global
heap. Chunks, filters and groups with fractal heaps, which Keras does not write, are refused.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..._arrays import Array
from ..pytorch.tensors import widened
from ..sources import File
from ..strict_json import ModelFileError
from . import messages as m
from .types import ADVICE, Type, dataspace, datatype

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_DEPTH = 64  # of groups in each other
_OBJECTS = 2**17
_LEVELS = 8  # of a B-tree


class Dataset:
    """Numbers in a file.

    Attributes:
        shape: a tuple.
        name: where it is, for errors.
    """

    __slots__ = ("_at", "_compact", "_contents", "_type", "name", "shape")

    def __init__(self, contents: Contents, name: str, shape: tuple[int, ...], kind: Type) -> None:
        self._contents, self.name, self.shape, self._type = contents, name, shape, kind
        self._at, self._compact = m.UNDEFINED, b""

    def read(self) -> Array:
        """A C-contiguous array of the machine's byte order; bfloat16 as float32. Raises ModelFileError."""
        if not self._type.code or self._type.code in "SO":
            raise ModelFileError(f"{self.name!r:.200} holds {self._type.what or 'texts'}, and numbers are wanted")
        nbytes = math.prod(self.shape) * self._type.size
        code = "<u2" if self._type.code == "bf16" else self._type.code
        if not nbytes:
            return np.zeros(self.shape, np.float32 if self._type.code == "bf16" else np.dtype(code).newbyteorder("="))
        self._contents.claim(self.name, nbytes)
        if self._compact:
            raw = np.frombuffer(self._compact[:nbytes], code).copy()
        elif self._at == m.UNDEFINED:
            raise ModelFileError(f"{self.name!r:.200} was never written to: it has no numbers")
        else:
            raw = np.empty(nbytes // self._type.size, code)
            self._contents.file.fill(self._at, raw.view(np.uint8), None)
        if self._type.code == "bf16":
            return widened(raw).reshape(self.shape)
        return np.ascontiguousarray(raw, raw.dtype.newbyteorder("=")).reshape(self.shape)


class Group:
    """Attributes, and groups and datasets by name, in the order of the file (that of their names).

    Attributes:
        name: where it is, for errors.
        attributes: name -> a str, or an array of numbers or of str.
        items: name -> Group or Dataset.
    """

    __slots__ = ("attributes", "items", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.attributes: dict[str, Any] = {}
        self.items: dict[str, Group | Dataset] = {}

    def find(self, path: str) -> Group | Dataset | None:
        """What is at this path, or None."""
        here: Group | Dataset | None = self
        for part in path.split("/"):
            if part:
                here = here.items.get(part) if isinstance(here, Group) else None
        return here

    def group(self, path: str) -> Group | None:
        found = self.find(path)
        return found if isinstance(found, Group) else None


class Contents:
    """A file of which the tree has been read.

    Attributes:
        root: the outermost group.
    """

    def __init__(self, file: File, at: int = 0, size: int | None = None) -> None:
        self.file = m.Metered(file, at, size)
        self._heaps: dict[int, dict[int, tuple[int, int]]] = {}
        self._objects, self._claimed = 0, 0
        self._open: set[int] = set()
        try:
            self.root = self._group("", self._root(), 0)
        except (struct.error, IndexError, UnicodeDecodeError) as error:
            raise ModelFileError(f"it is damaged: {str(error)[:200]}") from None

    def claim(self, name: str, nbytes: int) -> None:
        """So many bytes are to be read as numbers. Raises ModelFileError where that is more than there is."""
        self._claimed += nbytes
        if self._claimed > self.file.size:
            raise ModelFileError(
                f"its datasets up to {name!r:.200} claim {self._claimed} bytes, and it has {self.file.size}: it is cut "
                "off or damaged"
            )

    def _root(self) -> int:
        head = self.file.get(0, min(96, self.file.size))
        if head[:8] != SIGNATURE:
            raise ModelFileError(f"it begins with {head[:8]!r}, and is no HDF5 file")
        if head[8] in (0, 1):
            at = 24 if head[8] == 0 else 28
            sizes = head[13:15]
            base, header = struct.unpack_from("<Q", head, at)[0], struct.unpack_from("<Q", head, at + 40)[0]
        elif head[8] in (2, 3):
            sizes = head[9:11]
            base, header = struct.unpack_from("<Q", head, 12)[0], struct.unpack_from("<Q", head, 36)[0]
        else:
            raise ModelFileError(f"it is HDF5 with a superblock of version {head[8]}: {ADVICE}")
        if sizes != b"\x08\x08" or base:
            raise ModelFileError(f"its addresses are not plain numbers of 8 bytes: {ADVICE}")
        return int(header)

    # ---- objects -----------------------------------------------------------------------------------------------------

    def _object(self, name: str, at: int, depth: int) -> Group | Dataset:
        kinds = {one.kind for one in m.messages(self.file, at)}
        return self._dataset(name, at) if m.LAYOUT in kinds else self._group(name, at, depth)

    def _group(self, name: str, at: int, depth: int) -> Group:
        if at in self._open or depth > _DEPTH:
            raise ModelFileError(f"the group {name!r:.200} is inside of itself, or too deep")
        self._open.add(at)
        group = Group(name)
        links: dict[str, int] = {}
        for message in m.messages(self.file, at):
            if message.kind == m.SYMBOL_TABLE:
                tree, heap = struct.unpack_from("<2Q", message.data)
                links.update(self._symbols(tree, heap))
            elif message.kind == m.LINK:
                links.update(_link(message.data))
            elif message.kind == m.LINK_INFO:
                start = 2 + (8 if message.data[1] & 1 else 0)
                if struct.unpack_from("<Q", message.data, start)[0] != m.UNDEFINED:
                    raise ModelFileError(f"the group {name!r:.200} has a fractal heap for its links: {ADVICE}")
            else:
                self._attribute(group.attributes, message, name)
        for link, place in links.items():
            self._objects += 1
            if self._objects > _OBJECTS:
                raise ModelFileError(f"it has more than {_OBJECTS} groups and datasets")
            group.items[link] = self._object(f"{name}/{link}" if name else link, place, depth + 1)
        self._open.remove(at)
        return group

    def _dataset(self, name: str, at: int) -> Dataset:
        shape: tuple[int, ...] | None = None
        kind, layout, filtered = Type("", 0, "nothing"), b"", False
        for message in m.messages(self.file, at):
            if message.kind in (m.DATASPACE, m.DATATYPE, m.LAYOUT) and message.shared:
                raise ModelFileError(f"{name!r:.200} has a type that is shared with others: {ADVICE}")
            if message.kind == m.DATASPACE:
                shape = dataspace(message.data) or ()
            elif message.kind == m.DATATYPE:
                kind = datatype(message.data)
            elif message.kind == m.LAYOUT:
                layout = message.data
            elif message.kind == m.FILTERS:
                filtered = True
        if shape is None:
            raise ModelFileError(f"{name!r:.200} has no shape: it is damaged")
        dataset = Dataset(self, name, shape, kind)
        if len(layout) < 2 or layout[0] not in (3, 4) or layout[1] not in (0, 1) or filtered:
            what = "compressed" if filtered else "in chunks" if layout[1:2] == b"\2" else "laid out in an unusual way"
            raise ModelFileError(f"the numbers of {name!r:.200} are {what}: {ADVICE}")
        nbytes = math.prod(shape) * kind.size
        if layout[1] == 0:
            dataset._compact = layout[4 : 4 + struct.unpack_from("<H", layout, 2)[0]]
            if len(dataset._compact) < nbytes:
                raise ModelFileError(f"{name!r:.200} of shape {shape!r:.200} has too few numbers: it is damaged")
        else:
            dataset._at, stored = struct.unpack_from("<2Q", layout, 2)
            if dataset._at != m.UNDEFINED and (stored < nbytes or dataset._at + nbytes > self.file.size):
                raise ModelFileError(f"{name!r:.200} of shape {shape!r:.200} goes beyond the file: it is cut off")
        return dataset

    # ---- links -------------------------------------------------------------------------------------------------------

    def _symbols(self, tree: int, heap: int) -> dict[str, int]:
        """Name -> address, of a group with a symbol table."""
        head = self.file.get(heap, 32)
        size, _, data = struct.unpack_from("<3Q", head, 8)
        if head[:4] != b"HEAP":
            raise ModelFileError("the names of a group are damaged")
        names = self.file.get(data, size)
        found: dict[str, int] = {}
        for at in self._leaves(tree, 0):
            leaf = self.file.get(at, 8)
            if leaf[:4] != b"SNOD":
                raise ModelFileError("the entries of a group are damaged")
            count = struct.unpack_from("<H", leaf, 6)[0]
            entries = self.file.get(at + 8, 40 * count)
            for place in range(0, 40 * count, 40):
                start, address, cached = struct.unpack_from("<2QI", entries, place)
                end = names.find(b"\0", start)
                if start >= size or end < 0 or cached == 2:
                    raise ModelFileError("the entries of a group are damaged, or lead elsewhere by a soft link")
                found[names[start:end].decode()] = address
        return found

    def _leaves(self, at: int, depth: int) -> Iterator[int]:
        node = self.file.get(at, 24)
        kind, level, count = struct.unpack_from("<2BH", node, 4)
        if node[:4] != b"TREE" or kind != 0 or depth > _LEVELS:
            raise ModelFileError("the list of a group is damaged")
        children = self.file.get(at + 24, 16 * count)
        for place in range(8, 16 * count, 16):
            child = struct.unpack_from("<Q", children, place)[0]
            if level:
                yield from self._leaves(child, depth + 1)
            else:
                yield child

    # ---- attributes --------------------------------------------------------------------------------------------------

    def _attribute(self, attributes: dict[str, Any], message: m.Message, where: str) -> None:
        data = message.data
        if message.kind == m.ATTRIBUTE_INFO:
            start = 2 + (2 if data[1] & 1 else 0)
            if struct.unpack_from("<Q", data, start)[0] != m.UNDEFINED:
                raise ModelFileError(f"the group {where!r:.200} has a fractal heap for its attributes: {ADVICE}")
            return
        if message.kind != m.ATTRIBUTE:
            return
        version = data[0]
        if version not in (1, 2, 3) or message.shared or (version > 1 and data[1] & 3):
            raise ModelFileError(f"an attribute of {where!r:.200} is of an unknown or shared kind: {ADVICE}")
        sizes, at = struct.unpack_from("<3H", data, 2), 9 if version == 3 else 8
        parts = []
        for size in sizes:
            parts.append(data[at : at + size])
            at += (size + 7) // 8 * 8 if version == 1 else size
        name = parts[0].split(b"\0")[0].decode()
        kind, shape = datatype(parts[1]), dataspace(parts[2])
        attributes[name] = self._values(f"{where}@{name}", kind, shape, data[at:])

    def _values(self, name: str, kind: Type, shape: tuple[int, ...] | None, data: bytes) -> Any:
        count = 0 if shape is None else math.prod(shape)
        if count * kind.size > len(data):
            raise ModelFileError(f"the attribute {name!r:.200} is cut off")
        if kind.code == "O":
            if kind.size != 16:
                raise ModelFileError(f"the attribute {name!r:.200} is damaged")
            values = [self._heap_text(*struct.unpack_from("<IQI", data, 16 * i)) for i in range(count)]
        elif kind.code == "S":
            values = [data[i * kind.size : (i + 1) * kind.size].split(b"\0")[0].decode() for i in range(count)]
        elif kind.code in ("", "bf16"):
            return None
        else:
            array = np.frombuffer(data[: count * kind.size], kind.code)
            return array.astype(array.dtype.newbyteorder("=")).reshape(shape or (0,) * (shape is None))
        return values[0] if shape == () else values

    def _heap_text(self, length: int, at: int, index: int) -> str:
        if not length:
            return ""
        heap = self._heaps.get(at)
        if heap is None:
            heap = self._heaps[at] = self._heap(at)
        place, size = heap.get(index, (0, -1))
        if length > size:
            raise ModelFileError("a text of it is not where it is said to be: it is damaged")
        return self.file.get(place, length).split(b"\0")[0].decode()

    def _heap(self, at: int) -> dict[int, tuple[int, int]]:
        """Number -> place and size of what is in a global heap."""
        head = self.file.get(at, 16)
        if head[:4] != b"GCOL":
            raise ModelFileError("the texts of it are not where they are said to be: it is damaged")
        end, place = at + struct.unpack_from("<Q", head, 8)[0], at + 16
        found: dict[int, tuple[int, int]] = {}
        while place + 16 <= min(end, self.file.size):
            index, size = struct.unpack("<H6xQ", self.file.get(place, 16))
            if not index:
                break
            found[index] = place + 16, size
            place += 16 + (size + 7) // 8 * 8
        return found


def _link(data: bytes) -> dict[str, int]:
    """Of a link in a header: name -> address."""
    flags, at = data[1], 2
    kind = 0
    if flags & 8:
        kind, at = data[at], at + 1
    at += (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
    width = 1 << (flags & 3)
    length = int.from_bytes(data[at : at + width], "little")
    at += width
    if kind:
        raise ModelFileError("a group has a soft or external link: copy what it leads to into the file")
    name = data[at : at + length].decode()
    return {name: struct.unpack_from("<Q", data, at + length)[0]}
