"""Activations: relu, tanh, sigmoid and softmax, as functions and as a layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .. import _arrays, _checks
from .._active import ACTIVE, refuse_in_training
from .._arrays import Array, float_array
from .layer import Backward, Layer, Params, gradient_like
from .registry import built_in


@built_in
class Activation(Layer):
    """relu, tanh, sigmoid, or softmax over the last axis.

    x and y: any shape, float32 or float64; y of `forward` is read-only. The losses take logits: a model trained with
    `fit` ends before its sigmoid or softmax.

    Args:
        function: "relu", "tanh", "sigmoid" or "softmax"; anything else raises ValueError.
    """

    _config_names = ("function",)
    _asks = True
    _outputs_own = True
    function: str

    def __init__(self, function: str) -> None:
        self._configure(function=function)

    def _configure(self, *, function: str) -> None:
        super().__init__()
        self.function = _checks.choice("function", function, ("relu", "tanh", "sigmoid", "softmax"))

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        if (run := ACTIVE.get()) is not None:
            return run.call(self, (x,), {"lengths": lengths})  # type: ignore[no-any-return]
        return activate(self.function, float_array("x", x))

    def forward(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,  # noqa: ARG002
        need_dx: bool = True,
    ) -> tuple[Array, Backward]:
        if ACTIVE.get() is not None:
            refuse_in_training(self, "forward")
        array = float_array("x", x)
        # read again by backward: in a view of its own, of memory that nobody can write to
        y = activate(self.function, array, _arrays.room_like(array))
        output, form = _arrays.sealed(y), (y.shape, y.dtype)

        def backward(dy: ArrayLike) -> tuple[Array | None, Params]:
            if not need_dx:
                return None, {}
            d = gradient_like(dy, form)
            if self.function == "softmax":
                return y * (d - (d * y).sum(axis=-1, keepdims=True)), {}
            if self.function == "relu":
                return np.where(y > 0, d, d.dtype.type(0)), {}
            return d * (1 - y * y if self.function == "tanh" else (1 - y) * y), {}

        return output, backward


def activate(function: str, x: Array, out: Array | None = None) -> Array:
    """The activations by name; into `out`, if that is given."""
    if function == "relu":
        return np.asarray(np.maximum(x, x.dtype.type(0), out=out))
    if function == "tanh":
        return np.asarray(np.tanh(x, out=out))
    if function == "sigmoid":
        if out is None:
            return sigmoid(x)
        e = np.exp(-np.abs(x))  # the same arithmetic
        np.divide(1, 1 + e, out=out)
        np.divide(e, 1 + e, out=out, where=~(x >= 0))
        return out
    if x.ndim == 0:
        raise ValueError("x must have a last axis for softmax, got a single number")
    e = np.exp(x - x.max(axis=-1, keepdims=True)) if x.size else x
    return np.asarray(np.divide(e, e.sum(axis=-1, keepdims=True), out=out))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow and accurate in both tails."""
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1 / (1 + e), e / (1 + e)))
