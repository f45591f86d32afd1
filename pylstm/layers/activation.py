"""Activations: relu, tanh, sigmoid and softmax, as functions and as a layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from .. import _activations, _arrays, _checks
from .._active import ACTIVE, refuse_in_training
from .._arrays import Array, float_array
from .layer import Backward, Layer, Params, gradient_like
from .registry import built_in

_FUNCTIONS: dict[str, tuple[Callable[..., Array], Callable[..., Array]]] = {
    "relu": (_activations.relu, _activations.relu_backward),
    "tanh": (_activations.tanh, _activations.tanh_backward),
    "sigmoid": (_activations.sigmoid, _activations.sigmoid_backward),
    "softmax": (_activations.softmax, _activations.softmax_backward),
}


@built_in
class Activation(Layer):
    """relu, tanh, sigmoid, or softmax over the last axis.

    x and y: any shape, float32 or float64; y of `forward` is read-only. The losses take logits: a model trained with
    `fit` ends before its sigmoid or softmax.

    Args:
        function: "relu", "tanh", "sigmoid" or "softmax"; anything else raises ValueError.
    """

    _config_names = ("function",)
    steps_apart = True
    _asks = True
    _outputs_own = True
    function: str

    def __init__(self, function: str) -> None:
        self._configure(function=function)

    def _configure(self, *, function: str) -> None:
        super().__init__()
        self.function = _checks.choice("function", function, tuple(_FUNCTIONS))

    def _gives_probabilities(self) -> bool:
        return self.function in ("sigmoid", "softmax")

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
        output, form, derivative = _arrays.sealed(y), (y.shape, y.dtype), _FUNCTIONS[self.function][1]

        def backward(dy: ArrayLike) -> tuple[Array | None, Params]:
            if not need_dx:
                return None, {}
            return derivative(gradient_like(dy, form), y), {}

        return output, backward


def activate(function: str, x: Array, out: Array | None = None) -> Array:
    """The activations by name; into `out`, if that is given."""
    if function == "softmax" and x.ndim == 0:
        raise ValueError("x must have a last axis for softmax, got a single number")
    return np.asarray(_FUNCTIONS[function][0](x, out=out))
