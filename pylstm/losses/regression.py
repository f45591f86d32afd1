"""The mean squared error."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import Array, float_array
from .loss import Loss, counted, inverse, product, targets_like


def mse(predictions: ArrayLike, targets: ArrayLike, *, lengths: ArrayLike | None = None) -> tuple[float, Array]:
    """The mean of (prediction - target)² over every number that counts, as MSELoss of PyTorch.

    Args:
        predictions: (N, ...) or (N, T, ...).
        targets: of the same shape, or without the last axis of size 1.
        lengths: (N,) integers: steps beyond do not count, and their gradient is zero. For predictions per step.

    Returns:
        The tuple (mean, gradient) of the mean over what counts, 0 if nothing does, and its gradient, shaped like
        predictions.

    Raises TypeError or ValueError, naming the argument.
    """
    loss = mse_loss(predictions, targets, lengths)
    assert loss.gradient is not None
    return loss.mean, loss.gradient


def mse_loss(
    predictions: ArrayLike, targets: ArrayLike, lengths: ArrayLike | None = None, *, need_gradient: bool = True
) -> Loss:
    """`mse` as a `Loss`."""
    x = float_array("predictions", predictions)
    difference = x - targets_like("predictions", x, targets)
    weights = counted(x.shape, lengths, x.dtype)
    difference = product(difference, weights)
    weight = float(weights.sum(dtype=np.float64))
    total = float(np.sum(difference * difference, dtype=np.float64))
    gradient = difference * x.dtype.type(2 * inverse(weight)) if need_gradient else None
    return Loss(total, weight, gradient)
