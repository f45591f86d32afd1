"""Batch normalisation as Keras has it (Ioffe & Szegedy 2015)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..._arrays import Array, real_array
from ...layers.layer import Backward, Layer, Shape, gradient_like, sizes

_IN_MASKED_MEANS = 1e-7  # which Keras adds to the number of steps that count
MOVING = ("moving_mean", "moving_variance")


class BatchNorm(Layer):
    """y = (x - mean) / sqrt(variance + epsilon) * weight + bias, feature by feature.

    x and y: (.., size), of the layer's dtype. In training mean and variance are those of the batch, of the steps that
    `mask` (..) says count, and the moving ones follow them: m = momentum m + (1 - momentum) mean. In inference, and
    where the layer is frozen, they are the moving ones, which stay as they are. The moving ones are among `params`, so
    that every file has them, and no optimizer moves them.
    """

    steps_apart = True

    def __init__(
        self, size: int, epsilon: float, momentum: float, scaled: bool, centred: bool, dtype: Any = np.float32
    ) -> None:
        self.epsilon, self.momentum = epsilon, momentum
        self.dtype = np.dtype(dtype)
        names = ("weight",) * scaled + ("bias",) * centred + MOVING
        self._param_shapes = dict.fromkeys(names, (size,))
        self._begin()

    def _begin(self) -> None:
        starts = {"weight": 1, "bias": 0, "moving_mean": 0, "moving_variance": 1}
        self._set_params({name: np.full(shape, starts[name], self.dtype) for name, shape in self._param_shapes.items()})

    def _reseed(self, seed: np.random.SeedSequence) -> None:  # noqa: ARG002
        self._begin()

    def _trained_shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: shape for name, shape in super()._trained_shapes().items() if name not in MOVING}

    def _taken(self, x: ArrayLike, mask: Any) -> Array:
        array = real_array("x", x, self.dtype)
        size = self._param_shapes["moving_mean"][0]
        if array.ndim < 2 or array.shape[-1] != size:
            raise ValueError(f"x must have shape (N, .., {size}), got {array.shape}")
        if mask is not None and mask.shape != array.shape[:-1]:
            raise ValueError(f"the mask {mask.shape} does not fit x, {array.shape}")
        return array

    def _affine(self, normal: Array) -> Array:
        for name, apply in (("weight", np.multiply), ("bias", np.add)):
            if name in self._param_shapes:
                normal = apply(normal, self.params[name], out=normal)
        return normal

    def _inverse(self, variance: Array) -> Array:
        return np.asarray(1 / np.sqrt(variance.astype(np.float64) + self.epsilon), self.dtype)

    def __call__(self, x: ArrayLike, *, lengths: Any = None, mask: Any = None) -> Array:  # noqa: ARG002
        array, params = self._taken(x, mask), self.params
        return self._affine((array - params["moving_mean"]) * self._inverse(params["moving_variance"]))

    def forward(
        self,
        x: ArrayLike,
        *,
        lengths: Any = None,  # noqa: ARG002
        mask: NDArray[np.bool_] | None = None,
        need_dx: bool = True,
    ) -> tuple[Array, Backward]:
        array = self._taken(x, mask)
        if not self.trainable:
            return self._with_moving(array, need_dx)
        rows = array.reshape(-1, array.shape[-1])
        counts = None if mask is None else mask.reshape(-1)
        number = len(rows) if counts is None else counts.sum() + _IN_MASKED_MEANS
        if not number:
            raise ValueError("x is empty, and training takes its mean")
        share = None if counts is None else (counts / number).astype(self.dtype)[:, None]  # of a row in the means
        mean = _mean(rows, counts, number).astype(self.dtype)
        off = rows - mean
        variance = _mean(off * off, counts, number).astype(self.dtype)
        self._move(mean, variance)
        inverse = self._inverse(variance)
        normal = off * inverse
        y = self._affine(normal.copy()).reshape(array.shape)
        weight = self.params["weight"] if "weight" in self._param_shapes else None
        form = y.shape, y.dtype
        part = self.dtype.type(1 / number) if share is None else share

        def backward(dy: ArrayLike) -> tuple[Array | None, dict[str, Any]]:
            d = gradient_like(dy, form).reshape(rows.shape)
            own = {"weight": _sum(d * normal, self.dtype), "bias": _sum(d, self.dtype)}
            own = {name: own[name] for name in self._param_shapes if name in own}
            if not need_dx:
                return None, own
            d = d if weight is None else d * weight
            d_variance = _sum(d * off, self.dtype) * inverse**3 * -0.5
            # of sum(share * off), which is not quite 0 where Keras adds to the number
            d_mean = -inverse * _sum(d, self.dtype) - 2 * d_variance * _sum(off * part, self.dtype)
            dx = d * inverse + (2 * d_variance * off + d_mean) * part
            return np.asarray(dx, self.dtype).reshape(array.shape), own

        return y, backward

    def _with_moving(self, array: Array, need_dx: bool) -> tuple[Array, Backward]:
        y = self(array)
        form, factor = (y.shape, y.dtype), self._inverse(self.params["moving_variance"])
        if "weight" in self._param_shapes:
            factor = factor * self.params["weight"]

        def backward(dy: ArrayLike) -> tuple[Array | None, dict[str, Any]]:
            d = gradient_like(dy, form)
            return (d * factor if need_dx else None), {}

        return y, backward

    def _move(self, mean: Array, variance: Array) -> None:
        begun = self._begin_update(list(MOVING))
        for (array, before), now in zip(begun.values(), (mean, variance), strict=True):
            array[...] = before * self.dtype.type(self.momentum) + now * self.dtype.type(1 - self.momentum)
        self._end_update({name: array for name, (array, _) in begun.items()})

    def _beside(self) -> Any:
        params = self.params
        return {name: params[name] for name in MOVING}

    def _set_beside(self, state: Any) -> None:
        self._set_params({**self.params, **state})

    def _without_dropout(self) -> Layer:
        """One that computes as in inference: looks move nothing."""
        twin: BatchNorm = object.__new__(BatchNorm)
        twin.__dict__.update(self.__dict__)
        twin._trainable = False
        return twin

    def output_shape(self, shape: Shape) -> Shape:
        return sizes(shape)


def _sum(rows: Array, dtype: Any) -> Array:
    return np.asarray(rows.sum(axis=0, dtype=np.float64), dtype)


def _mean(rows: Array, counts: Any, number: Any) -> Array:
    """Over the rows that count, in float64: of many float32 the last ones would be lost."""
    total = rows.sum(axis=0, dtype=np.float64, where=True if counts is None else counts[:, None])
    return np.asarray(total / number)
