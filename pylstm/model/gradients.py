"""Gradients of several layers: their norm, and clipping.

A *tree* of gradients is what layers return: name -> gradient, or name -> such a mapping, as deep as one likes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .. import _checks
from .._arrays import Array
from ._linalg import sum_of_squares
from .rows import RowGradient


def leaves(grads: Any) -> Iterator[Array]:
    """The arrays of a tree; of a `RowGradient` the rows that are there."""
    if isinstance(grads, Mapping):
        for value in grads.values():
            yield from leaves(value)
    elif isinstance(grads, (list, tuple)):
        for value in grads:
            yield from leaves(value)
    elif isinstance(grads, RowGradient):
        yield grads.values
    elif grads is not None:
        yield np.asarray(grads)


def global_norm(grads: Any) -> float:
    """The Euclidean norm of all numbers in a tree of gradients together."""
    return math.sqrt(sum(sum_of_squares(array) for array in leaves(grads)))


def norm_scale(grads: Any, max_norm: float) -> float:
    """What to multiply gradients by so that their global norm is at most `max_norm`, as clip_grad_norm_ of PyTorch."""
    max_norm = _checks.positive("clip_norm", max_norm)
    norm = global_norm(grads)
    return min(1.0, max_norm / (norm + 1e-6)) if math.isfinite(norm) else math.nan


def clip_norm(grads: Any, max_norm: float) -> tuple[Any, float]:
    """A tree of gradients scaled so that its global norm is at most `max_norm` (Pascanu et al. 2013), and its old norm.

    Returns new gradients and leaves the old ones alone. A norm that is not finite raises FloatingPointError.
    """
    scale, norm = norm_scale(grads, max_norm), global_norm(grads)
    if math.isnan(scale):
        raise FloatingPointError(f"the norm of the gradients is {norm}")
    return _map(grads, lambda array: array * array.dtype.type(scale)), norm


def clip_value(grads: Any, limit: float) -> Any:
    """A tree of gradients with every number cut to -limit..limit. Returns new gradients."""
    limit = _checks.positive("clip_value", limit)
    return _map(grads, lambda array: np.clip(array, -limit, limit))


def _map(grads: Any, change: Any) -> Any:
    if isinstance(grads, Mapping):
        return {name: _map(value, change) for name, value in grads.items()}
    if isinstance(grads, (list, tuple)):
        return type(grads)(_map(value, change) for value in grads)
    if isinstance(grads, RowGradient):
        return RowGradient(grads.rows, change(grads.values), grads.shape)
    return None if grads is None else change(np.asarray(grads))
