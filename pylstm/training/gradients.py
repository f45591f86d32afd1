"""Gradients of several layers: their norm, and clipping.

A *tree* of gradients is what layers return: name -> gradient, or name -> such a mapping, as deep as one likes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .. import _checks, _core
from .._arrays import Array, number_array
from ..layers.row_gradient import RowGradient


def leaves(grads: Any) -> Iterator[Array]:
    """The arrays of a tree; of a `RowGradient` the rows that are there. Raises TypeError for what is no real array."""
    if isinstance(grads, Mapping):
        for value in grads.values():
            yield from leaves(value)
    elif isinstance(grads, (list, tuple)):
        for value in grads:
            yield from leaves(value)
    elif isinstance(grads, RowGradient):
        yield number_array("grads", grads.values)
    elif grads is not None:
        yield number_array("grads", grads)


_CORE = (np.dtype(np.float32), np.dtype(np.float64))  # what the core adds up


def sum_of_squares(a: Array) -> float:
    """Of all elements, float32 or float64, in doubles; the bits depend on no number of threads."""
    dtype = np.float32 if a.dtype.char == "f" else np.float64
    return _core.sum_of_squares(np.require(a, dtype, ["C", "A"]), None)


def all_finite(array: Array) -> bool:
    """Whether there is no NaN and no infinity: one sum, and only where that is not finite a look at every number.

    Within `np.errstate(over="ignore", invalid="ignore")`: the sum may overflow.
    """
    if array.dtype.kind != "f":
        return True
    if array.dtype in _CORE and array.flags.c_contiguous and array.flags.aligned:
        total: float = _core.sum_of_squares(array, None)
    else:
        total = np.add.reduce(array, axis=None)
    return math.isfinite(total) or bool(np.isfinite(array).all())


def global_norm(grads: Any) -> float:
    """The Euclidean norm of all numbers in a tree of gradients together.

    It neither overflows nor vanishes before its value does. NaN or infinity where a gradient is so.

    Args:
        grads: a tree of gradients, as layers return them: name -> gradient, or name -> such a mapping, or lists of
            them, as deep as one likes.

    Raises TypeError for what is not an array of real numbers.
    """
    largest, root = _norm(grads)
    return largest * root


_LEAST = 1e-30  # of a sum of squares: below, single squares may have vanished


def _norm(grads: Any) -> tuple[float, float]:
    """Two numbers whose product is the norm; it may be too large for a float."""
    arrays = list(leaves(grads))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        # squares of integers and float16 overflow, those of other floats seldom
        total = sum(sum_of_squares(a if a.dtype.char in "fd" else a.astype(np.float64)) for a in arrays)
        if _LEAST < total < math.inf:
            return 1.0, math.sqrt(total)
        wide = [a.astype(np.float64) for a in arrays if a.size]
        largest = float(np.max([np.max(np.abs(a)) for a in wide], initial=0.0))
        if largest == 0.0 or not math.isfinite(largest):
            return largest, 1.0
        return largest, math.sqrt(sum(sum_of_squares(a / largest) for a in wide))


def norm_scale(grads: Any, max_norm: float) -> float:
    """What to multiply gradients by so that their global norm is at most `max_norm`, as clip_grad_norm_ of PyTorch.

    NaN where the gradients are not finite.
    """
    return _scale(*_norm(grads), _checks.positive("clip_norm", max_norm))


def _scale(largest: float, root: float, max_norm: float) -> float:
    if not math.isfinite(largest):
        return math.nan
    norm = largest * root
    return min(1.0, max_norm / (norm + 1e-6)) if math.isfinite(norm) else max_norm / largest / root


def clip_norm(grads: Any, max_norm: float) -> tuple[Any, float]:
    """Scale gradients so that their global norm is at most `max_norm` (Pascanu et al. 2013).

    Args:
        grads: a tree of gradients, as layers return them: name -> gradient, or name -> such a mapping, or lists of
            them, as deep as one likes.
        max_norm: above 0.

    Returns:
        The tuple (gradients, norm) of new gradients, float64 ones for integers, and the norm before. The old gradients
        are left alone.

    Raises:
        FloatingPointError: gradients that are not finite.
        TypeError: what is not an array of real numbers.
        ValueError: max_norm.
    """
    max_norm = _checks.positive("max_norm", max_norm)
    largest, root = _norm(grads)
    scale, norm = _scale(largest, root, max_norm), largest * root
    if math.isnan(scale):
        raise FloatingPointError(f"the norm of the gradients is {norm}")

    def scaled(array: Array) -> Array:
        if array.dtype.char in "fd":
            return np.asarray(array * array.dtype.type(scale))
        wide = array.astype(np.float64) * scale  # a scale may be too small a number for float16
        return wide.astype(array.dtype) if array.dtype.kind == "f" else wide

    return _map(grads, scaled), norm


def clip_value(grads: Any, limit: float) -> Any:
    """Cut every number of gradients to -limit..limit.

    Args:
        grads: a tree of gradients, as layers return them: name -> gradient, or name -> such a mapping, or lists of
            them, as deep as one likes.
        limit: above 0.

    Returns:
        New gradients, float64 ones for integers. The old ones are left alone.

    Raises TypeError or ValueError, naming the argument.
    """
    limit = _checks.positive("limit", limit)
    return _map(grads, lambda array: np.clip(array if array.dtype.kind == "f" else array.astype(float), -limit, limit))


def _map(grads: Any, change: Any) -> Any:
    if isinstance(grads, Mapping):
        return {name: _map(value, change) for name, value in grads.items()}
    if isinstance(grads, (list, tuple)):
        values = [_map(value, change) for value in grads]
        return type(grads)(*values) if hasattr(grads, "_fields") else type(grads)(values)
    if isinstance(grads, RowGradient):
        return RowGradient(grads.rows, change(number_array("grads", grads.values)), grads.shape)
    return None if grads is None else change(number_array("grads", grads))
