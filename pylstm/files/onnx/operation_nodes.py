"""Operations on values as nodes: a function an operation, (run, names, arrays, y, options) -> the name of y."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..._arrays import Array
from ...graph import operations
from .index_nodes import indexed
from .notes import DependsOnExampleError

OPERATIONS: dict[Any, Callable[..., str]] = {}


def _writes(operation: Any) -> Callable[[Callable[..., str]], Callable[..., str]]:
    def add(function: Callable[..., str]) -> Callable[..., str]:
        OPERATIONS[operation] = function
        return function

    return add


def _simple(operation: Any, name: str) -> None:
    @_writes(operation)
    def write(run: Any, names: list[str], arrays: list[Array], y: Array) -> str:  # noqa: ARG001
        return run.graph.node(name, names)  # type: ignore[no-any-return]


for _operation, _name in (
    (operations.add, "Add"), (operations.subtract, "Sub"), (operations.multiply, "Mul"), (operations.divide, "Div"),
    (operations.negative, "Neg"), (operations.matmul, "MatMul"), (operations.tanh, "Tanh"),
    (operations.sigmoid, "Sigmoid"), (operations.relu, "Relu"), (operations.absolute, "Abs"), (operations.exp, "Exp"),
    (operations.log, "Log"), (operations.sqrt, "Sqrt"),
):  # fmt: skip
    _simple(_operation, _name)


@_writes(operations.power)
def _power(run: Any, names: list[str], arrays: list[Array], y: Array, exponent: float) -> str:  # noqa: ARG001
    run.notes.sizes.append((exponent,))
    return run.graph.node("Pow", [names[0], run.graph.number(exponent)])  # type: ignore[no-any-return]


@_writes(operations.reshape)
def _reshape(run: Any, names: list[str], arrays: list[Array], y: Array, shape: Any) -> str:
    before, after = arrays[0].shape, y.shape
    run.notes.reshapes.append((before, after))
    if run.others is None:
        return run.graph.reshaped(names[0], *after)  # type: ignore[no-any-return]
    if len(run.notes.reshapes) > len(run.others.reshapes):
        raise DependsOnExampleError
    other, others = run.others.reshapes[len(run.notes.reshapes) - 1]
    if len(others) != len(after):
        raise DependsOnExampleError
    sizes = []
    for at, (a, b) in enumerate(zip(after, others, strict=True)):
        copied = at < min(len(before), len(other)) and (a, b) == (before[at], other[at])
        sizes.append(a if a == b else 0 if copied else -1)
    if sizes.count(-1) < 2:
        return run.graph.reshaped(names[0], *sizes)  # type: ignore[no-any-return]
    parts: list[Any] = []  # sizes of the inputs, taken from them when the graph runs
    for size, a, b in zip(sizes, after, others, strict=True):
        found = run.axes.get((a, b)) if size == -1 else None
        if size == -1 and found is None and -1 in parts:
            raise DependsOnExampleError
        parts.append(size if found is None else found)
    shape = [run.graph.integers(part) if isinstance(part, int) else _size_of(run, *part) for part in parts]
    return run.graph.node("Reshape", [names[0], run.graph.node("Concat", shape, axis=0)])  # type: ignore[no-any-return]


def _size_of(run: Any, name: str, axis: int) -> str:
    return run.graph.part(run.graph.node("Shape", [name]), 0, axis, axis + 1)  # type: ignore[no-any-return]


@_writes(operations.transpose)
def _transpose(run: Any, names: list[str], arrays: list[Array], y: Array, axes: Any = None) -> str:  # noqa: ARG001
    ndim = arrays[0].ndim
    return run.graph.transposed(names[0], *(range(ndim)[::-1] if axes is None else [axis % ndim for axis in axes]))  # type: ignore[no-any-return]


@_writes(operations.swapaxes)
def _swapaxes(run: Any, names: list[str], arrays: list[Array], y: Array, axis1: int, axis2: int) -> str:  # noqa: ARG001
    order = list(range(arrays[0].ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return run.graph.transposed(names[0], *order)  # type: ignore[no-any-return]


@_writes(operations.concatenate)
def _concatenate(run: Any, names: list[str], arrays: list[Array], y: Array, axis: int = 0) -> str:  # noqa: ARG001
    return run.graph.node("Concat", names, axis=axis)  # type: ignore[no-any-return]


@_writes(operations.stack)
def _stack(run: Any, names: list[str], arrays: list[Array], y: Array, axis: int = 0) -> str:  # noqa: ARG001
    at = axis % y.ndim
    return run.graph.node("Concat", [run.graph.unsqueezed(name, at) for name in names], axis=at)  # type: ignore[no-any-return]


@_writes(operations.where)
def _where(run: Any, names: list[str], arrays: list[Array], y: Array, condition: Any) -> str:  # noqa: ARG001
    return run.graph.node("Where", [run.named_symbols(condition), *names])  # type: ignore[no-any-return]


def _reduction(operation: Any, name: str) -> None:
    @_writes(operation)
    def write(
        run: Any,
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
def _softmax(run: Any, names: list[str], arrays: list[Array], y: Array, axis: int = -1) -> str:  # noqa: ARG001
    return run.graph.node("Softmax", names, axis=axis)  # type: ignore[no-any-return]


@_writes(operations.log_softmax)
def _log_softmax(run: Any, names: list[str], arrays: list[Array], y: Array, axis: int = -1) -> str:  # noqa: ARG001
    return run.graph.node("LogSoftmax", names, axis=axis)  # type: ignore[no-any-return]


@_writes(operations.getitem)
def _getitem(run: Any, names: list[str], arrays: list[Array], y: Array, index: Any) -> str:  # noqa: ARG001
    return indexed(run, names[0], arrays[0], index)
