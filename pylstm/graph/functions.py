"""The operations as functions, of values and plain arrays alike.

Inside of a model's run they give values. Outside they give plain arrays, of float32 where the argument is neither
float32 nor float64, so that a function written for one serves for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._active import ACTIVE
from .._arrays import array_of, float_array
from . import operations
from .marked import Marked, plain_copy
from .rows import concatenated
from .values import FUNCTIONS, Value, plain_like


def _apply(operation: Callable[..., Any], operands: Sequence[Any], names: Sequence[str] | str, **options: Any) -> Any:
    values = [operand for operand in operands if isinstance(operand, Value)]
    if len(values) == len(operands):
        return values[0]._run.apply(operation, tuple(values), options)
    names = [f"{names}[{k}]" for k in range(len(operands))] if isinstance(names, str) else names
    run: Any = values[0]._run if values else ACTIVE.get()
    if run is None:
        arrays = [float_array(name, operand) for name, operand in zip(names, operands, strict=True)]
        return np.asarray(operation((False,) * len(arrays), *arrays, **options)[0])
    if values:
        dtype = np.result_type(*(value.dtype for value in values))
        taken = [v if isinstance(v, Value) else plain_like(v, dtype, run) for v in operands]
    else:
        taken = [run.constant(operand, name) for name, operand in zip(names, operands, strict=True)]
    return run.apply(operation, tuple(taken), options)


def tanh(x: Value | ArrayLike) -> Any:
    """The hyperbolic tangent."""
    return _apply(operations.tanh, [x], ["x"])


def sigmoid(x: Value | ArrayLike) -> Any:
    """1 / (1 + exp(-x))."""
    return _apply(operations.sigmoid, [x], ["x"])


def relu(x: Value | ArrayLike) -> Any:
    """max(x, 0); the derivative at 0 is 0."""
    return _apply(operations.relu, [x], ["x"])


def exp(x: Value | ArrayLike) -> Any:
    """The exponential."""
    return _apply(operations.exp, [x], ["x"])


def log(x: Value | ArrayLike) -> Any:
    """The natural logarithm."""
    return _apply(operations.log, [x], ["x"])


def sqrt(x: Value | ArrayLike) -> Any:
    """The square root."""
    return _apply(operations.sqrt, [x], ["x"])


def softmax(x: Value | ArrayLike, axis: int = -1) -> Any:
    """exp(x) / sum(exp(x)) over an axis."""
    return _apply(operations.softmax, [x], ["x"], axis=axis)


def log_softmax(x: Value | ArrayLike, axis: int = -1) -> Any:
    """log(softmax(x)), without the overflow."""
    return _apply(operations.log_softmax, [x], ["x"], axis=axis)


def matmul(a: Value | ArrayLike, b: Value | ArrayLike) -> Any:
    """a @ b: of the last two axes; the others broadcast."""
    return _apply(operations.matmul, [a, b], ["a", "b"])


def where(condition: ArrayLike, a: Value | ArrayLike, b: Value | ArrayLike) -> Any:
    """a where `condition` is true, else b; all three broadcast.

    Args:
        condition: a plain array of bools; TypeError for anything else.
        a: a value, array or number.
        b: a value, array or number.

    >>> class Attended(pylstm.Model):
    ...     def run(self, scores, mask):
    ...         return pylstm.where(mask, scores, -1e9).softmax()      # over what is no padding
    >>> Attended()(np.zeros((1, 3), np.float32), np.array([[True, True, False]]))
    array([[0.5, 0.5, 0. ]], dtype=float32)
    """
    plain = plain_copy(condition if isinstance(condition, Marked) else array_of("condition", condition))
    if plain.dtype.kind not in "b":
        raise TypeError(f"condition must be a plain array of bools, got dtype {plain.dtype}")
    return _apply(operations.where, [a, b], ["a", "b"], condition=plain)


def concatenate(arrays: Sequence[Value | ArrayLike], axis: int = 0) -> Any:
    """Arrays joined along an axis that they have."""
    several = _several(arrays)
    rows = concatenated(several, axis)
    return _apply(operations.concatenate, several, "arrays", axis=axis) if rows is None else rows


def stack(arrays: Sequence[Value | ArrayLike], axis: int = 0) -> Any:
    """Arrays of one shape joined along a new axis: of T steps (N, F), `stack(steps, axis=1)` is (N, T, F)."""
    return _apply(operations.stack, _several(arrays), "arrays", axis=axis)


def _several(arrays: Any) -> Sequence[Any]:
    if not isinstance(arrays, (list, tuple)) and (
        isinstance(arrays, (Value, np.ndarray)) or not isinstance(arrays, Sequence)
    ):
        raise TypeError(f"arrays must be a list of values or arrays, got {type(arrays).__name__}")
    if not arrays:
        raise ValueError("arrays must hold at least one")
    return arrays


def stop_gradient(x: Value | ArrayLike) -> Any:
    """The same numbers, through which no gradient flows: `x.detach()` of a value, and an array itself."""
    return x.detach() if isinstance(x, Value) else x


FUNCTIONS.update({np.concatenate: concatenate, np.stack: stack, np.where: where})

__all__ = [
    "concatenate", "exp", "log", "log_softmax", "matmul", "relu", "sigmoid", "softmax", "sqrt", "stack",
    "stop_gradient", "tanh", "where",
]  # fmt: skip
