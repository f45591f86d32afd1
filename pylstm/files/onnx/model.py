"""What an ONNX file says: graphs of nodes with their attributes, constants, inputs and outputs. Nothing is computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ... import _checks
from ..._arrays import Array
from ..sources import File, Memory, opened_raw
from ..strict_json import ModelFileError, damage_named
from .protobuf import FIXED32, SPAN, VARINT, fields, integers, signed, text
from .tensors import Folder, dtype_of, tensor

OLDEST, NEWEST = 7, 28  # versions of the operators ("opsets") whose meaning is known
_DEEPEST = 16  # graphs in each other
_MOST_BYTES = 2**31  # of a protocol buffer
_FEWEST_BYTES = 6  # of a message or number, on the average: what is in memory has many times the bytes of a message
_HEAD = 1000


@dataclass
class Value:
    """An input or output of a graph: its name, dtype (None: it is not said, or no tensor's), and shape, in which a name
    or None stands for a size that is not fixed; None for a shape that is not said."""

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | str | None, ...] | None


@dataclass
class Node:
    """One operation."""

    operator: str
    domain: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]  # int, float, bytes, Array, Graph, or a list of the first three
    place: int = 0

    def __str__(self) -> str:
        kind = self.operator if self.domain in ("", "ai.onnx") else f"{self.domain}.{self.operator}"
        name = f" {self.name[:80]!r}" if self.name else ""
        gives = "" if self.name else f" that gives {next(iter(self.outputs), '')[:80]!r}"
        return f"node {self.place}{name} ({kind[:80]}{gives})"

    def error(self, message: str) -> ModelFileError:
        """An error about this node."""
        return ModelFileError(f"{self}: {message}")


@dataclass
class Graph:
    """Nodes in the order in which they run."""

    name: str = ""
    nodes: list[Node] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)


@dataclass
class Contents:
    """All of a file."""

    graph: Graph
    opsets: dict[str, int]
    metadata: dict[str, str]
    size: int
    producer: str = ""


class _Reader:
    """Counts what it reads: a hostile file has millions of empty messages, each of which is an object in memory."""

    def __init__(self, size: int, beside: Folder | None) -> None:
        self._left, self._beside = _HEAD + size // _FEWEST_BYTES, beside

    def fields(self, data: object) -> Iterator[tuple[int, int, Any]]:
        if not isinstance(data, memoryview):
            raise ModelFileError("a message in it is a number")
        for found in fields(data):
            self._left -= 1
            if self._left < 0:
                raise ModelFileError("it is made of more pieces than a model of its size has")
            yield found

    def model(self, data: memoryview) -> Contents:
        graph = None
        opsets: dict[str, int] = {}
        metadata: dict[str, str] = {}
        functions, version, producer = [], 0, ""
        for number, wire, value in self.fields(data):
            if number == 1 and wire == VARINT:
                version = value
            elif number == 2:
                producer = text(value)
            elif number == 7:
                if graph is not None:
                    raise ModelFileError("it has two graphs")
                graph = value
            elif number == 8:
                domain, opset = self._opset(value)
                opsets["" if domain == "ai.onnx" else domain] = opset
            elif number == 14:
                found = {key: text(entry) for key, _, entry in self.fields(value) if key in (1, 2)}
                metadata[found.get(1, "")] = found.get(2, "")
            elif number == 25:
                functions.append(value)
        if graph is None or not version:
            raise ModelFileError("it is no ONNX model: there is no graph in it")
        opset = opsets.get("", NEWEST)
        if not OLDEST <= opset <= NEWEST:
            raise ModelFileError(
                f"it uses opset {opset}, and {OLDEST} to {NEWEST} are read: export it with another opset_version "
                "or convert it with onnx.version_converter"
            )
        if functions:
            raise ModelFileError(
                f"it has {len(functions)} functions of its own, which are not read: onnx.inliner.inline_local_functions"
                " of the onnx package puts their nodes in place of the calls"
            )
        return Contents(self.graph(graph, 0), {"": opset, **opsets}, metadata, len(data), producer)

    def _opset(self, data: object) -> tuple[str, int]:
        domain, version = "", 1
        for number, wire, value in self.fields(data):
            if number == 1:
                domain = text(value)
            elif number == 2 and wire == VARINT:
                version = signed(value)
        return domain, version

    def graph(self, data: object, depth: int) -> Graph:
        if depth >= _DEEPEST:
            raise ModelFileError(f"its graphs are in each other more than {_DEEPEST} deep")
        graph = Graph()
        for number, _, value in self.fields(data):
            if number == 1:
                graph.nodes.append(self._node(value, depth, len(graph.nodes)))
            elif number == 2:
                graph.name = text(value)
            elif number == 5:
                name, array = tensor(_span(value), self._beside)
                if name in graph.constants:
                    raise ModelFileError(f"two constants in it have the name {name[:80]!r}")
                graph.constants[name] = array
            elif number == 11:
                graph.inputs.append(self._value(value))
            elif number == 12:
                graph.outputs.append(self._value(value))
            elif number == 15:
                raise ModelFileError("it has sparse constants, which are not read: make them dense")
        return graph

    def _node(self, data: object, depth: int, place: int) -> Node:
        node = Node("", "", "", [], [], {}, place)
        attributes = []
        for number, _, value in self.fields(data):
            if number == 1:
                node.inputs.append(text(value))
            elif number == 2:
                node.outputs.append(text(value))
            elif number == 3:
                node.name = text(value)
            elif number == 4:
                node.operator = text(value)
            elif number == 5:
                attributes.append(value)
            elif number == 7:
                node.domain = text(value)
        if node.domain == "ai.onnx":
            node.domain = ""
        for value in attributes:
            try:
                name, found = self._attribute(value, depth)
            except ModelFileError as error:
                if str(error).startswith("node "):  # of a graph inside of it
                    raise
                raise node.error(str(error)) from None
            if name in node.attributes:
                raise node.error(f"has the attribute {name[:80]!r} twice")
            node.attributes[name] = found
        return node

    def _attribute(self, data: object, depth: int) -> tuple[str, Any]:
        name, kind = "", 0
        single: Any = None
        several: list[Any] = []
        for number, wire, value in self.fields(data):
            if number == 1:
                name = text(value)
            elif number == 20 and wire == VARINT:
                kind = value
            elif number == 2 and wire == FIXED32:
                single = _decimal(np.frombuffer(value, "<f4")[0])
            elif number == 3 and wire == VARINT:
                single = signed(value)
            elif number == 4 and wire == SPAN:
                single = bytes(value)
            elif number == 5:
                single = tensor(_span(value), self._beside)[1]
            elif number == 6:
                single = self.graph(value, depth + 1)
            elif number == 7:
                several += _floats(value)
            elif number == 8:
                several += self._integers(wire, value)
            elif number == 9 and wire == SPAN:
                several.append(bytes(value))
            elif number == 21:
                raise ModelFileError(f"its attribute {text(value)[:80]!r} is one of a function's: there is none")
            elif number in (10, 11, 14, 15, 22, 23):
                raise ModelFileError(f"its attribute {name[:80]!r} holds types, sparse tensors or lists of tensors")
        if 6 <= kind <= 10:
            return name, several
        if single is None:  # what has its default value may be left out
            single = {1: 0.0, 2: 0, 3: b""}.get(kind, several)
        return name, single

    def _integers(self, wire: int, value: Any) -> list[int]:
        if wire == VARINT:
            return [signed(value)]
        found = integers(_span(value)).tolist()
        self._left -= len(found)
        if self._left < 0:
            raise ModelFileError("it is made of more pieces than a model of its size has")
        return found  # type: ignore[no-any-return]

    def _value(self, data: object) -> Value:
        value = Value("", None, None)
        for number, _, part in self.fields(data):
            if number == 1:
                value.name = text(part)
            elif number == 2:
                for kind, _, what in self.fields(part):
                    if kind == 1:
                        self._tensor_type(what, value)
                    else:
                        raise ModelFileError(f"input or output {value.name[:80]!r} is no tensor: only tensors are read")
        return value

    def _tensor_type(self, data: object, value: Value) -> None:
        for number, wire, part in self.fields(data):
            if number == 1 and wire == VARINT:
                value.dtype = dtype_of(part, f"value {value.name[:80]!r}") if part else None
            elif number == 2:
                shape: list[int | str | None] = []
                for kind, _, size in self.fields(part):
                    if kind == 1:
                        shape.append(self._size(size))
                value.shape = tuple(shape)

    def _size(self, data: object) -> int | str | None:
        found: int | str | None = None
        for number, wire, value in self.fields(data):
            if number == 1 and wire == VARINT:
                found = signed(value) if signed(value) > 0 else None
            elif number == 2:
                found = text(value) or None
        return found


def _floats(value: Any) -> list[float]:
    data = _span(value)
    if len(data) % 4:
        raise ModelFileError("a row of numbers in it is cut off")
    return [_decimal(one) for one in np.frombuffer(data, "<f4")]


def _decimal(number: np.float32) -> float:
    """The shortest decimal that is this float32: what somebody has written, as 1e-5, for graphs of float64, too."""
    return float(str(number))


def _span(value: object) -> memoryview:
    if not isinstance(value, memoryview):
        raise ModelFileError("a message in it is a number")
    return value


def read(source: Any) -> Contents:
    """What is in a file: a path, or the bytes of one. Raises ModelFileError, or OSError where it cannot be read."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _read(Memory(bytes(source)), None, "the model")
    path = _checks.path("path", source)
    if path.is_dir():
        raise IsADirectoryError(f"{path.name!r} is a folder: give the .onnx file in it")
    with opened_raw(path) as raw:
        try:
            file = File(raw)
        except ModelFileError as error:
            raise ModelFileError(f"{path.name}: {error}") from None
        found = _read(file, Folder(Path(path).parent), path.name)
        file.check_unchanged()
    return found


def _read(file: File, beside: Folder | None, name: str) -> Contents:
    with damage_named(name):
        if not file.size:
            raise ModelFileError("it is empty")
        if file.size > _MOST_BYTES:
            raise ModelFileError(f"it has {file.size} bytes, more than an ONNX model can have: is it one?")
        buffer = bytearray(file.size)
        file.fill(0, buffer, None)
        _check_head(bytes(buffer[:16]))
        return _Reader(file.size, beside).model(memoryview(buffer).toreadonly())


_OTHERS = {
    b"PK\x03\x04": "a zip, as .keras and .pt files are",
    b"\x89HDF": "an HDF5 file, as Keras writes",
    b"\x80": "a pickle",
    b"ORTM": "onnxruntime's own .ort format",
    b"TFL3": "a TensorFlow Lite file",
    b"{": "a text",
    b"<": "a text",
    b"version ": "a pointer of Git LFS: `git lfs pull` gets the file itself",
}


def _check_head(head: bytes) -> None:
    for begin, what in _OTHERS.items():
        if head.startswith(begin) or head[4:].startswith(b"TFL3") or head[4:].startswith(b"ORTM"):
            kind = what if head.startswith(begin) else "onnxruntime's own .ort format or a TensorFlow Lite file"
            raise ModelFileError(f"it is no ONNX model, but {kind}")
