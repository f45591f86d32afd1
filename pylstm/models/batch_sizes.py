"""How many sequences `predict` computes together, where nobody says: what the memory for their activations allows."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..layers.containers import Container
from ..training.data import Inputs
from .naming import named_layers

if TYPE_CHECKING:
    from .trainable import Trainable

BUDGET = 2**28  # bytes of a batch's activations
_USUAL = 128  # sequences: from there on more of them gain little, and are taken only
_SMALL = 2**25  # .. where all together they stay small,
_MOST = 512  # .. up to these


def batches(model: Trainable, inputs: Inputs, batch_size: int | None) -> list[Any]:
    """All rows in batches, by length: the least padding. batch_size None: by what their activations take."""
    if model._carries_states:
        size = model._batch_size_of(inputs) if batch_size is None else batch_size
        model._check_batches(inputs, size)
        return inputs.batches(size, None)
    if batch_size is not None:
        return inputs.sorted_batches(batch_size)
    count = len(inputs)
    per_step, once = _per_sequence(model, inputs)
    if count == 1 or (count <= _MOST and count * (_longest(inputs) * per_step + once) <= min(_SMALL, BUDGET)):
        return inputs.sorted_batches(count)  # as most calls are
    (order,) = inputs.sorted_batches(count)
    costs = (_steps(inputs) * per_step + once)[order]
    found, start = [], 0
    while start < len(order):
        count = _fitting(costs[start : start + _MOST])
        found.append(order[start : start + count])
        start += count
    return found


def _fitting(costs: Any) -> int:
    """How many of these sequences go together: as many as the longest of them allows, and one in any case."""
    together = np.maximum.accumulate(costs) * np.arange(1, len(costs) + 1)
    small = int(np.searchsorted(together, _SMALL, "right"))
    return max(1, small if small > _USUAL else int(np.searchsorted(together[:_USUAL], BUDGET, "right")))


def _per_sequence(model: Trainable, inputs: Inputs) -> tuple[int, int]:
    """Bytes of the inputs and of the outputs of all layers, as far as layers say how wide they are: of a step, and of a
    sequence besides."""
    item = max(4, model.dtype.itemsize)
    wide, narrow = _widths_of(model)
    for part in inputs.parts:
        timed = _is_timed(part)
        width = math.prod(size or 1 for size in part.form[2 if timed else 1 :])
        wide, narrow = (wide + width, narrow) if timed else (wide, narrow + width)
    return wide * item, narrow * item


def _is_timed(part: Any) -> bool:
    form = part.form
    return part.has_steps or len(form) > 2 or (len(form) == 2 and part.dtype.kind in "iub")


def _longest(inputs: Inputs) -> int:
    longest = 1
    for part in inputs.parts:
        if part.lengths is not None:
            longest = max(longest, int(part.lengths.max()))
        elif _is_timed(part):
            longest = max(longest, part.form[1] or 1)
    return longest


def _steps(inputs: Inputs) -> Any:
    """(N,) steps of each sequence, of several inputs of the longest."""
    steps: Any = np.ones(len(inputs))
    for part in inputs.parts:
        if part.lengths is not None:
            steps = np.maximum(steps, part.lengths)
        elif _is_timed(part):
            steps = np.maximum(steps, part.form[1] or 1)
    return steps


_KNOWN: weakref.WeakKeyDictionary[Any, tuple[Any, tuple[int, int]]] = weakref.WeakKeyDictionary()  # with the layers


def _widths_of(model: Any) -> tuple[int, int]:
    """Asked before every prediction; looking takes as long as a small model."""
    if not isinstance(model, Container):
        return _widths([layer for _, layer in named_layers(model)])
    known = _KNOWN.get(model)
    if known is None or known[0] is not model.layers:
        known = _KNOWN[model] = model.layers, _widths(model.layers)
    return known[1]


def _widths(layers: Iterable[Any]) -> tuple[int, int]:
    """Numbers in the outputs of these layers: of a step, and, from where sequences are pooled, of a sequence."""
    of_step = of_sequence = 0
    timed = True
    for layer in layers:
        width = _width(layer)
        timed = timed and layer.keeps_time is not False
        if timed:
            of_step += width
        else:
            of_sequence += width
    return of_step, of_sequence


def _width(layer: Any) -> int:
    if isinstance(layer, Container):
        return sum(map(_width, layer.layers))
    if layer._holds_layers:
        return sum(_width(inner) for _, inner in named_layers(layer))
    shape = layer.input_shape()
    try:
        last = (layer.output_shape(shape) or (None,))[-1] if shape is not None else None
    except (ValueError, TypeError, NotImplementedError):  # of a layer of somebody's: it says nothing
        return 0
    return (last or 0) * min(2, getattr(layer, "num_layers", 1))  # of stacked ones two are there at a time
