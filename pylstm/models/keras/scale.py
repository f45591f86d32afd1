"""A factor and a summand for every feature, which Keras has in BatchNormalization and in its attention."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..._arrays import Array, real_array
from ...layers.layer import Backward, Layer, Shape, gradient_like, sizes


class Scale(Layer):
    """y = x * weight + bias on the last axis.

    x and y: (.., size), of the layer's dtype; weight (size,) starts at 1, bias (size,) at 0.
    """

    steps_apart = True

    def __init__(self, size: int, bias: bool = True, dtype: Any = np.float32) -> None:
        self.dtype = np.dtype(dtype)
        self._param_shapes = {"weight": (size,), **({"bias": (size,)} if bias else {})}
        self._begin()

    def _begin(self) -> None:
        self._set_params({
            name: np.full(shape, name == "weight", self.dtype) for name, shape in self._param_shapes.items()
        })  # fmt: skip

    def _reseed(self, seed: np.random.SeedSequence) -> None:  # noqa: ARG002
        self._begin()

    def _taken(self, x: ArrayLike) -> Array:
        array = real_array("x", x, self.dtype)
        size = self._param_shapes["weight"][0]
        if array.ndim == 0 or array.shape[-1] != size:
            raise ValueError(f"x must have shape (.., {size}), got {array.shape}")
        return array

    def _scaled(self, x: Array) -> Array:
        y = x * self.params["weight"]
        if "bias" in self._param_shapes:
            y += self.params["bias"]
        return y

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:  # noqa: ARG002
        return self._scaled(self._taken(x))

    def forward(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,  # noqa: ARG002
        need_dx: bool = True,
    ) -> tuple[Array, Backward]:
        array, weight = self._taken(x), self.params["weight"]
        y = self._scaled(array)
        form = y.shape, y.dtype

        def backward(dy: ArrayLike) -> tuple[Array | None, dict[str, Any]]:
            d = gradient_like(dy, form)
            rows = tuple(range(d.ndim - 1))
            grads = {"weight": (d * array).sum(axis=rows), "bias": d.sum(axis=rows)}
            own = {name: grads[name] for name in self._trained_shapes()}
            return (d * weight if need_dx else None), own

        return y, backward

    def output_shape(self, shape: Shape) -> Shape:
        return sizes(shape)
