"""Layers of Keras that make one of several inputs: Concatenate, Add, Dot .."""

from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np

from ...files.keras.config import Config
from ...files.keras.weights import LayerWeights
from ...graph.functions import concatenate, matmul, sqrt, where
from .step import Mask, Step, Tensor, value_of


class Merge(Step):
    """Concatenate, Add, Subtract, Multiply, Average, Maximum, Minimum; Merge of Keras 1."""

    def build(self, config: Config, weights: LayerWeights) -> None:  # noqa: ARG002
        self.how = config.kind
        self.axis = config.size("axis", -1, minimum=-8) if config.kind == "Concatenate" else -1
        if config.kind == "Merge":
            mode = config.get("mode", "sum")
            known = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate"}
            if mode not in known:
                raise config.wrong(f"its mode {mode!r:.80} is not read: {', '.join(known)}")
            self.how, self.axis = known[mode], config.size("concat_axis", -1, minimum=-8)

    def run(self, given: list[Tensor], options: dict[str, Any]) -> Tensor | list[Tensor]:
        self.check_options(options)
        values = [value_of(one.value, self.dtype) for one in given]
        if not values:
            raise ValueError(f"{self.config!r} has no inputs")
        masks = [one.mask for one in given]
        if self.how == "Concatenate":
            return Tensor(concatenate(values, axis=self.axis), self._joined(values, masks))
        if self.how in ("Multiply", "Maximum", "Minimum") and self.config.generation == 3:
            return self._of_what_counts(_alike(values), masks)
        return Tensor(self._merged(_alike(values)), _either(masks))

    def _of_what_counts(self, values: list[Any], masks: list[Mask]) -> Tensor:
        """As Keras 3 has it: what is masked in one input is that of the others."""
        joined, total, both = _either(masks), values[0], masks[0]
        if self.how == "Multiply":
            counted = [v if m is None else where(_wide(m, v), v, 1.0) for v, m in zip(values, masks, strict=True)]
            y = functools.reduce(operator.mul, counted)
            return Tensor(y if joined is None else where(_wide(joined, y), y, 0.0), joined)
        for value, mask in zip(values[1:], masks[1:], strict=True):
            x = value if mask is None else where(_wide(mask, value), value, total)
            total = total if both is None else where(_wide(both, total), total, x)
            both = None if mask is None or both is None else both | mask
            total = self._merged([total, x])
        return Tensor(total, joined)

    def _merged(self, values: list[Any]) -> Any:
        if self.how == "Subtract":
            if len(values) != 2:
                raise ValueError(f"{self.config!r} takes two inputs, got {len(values)}")
            return values[0] - values[1]
        if self.how in ("Add", "Average"):
            total = functools.reduce(operator.add, values)
            return total if self.how == "Add" else total / len(values)
        if self.how == "Multiply":
            return functools.reduce(operator.mul, values)
        sign = 1 if self.how == "Maximum" else -1
        return functools.reduce(lambda a, b: where(a.numpy() * sign >= b.numpy() * sign, a, b), values)

    def _joined(self, values: list[Any], masks: list[Mask]) -> Mask:
        if all(one is None for one in masks):
            return None
        axis = self.axis % values[0].ndim
        parts = []
        for value, mask in zip(values, masks, strict=True):
            own = np.ones(value.shape, bool) if mask is None else mask
            parts.append(np.broadcast_to(own.reshape(*own.shape, *[1] * (value.ndim - own.ndim)), value.shape))
        return np.asarray(np.concatenate(parts, axis=axis).any(axis=-1))


def _either(masks: list[Mask]) -> Mask:
    if any(one is None for one in masks):
        return None
    return functools.reduce(np.logical_or, masks)  # type: ignore[arg-type]


def _wide(mask: Any, value: Any) -> Any:
    return np.broadcast_to(mask.reshape(*mask.shape, *[1] * (value.ndim - mask.ndim)), value.shape)


def _alike(values: list[Any]) -> list[Any]:
    """With as many axes each: (N, F) beside (N, T, F) is the same at all steps."""
    most = max(value.ndim for value in values)
    return [
        value if value.ndim == most else value.reshape(value.shape[0], *[1] * (most - value.ndim), *value.shape[1:])
        for value in values
    ]


class Dot(Step):
    """Products along an axis of both."""

    def build(self, config: Config, weights: LayerWeights) -> None:  # noqa: ARG002
        axes = config.get("axes")
        axes = [axes, axes] if type(axes) is int else axes
        if not isinstance(axes, list) or len(axes) != 2 or any(type(n) is not int for n in axes):
            raise config.wrong(f"axes must be one or two whole numbers, got {axes!r:.80}")
        self.axes, self.normalize = tuple(axes), config.flag("normalize")

    def run(self, given: list[Tensor], options: dict[str, Any]) -> Tensor | list[Tensor]:
        self.check_options(options)
        if len(given) != 2:
            raise ValueError(f"{self.config!r} takes two inputs, got {len(given)}")
        sides = []
        for (value, _), axis, other in zip(given, self.axes, (-1, 1), strict=True):
            x = value_of(value, self.dtype)
            axis %= x.ndim
            if axis == 0 or x.ndim not in (2, 3):
                raise ValueError(f"{self.config!r} multiplies along the axis {axis} of {x.shape}: 1 and 2 of at most 3")
            if self.normalize:
                square = (x * x).sum(axis=axis, keepdims=True)
                x = x / sqrt(where(square.numpy() > 1e-12, square, 1e-12))
            if x.ndim == 2:
                x = x[:, None] if other == -1 else x[:, :, None]
            elif (axis == 2) != (other == -1):
                x = x.swapaxes(1, 2)
            sides.append(x)
        y = matmul(*sides)
        first, second = (one.value.ndim for one in given)
        if first == 2:
            y = y[:, 0]
        elif second == 2:
            y = y[..., 0]
        return Tensor(y)
