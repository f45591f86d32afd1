"""Which steps of an input an output hangs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._arrays import Array
from ..layers.containers import output_of

if TYPE_CHECKING:
    from ..models.sequential import Sequential


def step_saliency(
    model: Sequential, x: ArrayLike, target: int | None, lengths: ArrayLike | None, signed: bool
) -> Array:
    """See `Sequential.saliency`."""
    if model.keeps_time:
        raise ValueError("saliency is for a model with one output per sequence")
    array = np.asarray(model._floats(x))
    one = array.ndim == len(model.shapes()[0]) - 1
    if one:
        array = array[None]
    if target is not None:
        outputs = model.shapes()[-1][-1]
        target = _checks.integer("target", target, minimum=-(outputs or 0), maximum=(outputs or 2**63) - 1)
    parts = [part._without_dropout() for part in model._in_line()]
    backs = []
    y: Any = array
    lens = lengths
    for part in parts:
        (y, *_), back = part.vjp(y, lengths=lens)
        backs.append(back)
        lens = part.output_lengths(lens)
    if target is not None and target >= y.shape[-1]:
        raise ValueError(f"target must be one of {y.shape[-1]} outputs, got {target}")
    d = np.zeros_like(y)
    chosen = y.argmax(axis=-1) if target is None else np.full(len(y), target)
    d[np.arange(len(y)), chosen] = 1
    stop = 1 if array.dtype.kind in "iu" else 0
    for back in reversed(backs[stop:]):
        (d, *_), _ = back(d)
    if signed:
        score: Array = np.sum(d * (output_of(parts[0], array, None) if stop else array), axis=-1)
    else:
        score = np.sqrt(np.sum(d * d, axis=-1))
    return score[0] if one else score
