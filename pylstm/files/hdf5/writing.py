"""HDF5 files of groups, attributes and contiguous datasets, as h5py reads them (HDF5 File Format Specification 1.1)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..._arrays import Array
from .messages import ATTRIBUTE, DATASPACE, DATATYPE, LAYOUT, SYMBOL_TABLE, UNDEFINED
from .reading import SIGNATURE

MOST_INLINE = 2**15  # bytes of an attribute in a header, which ends at 2**16
_LEAF = 4  # entries of a symbol table are written by twice that many
_FILL = 0x05


class Tree:
    """A group to be written.

    Attributes:
        attributes: name -> a str, or a list of str of at most `MOST_INLINE` bytes in all.
        items: name -> Tree or array.
    """

    def __init__(self, attributes: Mapping[str, Any] | None = None) -> None:
        self.attributes: dict[str, Any] = dict(attributes or {})
        self.items: dict[str, Tree | Array] = {}

    def at(self, path: str) -> Tree:
        """The group at this path, which is made where it is missing."""
        here = self
        for part in path.split("/"):
            if part:
                found = here.items.setdefault(part, Tree())
                assert isinstance(found, Tree)
                here = found
        return here


def written(root: Tree) -> bytes:
    """The file."""
    return _Writer(root).data


class _Writer:
    def __init__(self, root: Tree) -> None:
        self._parts: list[bytes] = [bytes(96)]
        self._size = 96
        self._children = max(16, _most(root))  # half of what a node of a group's tree has room for
        header, tree, heap = self._group(root)
        self._parts[0] = (
            SIGNATURE
            + struct.pack("<8B2HI", 0, 0, 0, 0, 0, 8, 8, 0, _LEAF, self._children, 0)
            + struct.pack("<4Q", 0, UNDEFINED, self._size, UNDEFINED)
            + struct.pack("<2Q2I2Q", 0, header, 1, 0, tree, heap)
        )
        self.data = b"".join(self._parts)

    def _put(self, data: bytes) -> int:
        """Where it will be."""
        at = self._size
        self._parts.append(data + bytes(-len(data) % 8))
        self._size += len(self._parts[-1])
        return at

    def _group(self, group: Tree) -> tuple[int, int, int]:
        """Where its header, its tree and its names are."""
        names = sorted(group.items, key=str.encode)
        entries = []
        heap, places = bytearray(8), []
        for name in names:
            item = group.items[name]
            if isinstance(item, Tree):
                header, tree, own = self._group(item)
                entries.append((header, 1, tree, own))
            else:
                entries.append((self._dataset(item), 0, 0, 0))
            places.append(len(heap))
            heap += name.encode() + b"\0"
            heap += bytes(-len(heap) % 8)
        names_at = self._put(bytes(heap))
        heap_at = self._put(b"HEAP" + struct.pack("<4x3Q", len(heap), 1, names_at))
        keys, leaves = [0], []
        for start in range(0, len(names), 2 * _LEAF):
            some = range(start, min(start + 2 * _LEAF, len(names)))
            leaf = b"SNOD" + struct.pack("<BxH", 1, len(some))
            for i in some:
                header, kind, tree, own = entries[i]
                leaf += struct.pack("<2QI4x2Q", places[i], header, kind, tree, own)
            leaves.append(self._put(leaf + bytes(8 + 80 * _LEAF - len(leaf))))
            keys.append(places[some[-1]])
        node = b"TREE" + struct.pack("<2BH2Q", 0, 0, len(leaves), UNDEFINED, UNDEFINED)
        for key, leaf_at in zip(keys, leaves, strict=False):
            node += struct.pack("<2Q", key, leaf_at)
        node += struct.pack("<Q", keys[-1])
        tree_at = self._put(node + bytes(24 + 32 * self._children + 8 - len(node)))
        found = [(SYMBOL_TABLE, struct.pack("<2Q", tree_at, heap_at))]
        found += [(ATTRIBUTE, self._attribute(name, value)) for name, value in group.attributes.items()]
        return self._header(found), tree_at, heap_at

    def _header(self, found: list[tuple[int, bytes]]) -> int:
        body = b""
        for kind, data in found:
            data += bytes(-len(data) % 8)
            body += struct.pack("<2HB3x", kind, len(data), 0) + data
        return self._put(struct.pack("<BxHII4x", 1, len(found), 1, len(body)) + body)

    def _dataset(self, array: Array) -> int:
        array = np.asarray(array, order="C")
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        at = self._put(data) if data else UNDEFINED
        return self._header([
            (DATASPACE, _space(array.shape)),
            (DATATYPE, _number_type(array.dtype)),
            (_FILL, struct.pack("<4B", 2, 2, 2, 0)),
            (LAYOUT, struct.pack("<2B2Q", 3, 1, at, len(data))),
        ])  # fmt: skip

    def _attribute(self, name: str, value: Any) -> bytes:
        texts = [value] if isinstance(value, str) else list(value)
        coded = [text.encode() for text in texts]
        shape = () if isinstance(value, str) else (len(texts),)
        width = max([1, *map(len, coded)])
        if not coded:  # as Keras has it
            kind, data = _number_type(np.dtype(np.float64)), b""
        elif width * len(coded) <= MOST_INLINE:
            kind = struct.pack("<BBBBI", 0x13, 0x11, 0, 0, width)  # filled up with zeros, UTF-8
            data = b"".join(text.ljust(width, b"\0") for text in coded)
        else:
            kind = struct.pack("<BBBBI", 0x19, 0x01, 0x01, 0, 16) + struct.pack("<BBBBI", 0x13, 0x10, 0, 0, 1)
            data = self._in_heap(coded)
        title, space = name.encode() + b"\0", _space(shape)
        parts = [title, kind, space]
        head = struct.pack("<Bx3H", 1, *map(len, parts))
        return head + b"".join(part + bytes(-len(part) % 8) for part in parts) + data

    def _in_heap(self, texts: list[bytes]) -> bytes:
        """The texts in a heap of their own; the references to them."""
        body, references = b"", []
        for i, text in enumerate(texts, 1):
            body += struct.pack("<2H4xQ", i, 1, len(text)) + text + bytes(-len(text) % 8)
            references.append((len(text), i))
        size = max(4096, 16 + len(body) + 16)
        rest = size - 16 - len(body)
        body += struct.pack("<2H4xQ", 0, 0, rest) + bytes(rest - 16)
        at = self._put(b"GCOL" + struct.pack("<B3xQ", 1, size) + body)
        return b"".join(struct.pack("<IQI", length, at, i) for length, i in references)


def _most(group: Tree) -> int:
    """Half of the most leaves that a group in the file has."""
    leaves = -(-len(group.items) // (2 * _LEAF))
    return max([-(-leaves // 2), *(_most(item) for item in group.items.values() if isinstance(item, Tree))])


def _space(shape: tuple[int, ...]) -> bytes:
    return struct.pack(f"<3B5x{len(shape)}Q", 1, len(shape), 0, *shape)


def _number_type(dtype: np.dtype[Any]) -> bytes:
    if dtype.kind in "iu":
        flags = 8 if dtype.kind == "i" else 0
        return struct.pack("<4BI2H", 0x10, flags, 0, 0, dtype.itemsize, 0, 8 * dtype.itemsize)
    forms = {2: (15, 10, 5, 15), 4: (31, 23, 8, 127), 8: (63, 52, 11, 1023)}
    if dtype.kind != "f" or dtype.itemsize not in forms:
        raise TypeError(f"arrays of {dtype} are not written to HDF5")
    sign, mantissa, exponent, bias = forms[dtype.itemsize]
    return struct.pack(
        "<4BI2H4BI", 0x11, 0x20, sign, 0, dtype.itemsize, 0, 8 * dtype.itemsize, mantissa, exponent, 0, mantissa, bias
    )
