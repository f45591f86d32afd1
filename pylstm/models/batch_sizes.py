"""How many sequences `predict` computes together, where nobody says: what the memory for their activations allows."""

from __future__ import annotations

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
    if batch_size is not None:
        return inputs.sorted_batches(batch_size)
    (order,) = inputs.sorted_batches(max(1, len(inputs)))
    costs = _costs(model, inputs)[order]
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


def _costs(model: Trainable, inputs: Inputs) -> Any:
    """(N,) bytes of a sequence's inputs and of the outputs of all layers, as far as layers say how wide they are."""
    item = max(4, model.dtype.itemsize)
    steps = np.ones(len(inputs))
    once = 0
    per_step = 0
    for part in inputs.parts:
        form = part.form
        timed = part.has_steps or len(form) > 2 or (len(form) == 2 and part.dtype.kind in "iub")
        width = int(np.prod([size or 1 for size in form[2 if timed else 1 :]], dtype=np.int64)) * max(4, item)
        if not timed:
            once += width
            continue
        per_step += width
        own = np.full(len(inputs), form[1]) if part.lengths is None else part.lengths
        steps = np.maximum(steps, own)
    layers = model.layers if isinstance(model, Container) else [layer for _, layer in named_layers(model)]
    wide, narrow = _widths(layers)
    return steps * (per_step + wide * item) + once + narrow * item


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
