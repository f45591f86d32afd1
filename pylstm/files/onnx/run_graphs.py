"""A model's run as a graph: it is run on an example, and on others.

Which sizes are open, a run with other sizes shows: a number that has changed with them was computed of them, and one
that was written into the graph as it was would be wrong. So would one that has changed with the numbers of the example.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._arrays import Array, real_array
from ...graph.structure import leaves
from ...graph.values import Value
from . import writing
from .emitting import Emitter
from .notes import DependsOnExampleError, Notes
from .symbols import named
from .tracing import Mark, Tracing

MORE = (1, 2)  # sequences and steps of the second run
_OUTPUTS = 16


def write_run(dtype: Any, model: Any, x: Any, lengths: bool, states: bool, fixed: bool) -> writing.GraphBytes:
    """The graph of a model with a run of its own, or with such a model in it."""
    if states:
        raise ValueError("states=True is for layers and chains: in a run of your own the states are inputs and outputs")
    if x is None:
        raise ValueError(
            f"{type(model).__name__} is run to be written: give an example of its input, to_onnx(model, path, x)"
        )
    arrays = [np.asarray(one) for one in (x if isinstance(x, tuple) else (x,))]
    if any(array.dtype.kind not in "fiub" for array in arrays):
        raise TypeError(f"x must be arrays of numbers, got {[str(array.dtype) for array in arrays]}")
    others = [_other(array) for array in arrays]
    if not fixed:
        others = [_larger(array, _axes(array)) for array in others]
    try:
        _, second, other_ends = _traced(dtype, model, others, lengths, None, 1)
    except (ValueError, TypeError, IndexError) as error:
        _traced(dtype, model, arrays, lengths, None, 0)  # which says what is wrong with the run itself
        raise ValueError(
            f"the run of {type(model).__name__} depends on its input: with {[one.shape for one in arrays]} it succeeds,"
            f" and with {[one.shape for one in others]} not: {error}. "
            + ("" if fixed else "fixed_sizes=True writes it for these sizes alone")
        ) from error
    try:
        graph, notes, ends = _traced(dtype, model, arrays, lengths, second, 0)
        if not notes.agrees(second):
            raise DependsOnExampleError
    except DependsOnExampleError:
        raise _depends(dtype, model, arrays, lengths, fixed) from None
    names = _input_names(arrays)
    axes = [list(array.shape) if fixed else _open(array, arrays) for array in arrays]
    inputs = [writing.value(*one) for one in zip(names, [_dtype(array, dtype) for array in arrays], axes, strict=True)]
    if lengths:
        inputs.append(writing.value("lengths", np.int64, [axes[0][0]]))
    for at, ((name, shape), (_, other)) in enumerate(zip(ends, other_ends, strict=True)):
        own = "y" if len(ends) == 1 else f"y{at}"
        graph.end(name, own, [a if a == b or fixed else None for a, b in zip(shape, other, strict=True)])
    return graph.finished(inputs, type(model).__name__)


def _depends(dtype: Any, model: Any, arrays: list[Array], lengths: bool, fixed: bool) -> ValueError:
    """The error of a run that does not do the same with every example: of its sizes, or of its numbers."""
    name = type(model).__name__
    try:
        _, second, _ = _traced(dtype, model, [_other(array) for array in arrays], lengths, None, 1)
        _, notes, _ = _traced(dtype, model, arrays, lengths, second, 0)
        of_numbers = not notes.agrees(second)
    except DependsOnExampleError:
        of_numbers = True
    if of_numbers:
        return ValueError(
            f"the run of {name} depends on the numbers of its input by other ways than layers and operations on "
            "values: a file would keep what it does with those of the example. Compute with the values themselves, "
            "pylstm.where(mask, a, b) in place of if, and masks by comparing lengths or symbols as they come in"
        )
    assert not fixed
    return ValueError(
        f"the run of {name} depends on the sizes of its input: what it does with {[one.shape for one in arrays]} it "
        "does not do with others. fixed_sizes=True writes it for these sizes alone"
    )


def _axes(array: Array) -> tuple[int, ...]:
    """Which axes of an input are batches and steps: the first two, of floats but for the last one."""
    return tuple(range(min(2, array.ndim - (array.dtype.kind == "f"))))


def _open(array: Array, arrays: list[Array]) -> list[Any]:
    """The sizes of an input, with names for batches and steps."""
    steps = sorted({one.shape[1] for one in arrays if len(_axes(one)) == 2})
    sizes: list[Any] = list(array.shape)
    for axis in _axes(array):
        sizes[axis] = "N" if not axis else "T" if len(steps) < 2 else f"T{steps.index(array.shape[1])}"
    return sizes


def _other(array: Array) -> Array:
    """Other numbers in the same shape: of integers such that are there."""
    if array.dtype.kind == "f":
        return np.asarray(0.75 * array[::-1] + 0.125 if array.ndim else 0.75 * array + 0.125, array.dtype)
    if array.dtype.kind == "b" or not array.size:
        return ~array if array.dtype.kind == "b" else array
    turned = array[::-1] if array.ndim else array
    return np.where(turned == array.max(), array.min(), turned)


def _larger(array: Array, axes: tuple[int, ...]) -> Array:
    """The same with more sequences, and more steps."""
    for axis, more in zip(axes, MORE, strict=False):
        array = np.concatenate([array, array.take(np.arange(more) % max(array.shape[axis], 1), axis)], axis)
    return array


def _input_names(arrays: list[Array]) -> list[str]:
    return ["x"] if len(arrays) == 1 else [f"x{at}" for at in range(len(arrays))]


def _dtype(array: Array, dtype: Any) -> Any:
    return dtype if array.dtype.kind == "f" else np.bool_ if array.dtype.kind == "b" else np.int64


def _traced(
    dtype: Any, model: Any, arrays: list[Array], lengths: bool, others: Notes | None, shorter: int
) -> tuple[Emitter, Notes, list[tuple[str, Any]]]:
    """The graph of one run, its notes, and the names and shapes of what came out. shorter: what lengths are less than
    the steps."""
    graph = Emitter(dtype)
    run = Tracing(graph, others)
    given: list[Any] = []
    for name, array in zip(_input_names(arrays), arrays, strict=True):
        graph.new(name)
        for axis, more in zip(_axes(array), MORE, strict=False):
            run.axes.setdefault((array.shape[axis], array.shape[axis] + more), (name, axis))
        is_float = array.dtype.kind == "f"
        given.append(run.made(real_array(name, array, model.dtype), name) if is_float else named(array, run, name))
    options: dict[str, Any] = {}
    if lengths:
        graph.new("lengths")
        steps = [array.shape[1] for array in arrays if len(_axes(array)) == 2]
        if not steps:
            raise ValueError("lengths is for models of sequences, and none goes in")
        options["lengths"] = named(np.full(len(arrays[0]), max(min(steps) - shorter, 0)), run, "lengths")
    for name in ("y", *[f"y{at}" for at in range(_OUTPUTS)]):
        graph.new(name)
    ends = []
    for value in leaves(run.within(_function(model), *given, **options)):
        if not isinstance(value, Value) or type(value._slot) is not Mark:
            raise ValueError(
                f"the run of {type(model).__name__} returns something that is not computed of its inputs by layers and "
                "operations on values: it cannot be written"
            )
        ends.append((value._slot.name, list(value._data.shape)))
    return graph, run.notes, ends


def _function(model: Any) -> Callable[..., Any]:
    """What is run: of a layer without a run of its own, its call in one."""
    found: Callable[..., Any] = getattr(model, "run", None) or (lambda *given, **options: model(*given, **options))
    return found
