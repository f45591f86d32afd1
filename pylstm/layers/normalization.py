"""LayerNorm: every vector brought to mean 0 and variance 1, then scaled and shifted by what is learned."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import _checks, _products
from .._active import ACTIVE, refuse_in_training
from .._arrays import Array, real_array
from .layer import Backward, Layer, Params, SeedLike, Shape, generator, gradient_like, sizes
from .registry import built_in


@built_in
class LayerNorm(Layer):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias over the last axis (Ba et al. 2016), as torch.nn.LayerNorm.

    x and y: (..., size), of the layer's dtype. weight (size,) starts at 1, bias (size,) at 0.

    Args:
        size: numbers of a vector.
        eps: what the variance is increased by, above 0.
        dtype: float32 or float64.
        seed: taken as all layers take it; nothing is drawn.

    Raises TypeError or ValueError for a wrong argument, naming it.
    """

    _config_names = ("size", "eps", "dtype")
    _fixed = ("size", "dtype")
    steps_apart = True
    _asks = True
    _outputs_own = True
    size: int
    eps: float

    def __init__(self, size: int, eps: float = 1e-5, *, dtype: DTypeLike = np.float32, seed: SeedLike = None) -> None:
        self._configure(size=size, eps=eps, dtype=dtype)
        _checks.parameter_bytes(self, self._param_shapes, self.dtype)
        generator(seed)  # which says what is wrong with it
        self._begin()

    def _configure(self, *, size: int, eps: float, dtype: DTypeLike) -> None:
        self.size = _checks.size("size", size)
        self.eps = _checks.positive("eps", eps)
        self.dtype = _checks.real_dtype("dtype", dtype)
        self._param_shapes = {"weight": (self.size,), "bias": (self.size,)}

    def _begin(self) -> None:
        self._set_params({"weight": np.ones(self.size, self.dtype), "bias": np.zeros(self.size, self.dtype)})

    def _reseed(self, seed: np.random.SeedSequence) -> None:  # noqa: ARG002
        self._begin()

    def _normalized(self, x: ArrayLike) -> tuple[Array, Array]:
        """x as it is before scale and shift, and 1 / sqrt(variance + eps)."""
        array = real_array("x", x, self.dtype)
        if array.ndim == 0 or array.shape[-1] != self.size:
            raise ValueError(f"x must have shape (..., {self.size}), got {array.shape}")
        array = np.ascontiguousarray(array).reshape(array.shape)  # so that sums go along the axis, whatever its strides
        with np.errstate(invalid="ignore", over="ignore"):  # infinity in a vector makes NaN of it, as torch has it
            centred = array - _mean(array)
            scale = 1 / np.sqrt(_mean(centred * centred) + self.dtype.type(self.eps))
            centred *= scale
        return centred, scale

    def _scaled(self, normalized: Array) -> Array:
        params = self._params._arrays
        return np.asarray(normalized * params["weight"] + params["bias"])

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        if (run := ACTIVE.get()) is not None:
            return run.call(self, (x,), {"lengths": lengths})  # type: ignore[no-any-return]
        return self._scaled(self._normalized(x)[0])

    def forward(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,  # noqa: ARG002
        need_dx: bool = True,
    ) -> tuple[Array, Backward]:
        if ACTIVE.get() is not None:
            refuse_in_training(self, "forward")
        normalized, scale = self._normalized(x)
        y, weight, trained = self._scaled(normalized), self._params._arrays["weight"], self._trainable
        form = y.shape, y.dtype

        def backward(dy: ArrayLike) -> tuple[Array | None, Params]:
            d = gradient_like(dy, form)
            product = d * normalized
            d_params: Params = {"weight": _sum_of_rows(product), "bias": _sum_of_rows(d)} if trained else {}
            if not need_dx:
                return None, d_params
            d_own = np.ascontiguousarray(d * weight)
            product *= weight
            return scale * (d_own - _mean(d_own) - normalized * _mean(product)), d_params

        return y, backward

    def _runs_alike(self) -> bool:
        return True

    def output_shape(self, shape: Shape) -> Shape:
        shape = sizes(shape)
        if shape and shape[-1] not in (None, self.size):
            raise ValueError(f"{self!r} cannot follow an output of {shape[-1]} features")
        return shape

    def input_shape(self) -> Shape:
        return (None, self.size)


def _mean(x: Array) -> Any:
    return np.add.reduce(x, axis=-1, keepdims=True) / x.dtype.type(x.shape[-1])


def _sum_of_rows(x: Array) -> Array:
    """(..., size) -> (size,), in chains that neither threads nor the number of axes change."""
    rows = x.reshape(-1, x.shape[-1])
    return _products.sum_of_rows(rows)
