"""What all losses share: a value with its weight and gradient, and what counts.

Predictions have the batch first: one prediction per sequence (N, ...) or one per step (N, T, ...). With `lengths` (N,),
steps past a sequence's own length do not count, and their gradient is zero. If nothing counts, both are 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._arrays import Array, length_array, number_array, real_array

LEAST_WEIGHT = 1e-20  # above 0: products of weights with losses stay within float32, and so do their sums
WEIGHTS = f"finite numbers from 0, above it in {LEAST_WEIGHT:g}..{1 / LEAST_WEIGHT:g}"


class Loss(NamedTuple):
    """total: the weighted sum of the losses that count; weight: of their weights; gradient: of total / weight."""

    total: float
    weight: float
    gradient: Any  # an array, None if it is not needed; of a model of several outputs in their form
    largest: Any = None  # of `LinearOutputs`, where it was asked for: the place of the largest one, as `argmax` has it
    share: float | None = None  # what the mean is over, where it is known and not the weight that figures count by

    @property
    def mean(self) -> float:
        """What training makes small."""
        return self.total / self.weight if self.weight else 0.0

    @property
    def with_gradient(self) -> tuple[float, Any]:
        """As the public functions return it."""
        assert self.gradient is not None
        return self.mean, self.gradient


def one_output(name: str, y: object) -> None:
    """Raises TypeError for several outputs, which the loss of that name does not take."""
    if isinstance(y, (tuple, list, dict)):
        raise TypeError(
            f"{name} is for a model of one output, and this one gives a {_checks.kind(y)} of {len(y)}: give a loss "
            "function of your own"
        )


def counted(shape: tuple[int, ...], lengths: ArrayLike | None, dtype: np.dtype[Any]) -> Array:
    """1 where an element counts, 0 past a sequence's length."""
    if lengths is None:
        return np.ones(shape, dtype)
    if len(shape) < 2:
        raise ValueError("lengths is for predictions per step, (N, T, ...)")
    size, steps = shape[:2]
    inside = np.arange(steps) < length_array(lengths, steps, size)[:, None]
    inside = inside.reshape(size, steps, *(1,) * (len(shape) - 2))
    return np.array(np.broadcast_to(inside, shape), dtype)


def weighted(weights: Array, sample_weight: Any) -> Array:
    """Those weights times `sample_weight` (None: 1), which `spread` has brought to their shape."""
    return weights if sample_weight is None else weights * spread(sample_weight, weights.shape).astype(weights.dtype)


def spread(sample_weight: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Weights per sequence (N,), per step (N, T) or of every number, with axes behind them for those of `shape`."""
    given = number_array("sample_weight", sample_weight)
    array = given
    if array.ndim == len(shape) + 1 and array.shape[-1] == 1:
        array = array[..., 0]
    if not 0 < array.ndim <= len(shape) or array.shape != shape[: array.ndim]:
        raise ValueError(
            "sample_weight must hold a number per sequence, per step or per target, the first axes of "
            f"{shape}, got shape {given.shape}"
        )
    return array.reshape(*array.shape, *(1,) * (len(shape) - array.ndim))


def checked_weights(sample_weight: Any) -> Any:
    """What a caller gave, with numbers that can be weights; None as it is."""
    if sample_weight is None:
        return None
    array = number_array("sample_weight", sample_weight)
    if (wrong := not_weights(array)).any():
        raise ValueError(f"sample_weight must hold {WEIGHTS}, got {array[wrong].flat[0]}")
    return array


def not_weights(array: Array) -> Array:
    """Which of the numbers cannot be weights."""
    given = array.astype(np.float64, copy=False)  # in float16 the largest would be infinite
    found: Array = ~((given == 0) | ((given >= LEAST_WEIGHT) & (given <= 1 / LEAST_WEIGHT)))
    return found


def targets_like(name: str, x: Array, targets: ArrayLike) -> Array:
    """Targets of the shape and dtype of the predictions x, which errors call `name`."""
    t = real_array("targets", targets, x.dtype)
    if t.shape == x.shape[:-1] and x.shape[-1:] == (1,):
        t = t[..., None]
    if t.shape != x.shape:
        raise ValueError(f"targets must have the shape of {name}, {x.shape}, got {t.shape}")
    return t


def product(values: Array, weights: Array) -> Array:
    """values times weights, 0 where the weight is."""
    # where, not only a product: what does not count may be anything, NaN included
    return np.asarray(np.where(weights != 0, values * weights, values.dtype.type(0)))


def inverse(weight: float) -> float:
    """1 / weight, 0 for nothing."""
    return 1.0 / weight if weight else 0.0
