"""A run that is written down: every layer it calls, and every operation on values, becomes nodes of a graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..._arrays import Array
from ...graph.recording import Run
from ...graph.structure import leaves, mapped
from ...graph.values import Place, Value, new_value
from ...layers.attention import _PREPARE, Attention
from ...layers.attention_memory import AttentionMemory
from .attention_nodes import MemoryNames, write_attention, write_memory
from .emitting import Emitter, Name
from .index_nodes import indexed
from .layer_nodes import write_layer
from .notes import DependsOnExampleError, Notes, counted, same
from .operation_nodes import OPERATIONS
from .symbols import Symbols, named


class Mark(Place):
    """The name of a value in the graph, in the place where a run in training has that of its gradient."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Tracing(Run):
    """A run whose operations are written into a graph.

    Attributes:
        graph: what has been written.
        notes: what is to be compared; others: the notes of another run, whose example had other numbers, and sizes
            where these are open; None: of none so far.
        axes: (size, size in that other run) -> (name of an input, its axis).
    """

    __slots__ = ("_whole", "axes", "graph", "notes", "others")

    def __init__(self, graph: Emitter, others: Notes | None) -> None:
        super().__init__(recording=False)
        self.graph, self.others, self.notes = graph, others, Notes()
        self.axes: dict[tuple[int, int], tuple[str, int]] = {}
        self._whole: set[str] = set()  # names of lengths that are all there are

    # ---- names -------------------------------------------------------------------------------------------------------

    def named(self, value: Any) -> str:
        """The name of a value; of one that is no input's and nobody's output, a constant."""
        if isinstance(value, Value):
            if type(value._slot) is Mark:
                return value._slot.name
            value = value._data
        return self._constant(np.asarray(value), self.graph.as_floats)

    def named_symbols(self, value: Any) -> str:
        """The name of integers or bools."""
        if isinstance(value, Symbols) and value.mark:
            return value.mark
        array = np.asarray(value)
        return self._constant(array if array.dtype.kind == "b" else array.astype(np.int64), lambda name: name)

    def _constant(self, array: Array, converted: Callable[[str], str]) -> str:
        """A constant, or what it has been computed of: sizes of the inputs."""
        self.notes.constants.append(array.copy())
        if self.others is None:
            return self.graph.constant(array)
        if len(self.notes.constants) > len(self.others.constants):
            raise DependsOnExampleError
        other = self.others.constants[len(self.notes.constants) - 1]
        if same(array, other):
            return self.graph.constant(array)
        return self._of_sizes(array, other, converted)

    def _of_sizes(self, array: Array, other: Array, converted: Callable[[str], str]) -> str:
        if array.size == other.size == 1 and array.shape == other.shape:
            found = self.axes.get((array.item(), other.item()))
            if found is not None:
                size = converted(self.graph.size(*found))
                return self.graph.unsqueezed(size, *range(array.ndim)) if array.ndim else size
        found = self.axes.get((counted(array), counted(other)))  # type: ignore[arg-type]
        if found is None or array.ndim != other.ndim:
            raise DependsOnExampleError
        steps = converted(self.graph.counted(*found))
        return self.graph.reshaped(steps, *[-1 if size > 1 else 1 for size in other.shape]) if array.ndim > 1 else steps

    def made(self, array: Any, name: str) -> Value:
        return new_value(np.asarray(array), self, Mark(name), held=True)

    def detached(self, value: Value) -> Value:
        return new_value(value._data, self, value._slot, held=True)

    def indexed(self, name: str, x: Array, index: Any) -> str:
        return indexed(self, name, x, index)

    # ---- operations and layers ---------------------------------------------------------------------------------------

    def apply(self, operation: Callable[..., Any], operands: tuple[Value, ...], options: Mapping[str, Any]) -> Value:
        self.check()
        self.notes.count += 1
        output, _ = operation((False,) * len(operands), *[operand._data for operand in operands], **options)
        write = OPERATIONS.get(operation)
        if write is None:
            raise ValueError(f"the operation {operation.__name__} is not written to ONNX files")
        if not any(_has_name(one) for one in (*operands, *options.values())):
            return new_value(np.asarray(output), self, None)  # constants stay constants
        arrays = [operand._data for operand in operands]
        name = write(self, [self.named(operand) for operand in operands], arrays, np.asarray(output), **options)
        return self.made(output, name)

    def call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.check()
        self.notes.count += 1
        kwargs = dict(kwargs)
        lengths = kwargs.pop("lengths", None)
        kwargs.pop("num_threads", None)
        if not args and "x" in kwargs:
            args = (kwargs.pop("x"),)
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        while args and args[-1] is None:
            args = args[:-1]
        if kwargs or not args:
            raise ValueError(f"{layer!r} is called with {', '.join(kwargs) or 'nothing'}, which is not written")
        if type(layer) is Attention:
            return self._attention(layer, *args, lengths=lengths)
        x, *more = args
        if len(more) > 1 or (more and not layer.returns_state):
            raise ValueError(f"{layer!r} takes several inputs, which is not written")
        state = more[0] if more else None
        array, plain = _plain(x), None if lengths is None else np.asarray(lengths)
        given = (array,) if state is None else (array, mapped(_plain, state))
        outputs = self.before.run(layer, *given, **({} if plain is None else {"lengths": plain}))
        if not any(_has_name(one) for one in (x, lengths, *leaves(state))):
            return mapped(self._constant_output, outputs)  # constants stay constants
        mark = self.named(x) if isinstance(x, Value) or array.dtype.kind == "f" else self.named_symbols(x)
        name = Name(mark, array.ndim, array.shape[-1] if array.ndim else None)
        lens = self._lengths(lengths)
        names = None if state is None else mapped(self.named, state)
        y, after = self.before.run(write_layer, self.graph, layer, name, lens, names)
        if not layer.returns_state:
            return self.made(outputs, y.name)
        marked = [self.made(one, name) for one, name in zip(leaves(outputs[1]), after, strict=True)]
        return self.made(outputs[0], y.name), tuple(marked) if isinstance(outputs[1], tuple) else marked[0]

    def multiply(self, layer: Any, table: Array, x: Value) -> Any:
        weight = self.graph.constant(np.asarray(table).T, "weight")
        del layer
        return self.made(x._data @ np.asarray(table).T, self.graph.node("MatMul", [self.named(x), weight]))

    def _lengths(self, lengths: Any) -> str | None:
        """The name of lengths; None: all that there is."""
        name = None if lengths is None else self.named_symbols(lengths)
        return None if name in self._whole else name

    def _attention(self, layer: Attention, query: Any, keys: Any = None, *, lengths: Any = None) -> Any:
        if isinstance(keys, AttentionMemory) and lengths is None:
            names = MemoryNames(self.named(keys.keys), self.named(keys.projected), self._lengths(keys.lengths))
            memory = AttentionMemory(_plain(keys.keys), _plain(keys.projected), np.asarray(keys.lengths))
        else:
            plain = None if lengths is None else np.asarray(lengths)
            memory = self.before.run(layer.prepare, _plain(keys), lengths=plain)
            names = self.before.run(write_memory, self.graph, layer, self.named(keys), self._lengths(lengths))
        if query is _PREPARE:
            own = self.made(memory.keys, names.keys)
            shared = names.projected == names.keys
            projected = own if shared else self.made(memory.projected, names.projected)
            return AttentionMemory(own, projected, named(memory.lengths, self, names.lengths or self._all(names.keys)))
        array = _plain(query)
        found = self.before.run(layer, array, memory)
        name = Name(self.named(query), array.ndim)
        written = self.before.run(write_attention, self.graph, layer, name, names)
        return tuple(self.made(one, name) for one, name in zip(found, written, strict=True))

    def _all(self, keys: str) -> str:
        """The lengths of keys that all count."""
        graph = self.graph
        name: str = graph.node("Expand", [graph.size(keys, 1), graph.part(graph.node("Shape", [keys]), 0, 0, 1)])
        self._whole.add(name)
        return name


def _plain(value: Any) -> Any:
    return value._data if isinstance(value, Value) else value if value is None else np.asarray(value)


def _has_name(given: Any) -> bool:
    """Whether something is in the graph, and no constant."""
    if isinstance(given, Value):
        return type(given._slot) is Mark
    return isinstance(given, Symbols) and given.mark is not None
