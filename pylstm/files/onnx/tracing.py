"""A model's run written down: it is run on an example, and every operation on values becomes a node.

Which sizes are open, a second run with other sizes shows: a number that has changed with them was computed of them, and
one that was written into the graph as it was would be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..._arrays import Array, real_array
from ...graph import operations
from ...graph.recording import Run
from ...graph.structure import leaves, mapped
from ...graph.values import Place, Value, new_value
from ...layers.layer import Layer
from . import writing
from .emitting import Emitter, Name
from .layer_nodes import write_layer


class Mark(Place):
    """The name of a value in the graph, in the place where a run in training has that of its gradient."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class _Symbols(np.ndarray[Any, Any]):
    """Integers that go in, which know the name they have in the graph."""

    mark: str | None = None

    def __array_finalize__(self, other: Any) -> None:
        self.mark = None  # what is computed of them is another thing


MORE = (1, 2)  # sequences and steps of the second run


class DependsOnSizesError(Exception):
    """Nodes would have to be others for other sizes."""


class Tracing(Run):
    """A run whose operations are written into a graph.

    Attributes:
        graph: what has been written.
        sizes: the numbers that nodes have of the shapes of the example.
        reshapes: shapes before and after every reshape; others: those of another run, with other sizes.
        axes: (size, size in that other run) -> (name of an input, its axis).
    """

    __slots__ = ("axes", "count", "graph", "others", "reshapes", "sizes")

    def __init__(self, graph: Emitter, others: Any) -> None:
        super().__init__(recording=False)
        self.graph, self.others = graph, others
        self.count = 0  # of operations and calls
        self.axes: dict[tuple[int, int], tuple[str, int]] = {}
        self.sizes: list[tuple[int, ...]] = []
        self.reshapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def named(self, value: Any) -> str:
        """The name of a value; of one that is no input's and nobody's output, a constant."""
        if isinstance(value, Value):
            if type(value._slot) is Mark:
                return value._slot.name
            value = value._data
        array = np.asarray(value)
        self.sizes.append(array.shape)
        return self.graph.constant(array)

    def made(self, array: Any, name: str) -> Value:
        return new_value(np.asarray(array), self, Mark(name), held=True)

    def apply(self, operation: Callable[..., Any], operands: tuple[Value, ...], options: Mapping[str, Any]) -> Value:
        self.check()
        self.count += 1
        output, _ = operation((False,) * len(operands), *[operand._data for operand in operands], **options)
        write = _OPERATIONS.get(operation)
        if write is None:
            raise ValueError(f"the operation {operation.__name__} is not written to ONNX files")
        if not any(type(operand._slot) is Mark for operand in operands):
            return new_value(np.asarray(output), self, None)  # constants stay constants
        arrays = [operand._data for operand in operands]
        name = write(self, [self.named(operand) for operand in operands], arrays, np.asarray(output), **options)
        return self.made(output, name)

    def call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.check()
        self.count += 1
        lengths = kwargs.pop("lengths", None)
        kwargs.pop("num_threads", None)
        if not args and "x" in kwargs:
            args = (kwargs.pop("x"),)
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        while args and args[-1] is None:
            args = args[:-1]
        if kwargs or not args:
            raise ValueError(f"{layer!r} is called with {', '.join(kwargs) or 'nothing'}, which is not written")
        x, *more = args
        mark = x._slot.name if isinstance(x, Value) and type(x._slot) is Mark else getattr(x, "mark", None)
        if mark is None:
            if not isinstance(x, Value) and not _is_constant(x):
                raise ValueError(f"{layer!r} takes what is computed of symbols, which is not written")
            mark = self.named(x)
        lens = None
        if lengths is not None:
            lens = getattr(lengths, "mark", None) or self.named(np.asarray(lengths, np.int64))
        state = more[0] if more else None
        names = None if state is None else mapped(self.named, state)
        if len(more) > 1 or (more and not layer.returns_state):
            raise ValueError(f"{layer!r} takes several inputs, which is not written")
        array = x._data if isinstance(x, Value) else np.asarray(x)
        state_arrays = (
            None if state is None else mapped(lambda one: one._data if isinstance(one, Value) else one, state)
        )
        given = (array,) if state_arrays is None else (array, state_arrays)
        plain = None if lengths is None else np.asarray(lengths)
        outputs = self.before.run(layer, *given, **({} if plain is None else {"lengths": plain}))
        name = Name(mark, array.ndim, array.shape[-1] if array.ndim else None)
        y, after = self.before.run(write_layer, self.graph, layer, name, lens, names)
        if not layer.returns_state:
            return self.made(outputs, y.name)
        marked = [self.made(one, name) for one, name in zip(leaves(outputs[1]), after, strict=True)]
        return self.made(outputs[0], y.name), tuple(marked) if isinstance(outputs[1], tuple) else marked[0]

    def multiply(self, layer: Any, table: Array, x: Value) -> Any:
        weight = self.graph.constant(np.asarray(table).T, "weight")
        del layer
        return self.made(x._data @ np.asarray(table).T, self.graph.node("MatMul", [self.named(x), weight]))


