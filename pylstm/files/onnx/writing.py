"""ONNX files written: messages as bytes, from the inner to the outer ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..._arrays import Array
from .protobuf import float_field, number_field, span_field
from .tensors import NUMBERS

IR_VERSION = 8  # what goes with opset 15 to 18
PRODUCER = "pylstm"
Size = int | str | None


class GraphBytes(bytes):
    """A graph as an attribute."""


def tensor(name: str, array: Array) -> bytes:
    """A TensorProto."""
    array = np.asarray(array)
    dims = b"".join(number_field(1, size) for size in array.shape)
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return (
        dims
        + number_field(2, NUMBERS[np.dtype(array.dtype.newbyteorder("="))])
        + span_field(8, name)
        + span_field(9, little.tobytes())
    )


def attribute(name: str, value: Any) -> bytes:
    """An AttributeProto of an int, float, text, array or graph, or a list of one of the first three."""
    begin = span_field(1, name)
    if isinstance(value, (bool, int, np.integer)):
        return begin + number_field(3, int(value)) + number_field(20, 2)
    if isinstance(value, float):
        return begin + float_field(2, value) + number_field(20, 1)
    if isinstance(value, str):
        return begin + span_field(4, value) + number_field(20, 3)
    if isinstance(value, np.ndarray):
        return begin + span_field(5, tensor("", value)) + number_field(20, 4)
    if isinstance(value, GraphBytes):
        return begin + span_field(6, value) + number_field(20, 5)
    if all(isinstance(one, str) for one in value) and value:
        return begin + b"".join(span_field(9, one) for one in value) + number_field(20, 8)
    if any(isinstance(one, float) for one in value):
        return begin + b"".join(float_field(7, one) for one in value) + number_field(20, 6)
    return begin + b"".join(number_field(8, int(one)) for one in value) + number_field(20, 7)


def node(
    operator: str, inputs: Sequence[str], outputs: Sequence[str], *, name: str = "", domain: str = "", **attributes: Any
) -> bytes:
    """A NodeProto; an input or output that is left out is ""."""
    return b"".join([
        *[span_field(1, one) for one in inputs], *[span_field(2, one) for one in outputs],
        span_field(3, name) if name else b"", span_field(4, operator),
        *[span_field(5, attribute(key, value)) for key, value in attributes.items() if value is not None],
        span_field(7, domain) if domain else b"",
    ])  # fmt: skip


def value(name: str, dtype: Any, shape: Iterable[Size] | None) -> bytes:
    """A ValueInfoProto: a tensor with its dtype and sizes, in which a name stands for any."""
    kind = number_field(1, NUMBERS[np.dtype(dtype)])
    if shape is not None:
        sizes = b""
        for size in shape:
            one = b"" if size is None else span_field(2, size) if isinstance(size, str) else number_field(1, size)
            sizes += span_field(1, one)
        kind += span_field(2, sizes)
    return span_field(1, name) + span_field(2, span_field(1, kind))


def graph(
    nodes: Iterable[bytes], inputs: Iterable[bytes], outputs: Iterable[bytes],
    constants: Mapping[str, Array] | None = None, name: str = "graph",
) -> GraphBytes:  # fmt: skip
    """A GraphProto."""
    parts = [span_field(1, one) for one in nodes]
    parts.append(span_field(2, name))
    parts += [span_field(5, tensor(key, array)) for key, array in (constants or {}).items()]
    parts += [span_field(11, one) for one in inputs]
    parts += [span_field(12, one) for one in outputs]
    return GraphBytes(b"".join(parts))


def model(
    graph: bytes, opset: int, metadata: Mapping[str, str] | None = None, *, version: str = "",
    domains: Mapping[str, int] | None = None,
) -> bytes:  # fmt: skip
    """A ModelProto: a whole file."""
    parts = [number_field(1, IR_VERSION), span_field(2, PRODUCER), span_field(3, version), span_field(7, graph)]
    for domain, number in {"": opset, **(domains or {})}.items():
        parts.append(span_field(8, span_field(1, domain) + number_field(2, number)))
    parts += [span_field(14, span_field(1, key) + span_field(2, text)) for key, text in (metadata or {}).items()]
    return b"".join(parts)
