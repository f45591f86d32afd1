"""relu, tanh, sigmoid and softmax, each with its derivative beside it, for whoever computes in NumPy.

A derivative takes the gradient d to the function's value y, and y itself, which is what is kept. `out` is where the
value goes, if that is given: of the shape and dtype of x. Without it the value is what NumPy gives: of an array without
axes, a scalar or such an array.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def relu(x: Array, out: Array | None = None) -> Any:
    return np.maximum(x, x.dtype.type(0), out=out)


def relu_backward(d: Array, y: Array) -> Any:
    return np.where(y > 0, d, d.dtype.type(0))


def tanh(x: Array, out: Array | None = None) -> Any:
    return np.tanh(x, out=out)


def tanh_backward(d: Array, y: Array) -> Any:
    return d * (1 - y * y)


def sigmoid(x: Array, out: Array | None = None) -> Any:
    """1 / (1 + exp(-x)), without overflow and accurate in both tails."""
    e = np.exp(-np.abs(x))
    if out is None:
        return np.where(x >= 0, 1 / (1 + e), e / (1 + e))
    np.divide(1, 1 + e, out=out)
    np.divide(e, 1 + e, out=out, where=~(x >= 0))
    return out


def sigmoid_backward(d: Array, y: Array) -> Any:
    return d * (y * (1 - y))


def softmax(x: Array, axis: int = -1, out: Array | None = None) -> Any:
    """exp(x) over its sum along an axis, without overflow."""
    e = np.exp(x - x.max(axis=axis, keepdims=True)) if x.size else x
    return np.divide(e, e.sum(axis=axis, keepdims=True), out=out)


def softmax_backward(d: Array, y: Array, axis: int = -1) -> Any:
    return y * (d - (d * y).sum(axis=axis, keepdims=True))