def _is_constant(x: Any) -> bool:
    return not isinstance(x, _Symbols)


# ---- operations ------------------------------------------------------------------------------------------------------

_OPERATIONS: dict[Any, Callable[..., str]] = {}


def _writes(operation: Any) -> Callable[[Callable[..., str]], Callable[..., str]]:
    def add(function: Callable[..., str]) -> Callable[..., str]:
        _OPERATIONS[operation] = function
        return function

    return add


def _simple(operation: Any, name: str) -> None:
    @_writes(operation)
    def write(run: Tracing, names: list[str], arrays: list[Array], y: Array) -> str:  # noqa: ARG001
        return run.graph.node(name, names)  # type: ignore[no-any-return]


for _operation, _name in (
    (operations.add, "Add"), (operations.subtract, "Sub"), (operations.multiply, "Mul"), (operations.divide, "Div"),
    (operations.negative, "Neg"), (operations.matmul, "MatMul"), (operations.tanh, "Tanh"),
    (operations.sigmoid, "Sigmoid"), (operations.relu, "Relu"), (operations.absolute, "Abs"), (operations.exp, "Exp"),
    (operations.log, "Log"), (operations.sqrt, "Sqrt"),
):  # fmt: skip
    _simple(_operation, _name)


@_writes(operations.power)
def _power(run: Tracing, names: list[str], arrays: list[Array], y: Array, exponent: float) -> str:  # noqa: ARG001
    return run.graph.node("Pow", [names[0], run.graph.constant(np.float32(exponent))])  # type: ignore[no-any-return]


@_writes(operations.reshape)
def _reshape(run: Tracing, names: list[str], arrays: list[Array], y: Array, shape: Any) -> str:
    before, after = arrays[0].shape, y.shape
    run.reshapes.append((before, after))
    if run.others is None:
        return run.graph.reshaped(names[0], *after)
    if len(run.reshapes) > len(run.others):
        raise DependsOnSizesError
    other, others = run.others[len(run.reshapes) - 1]
    if len(others) != len(after):
        raise DependsOnSizesError
    sizes = []
    for at, (a, b) in enumerate(zip(after, others, strict=True)):
        copied = at < min(len(before), len(other)) and (a, b) == (before[at], other[at])
        sizes.append(a if a == b else 0 if copied else -1)
    if sizes.count(-1) < 2:
        return run.graph.reshaped(names[0], *sizes)
    parts: list[Any] = []  # sizes of the inputs, taken from them when the graph runs
    for size, a, b in zip(sizes, after, others, strict=True):
        found = run.axes.get((a, b)) if size == -1 else None
        if size == -1 and found is None and -1 in parts:
            raise DependsOnSizesError
        parts.append(size if found is None else found)
    shape = [run.graph.integers(part) if isinstance(part, int) else _size_of(run, *part) for part in parts]
    return run.graph.node("Reshape", [names[0], run.graph.node("Concat", shape, axis=0)])  # type: ignore[no-any-return]


def _size_of(run: Tracing, name: str, axis: int) -> str:
    return run.graph.part(run.graph.node("Shape", [name]), 0, axis, axis + 1)


@_writes(operations.transpose)
def _transpose(run: Tracing, names: list[str], arrays: list[Array], y: Array, axes: Any = None) -> str:  # noqa: ARG001
    ndim = arrays[0].ndim
    return run.graph.transposed(names[0], *(range(ndim)[::-1] if axes is None else [axis % ndim for axis in axes]))


