"""Losses of numbers: squared and absolute errors, what lies between them, and quantiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._arrays import Array, float_array, real_array
from .loss import Loss, checked_weights, counted, inverse, product, targets_like, weighted


def mse(
    predictions: ArrayLike, targets: ArrayLike, *, lengths: ArrayLike | None = None, sample_weight: Any = None
) -> tuple[float, Array]:
    """The mean of (prediction - target)² over every number that counts, as MSELoss of PyTorch.

    Args:
        predictions: (N, ...) or (N, T, ...).
        targets: of the same shape, or without the last axis of size 1.
        lengths: (N,) integers: steps beyond do not count, and their gradient is zero. For predictions per step.
        sample_weight: (N,), (N, T) or as targets, from 0; the mean is then the weighted one.

    Returns:
        The tuple (mean, gradient) of the mean over what counts, 0 if nothing does, and its gradient, shaped like
        predictions.

    Raises TypeError or ValueError, naming the argument.
    """
    return mse_loss(predictions, targets, lengths, sample_weight=checked_weights(sample_weight)).with_gradient


def mae(
    predictions: ArrayLike, targets: ArrayLike, *, lengths: ArrayLike | None = None, sample_weight: Any = None
) -> tuple[float, Array]:
    """The mean absolute difference of predictions and targets, over every number that counts, as L1Loss of PyTorch.

    It is least at the median, where single far-off targets weigh little; the gradient is 0 where both are equal.
    Arguments, results and errors as of `mse`.
    """
    return mae_loss(predictions, targets, lengths, sample_weight=checked_weights(sample_weight)).with_gradient


def huber(
    predictions: ArrayLike,
    targets: ArrayLike,
    delta: float = 1.0,
    *,
    lengths: ArrayLike | None = None,
    sample_weight: Any = None,
) -> tuple[float, Array]:
    """The mean of d² / 2 where d is below `delta`, else of delta (d - delta / 2), as HuberLoss of PyTorch.

    d is the absolute difference of prediction and target (Huber 1964). Other arguments, results and errors as of `mse`.
    """
    return huber_loss(
        predictions, targets, lengths, delta=delta, sample_weight=checked_weights(sample_weight)
    ).with_gradient


def mse_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    need_gradient: bool = True,
    sample_weight: Any = None,
) -> Loss:
    """`mse` as a `Loss`."""
    x = float_array("predictions", predictions)
    difference = x - targets_like("predictions", x, targets)
    weights = counted(x.shape, lengths, x.dtype)
    if sample_weight is not None:
        return _of_differences(difference, weighted(weights, sample_weight), _squared, need_gradient)
    difference = product(difference, weights)
    weight = float(weights.sum(dtype=np.float64))
    total = float(np.sum(difference * difference, dtype=np.float64))
    gradient = difference * x.dtype.type(2 * inverse(weight)) if need_gradient else None
    return Loss(total, weight, gradient)


def mae_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    need_gradient: bool = True,
    sample_weight: Any = None,
) -> Loss:
    """`mae` as a `Loss`."""
    difference, weights = _difference(predictions, targets, lengths, sample_weight)
    return _of_differences(difference, weights, lambda d: (np.abs(d), np.sign(d)), need_gradient)


def huber_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    delta: float = 1.0,
    need_gradient: bool = True,
    sample_weight: Any = None,
) -> Loss:
    """`huber` as a `Loss`."""
    delta = _checks.positive("delta", delta)
    difference, weights = _difference(predictions, targets, lengths, sample_weight)

    def of(d: Array) -> tuple[Array, Array]:
        inner = np.clip(d, -delta, delta)  # which is the gradient, and d - inner what lies beyond
        return inner * (d - inner / 2), inner

    return _of_differences(difference, weights, of, need_gradient)


def quantile_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    q: float | tuple[float, ...] = 0.5,
    need_gradient: bool = True,
    sample_weight: Any = None,
) -> Loss:
    """max(q d, (q - 1) d) with d = target - prediction; of several q one column of the predictions each."""
    if not isinstance(q, tuple):
        difference, weights = _difference(predictions, targets, lengths, sample_weight)
        levels: Any = q
    else:
        x = float_array("predictions", predictions)
        if x.ndim < 2 or x.shape[-1] != len(q):
            raise ValueError(f"predictions must have a column for each of {len(q)} quantiles, got shape {x.shape}")
        t = real_array("targets", targets, x.dtype)
        t = t[..., None] if t.shape == x.shape[:-1] else t
        if t.shape != (*x.shape[:-1], 1):
            raise ValueError(f"targets must have shape {x.shape[:-1]}, one number for all quantiles, got {t.shape}")
        difference, levels = x - t, np.array(q, x.dtype)
        weights = weighted(counted((*x.shape[:-1], 1), lengths, x.dtype), sample_weight) * np.ones(len(q), x.dtype)

    def of(d: Array) -> tuple[Array, Array]:
        above = d > 0
        slope = np.where(above, 1 - levels, np.where(d < 0, -levels, 0)).astype(d.dtype)
        return slope * d, slope

    return _of_differences(difference, weights, of, need_gradient)


def _difference(predictions: Any, targets: Any, lengths: Any, sample_weight: Any) -> tuple[Array, Array]:
    x = float_array("predictions", predictions)
    difference = x - targets_like("predictions", x, targets)
    return difference, weighted(counted(x.shape, lengths, x.dtype), sample_weight)


def _squared(d: Array) -> tuple[Array, Array]:
    return d * d, 2 * d


def _of_differences(
    difference: Array, weights: Array, of: Callable[[Array], tuple[Array, Array]], need_gradient: bool
) -> Loss:
    """of: from differences to losses and their slopes."""
    difference = np.where(weights != 0, difference, difference.dtype.type(0))  # what does not count may be anything
    losses, slopes = of(difference)
    weight = float(weights.sum(dtype=np.float64))
    gradient = None
    if need_gradient:
        scale = (weights.astype(np.float64) * inverse(weight)).astype(difference.dtype)
        gradient = slopes.astype(difference.dtype, copy=False) * scale
    return Loss(float(np.sum(losses * weights, dtype=np.float64)), weight, gradient)