@_writes(operations.swapaxes)
def _swapaxes(run: Tracing, names: list[str], arrays: list[Array], y: Array, axis1: int, axis2: int) -> str:  # noqa: ARG001
    order = list(range(arrays[0].ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return run.graph.transposed(names[0], *order)


@_writes(operations.concatenate)
def _concatenate(run: Tracing, names: list[str], arrays: list[Array], y: Array, axis: int = 0) -> str:  # noqa: ARG001
    return run.graph.node("Concat", names, axis=axis)  # type: ignore[no-any-return]


@_writes(operations.stack)
def _stack(run: Tracing, names: list[str], arrays: list[Array], y: Array, axis: int = 0) -> str:  # noqa: ARG001
    at = axis % y.ndim
    return run.graph.node("Concat", [run.graph.unsqueezed(name, at) for name in names], axis=at)  # type: ignore[no-any-return]


@_writes(operations.where)
def _where(run: Tracing, names: list[str], arrays: list[Array], y: Array, condition: Any) -> str:  # noqa: ARG001
    mark = getattr(condition, "mark", None)
    if mark is None:
        run.sizes.append(np.shape(condition))
        mark = run.graph.constant(np.asarray(condition))
    return run.graph.node("Where", [mark, *names])  # type: ignore[no-any-return]


def _reduction(operation: Any, name: str) -> None:
    @_writes(operation)
    def write(
        run: Tracing,
        names: list[str],
        arrays: list[Array],
        y: Array,  # noqa: ARG001
        axis: Any = None,
        keepdims: bool = False,
    ) -> str:
        axes = range(arrays[0].ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        if name == "ReduceSum":
            return run.graph.node(name, [names[0], run.graph.integers(*axes)], keepdims=int(keepdims))  # type: ignore[no-any-return]
        return run.graph.node(name, names, axes=list(axes), keepdims=int(keepdims))  # type: ignore[no-any-return]


_reduction(operations.sum_over, "ReduceSum")
_reduction(operations.mean_over, "ReduceMean")
_reduction(operations.max_over, "ReduceMax")


@_writes(operations.softmax)
def _softmax(run: Tracing, names: list[str], arrays: list[Array], y: Array, axis: int = -1) -> str:  # noqa: ARG001
    return run.graph.node("Softmax", names, axis=axis)  # type: ignore[no-any-return]


@_writes(operations.log_softmax)
def _log_softmax(run: Tracing, names: list[str], arrays: list[Array], y: Array, axis: int = -1) -> str:  # noqa: ARG001
    return run.graph.node("LogSoftmax", names, axis=axis)  # type: ignore[no-any-return]


@_writes(operations.getitem)
def _getitem(run: Tracing, names: list[str], arrays: list[Array], y: Array, index: Any) -> str:  # noqa: ARG001
    """Integers, slices, None and one array of integers become slices, squeezes and a gather."""
    graph, name, x = run.graph, names[0], arrays[0]
    entries = list(index) if isinstance(index, tuple) else [index]
    if any(entry is Ellipsis for entry in entries):
        at = next(k for k, entry in enumerate(entries) if entry is Ellipsis)
        count = x.ndim - sum(entry is not None and entry is not Ellipsis for entry in entries)
        entries[at : at + 1] = [slice(None)] * count
    axis, drops, adds, out = 0, [], [], 0
    for entry in entries:
        if entry is None:
            adds.append(out)
            out += 1
            continue
        if isinstance(entry, slice):
            start, stop, step = entry.start, entry.stop, entry.step or 1
            if not (start is None and stop is None and step == 1):
                low = (0 if step > 0 else 2**62) if start is None else int(start)
                high = (2**62 if step > 0 else -(2**62)) if stop is None else int(stop)
                run.sizes.append((low, high, step))
                parts = [graph.integers(one) for one in (low, high, axis, step)]
                name = graph.node("Slice", [name, *parts])
            out += 1
        elif isinstance(entry, int):
            run.sizes.append((entry,))
            name = graph.part(name, axis, entry, entry + 1 if entry != -1 else 2**62)
            drops.append(axis)
        else:
            raise ValueError("an array as an index of a value is not written to ONNX files: use slices and integers")
        axis += 1
    if drops:
        name = graph.squeezed(name, *drops)
    return graph.unsqueezed(name, *adds) if adds else name


# ---- models ----------------------------------------------------------------------------------------------------------


def write_run(model: Any, x: Any, lengths: bool, states: bool, fixed: bool) -> writing.GraphBytes:
    """The graph of a model with a run of its own."""
    if states:
        raise ValueError("states=True is for layers and chains: in a run of your own the states are inputs and outputs")
    if x is None:
        raise ValueError(
            f"{type(model).__name__} has a run of its own, which is run to be written: give an example of its input, "
            "to_onnx(model, path, x)"
        )
    arrays = [np.asarray(one) for one in (x if isinstance(x, tuple) else (x,))]
    if any(array.dtype.kind not in "fiub" for array in arrays):
        raise TypeError(f"x must be arrays of numbers, got {[str(array.dtype) for array in arrays]}")
    axes: list[list[Any]] = [list(array.shape) for array in arrays]
    if fixed:
        graph, run, outputs = _traced(model, arrays, lengths, None)
    else:
        larger = [_larger(array, axes_of(array)) for array in arrays]
        _, second, others = _traced(model, larger, lengths, None)
        try:
            graph, run, outputs = _traced(model, arrays, lengths, second.reshapes)
            if second.count != run.count or second.sizes != run.sizes:
                raise DependsOnSizesError
        except DependsOnSizesError:
            raise ValueError(
                f"the run of {type(model).__name__} depends on the sizes of its input: what it does with "
                f"{[array.shape for array in arrays]} it does not do with others. fixed_sizes=True writes it for these "
                "sizes alone"
            ) from None
        axes = [
            [("N", "T")[at] if at in axes_of(array) else size for at, size in enumerate(array.shape)]
            for array in arrays
        ]
        outputs = [
            (name, [a if a == b else None for a, b in zip(one, two, strict=True)])
            for (name, one), (_, two) in zip(outputs, others, strict=True)
        ]
    names = _input_names(arrays)
    inputs = [
        writing.value(
            name, np.float32 if array.dtype.kind == "f" else np.bool_ if array.dtype.kind == "b" else np.int64, shape
        )
        for name, array, shape in zip(names, arrays, axes, strict=True)
    ]
    if lengths:
        inputs.append(writing.value("lengths", np.int64, [axes[0][0]]))
    ends = []
    for at, (name, shape) in enumerate(outputs):
        own = "y" if len(outputs) == 1 else f"y{at}"
        graph.nodes.append(writing.node("Identity", [name], [own], name=f"end_{own}"))
        ends.append(writing.value(own, np.float32, shape))
    return writing.graph(graph.nodes, inputs, ends, graph.constants, type(model).__name__)


def axes_of(array: Array) -> tuple[int, ...]:
    """Which axes of an input are batches and steps: the first two, of floats but for the last one."""
    return tuple(range(min(2, array.ndim - (array.dtype.kind == "f"))))


def _larger(array: Array, axes: tuple[int, ...]) -> Array:
    """The same with more sequences, and more steps."""
    for axis, more in zip(axes, MORE, strict=False):
        array = np.concatenate([array, array.take(np.arange(more) % max(array.shape[axis], 1), axis)], axis)
    return array


def _input_names(arrays: list[Array]) -> list[str]:
    return ["x"] if len(arrays) == 1 else [f"x{at}" for at in range(len(arrays))]


def _traced(
    model: Layer, arrays: list[Array], lengths: bool, others: Any
) -> tuple[Emitter, Tracing, list[tuple[str, Any]]]:
    """The graph of one run, the run, and the names and shapes of what came out."""
    graph = Emitter()
    run = Tracing(graph, others)
    given: list[Any] = []
    for name, array in zip(_input_names(arrays), arrays, strict=True):
        graph.new(name)
        for axis, more in zip(axes_of(array), MORE, strict=False):
            run.axes.setdefault((array.shape[axis], array.shape[axis] + more), (name, axis))
        if array.dtype.kind == "f":
            given.append(run.made(real_array(name, array, model.dtype), name))
        else:
            symbols = array.astype(array.dtype if array.dtype.kind == "b" else np.int64).view(_Symbols)
            symbols.mark = name
            given.append(symbols)
    options: dict[str, Any] = {}
    if lengths:
        graph.new("lengths")
        steps = [array.shape[1] for array in arrays if len(axes_of(array)) == 2]
        if not steps:
            raise ValueError("lengths is for models of sequences, and none goes in")
        counts = np.full(len(arrays[0]), min(steps), np.int64).view(_Symbols)
        counts.mark = "lengths"
        options["lengths"] = counts
    for name in ("y", *[f"y{at}" for at in range(16)]):
        graph.new(name)
    found = list(leaves(run.within(model.run, *given, **options)))  # type: ignore[attr-defined]
    ends = []
    for value in found:
        if not isinstance(value, Value) or type(value._slot) is not Mark:
            raise ValueError(
                f"the run of {type(model).__name__} returns something that is not computed of its inputs by layers and "
                "operations on values: it cannot be written"
            )
        ends.append((value._slot.name, list(value._data.shape)))
    return graph, run, ends
