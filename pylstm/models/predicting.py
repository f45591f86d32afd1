"""`predict` and `predict_classes`: outputs batch by batch, put together in the order of x."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .._arrays import Array
from ..graph.structure import leaves, mapped
from ..layers.linear import LinearOutputs
from ..training.data import Inputs
from .batch_sizes import batches
from .predictions import Predictions, by_sequence

if TYPE_CHECKING:
    from .trainable import Trainable


def predicted(
    model: Trainable,
    inputs: Inputs,
    batch_size: int | None,
    finish: Callable[[Array], Array],
    *,
    counted: bool = False,
) -> Any:
    """What `finish` makes of the outputs. counted: of those alone that are within the lengths."""
    if inputs.lengths is not None and not model._says_time():
        raise ValueError(
            f"{type(model).__name__} does not say whether it gives one output per step of its input, and so padding "
            "cannot be told from outputs: set keeps_time = True or False in the class"
        )
    if len(inputs) == 0:
        none = model._no_outputs(inputs)
        return mapped(finish, none) if counted else none
    look = model._may_misread(inputs)
    form: Any = None
    found: list[Predictions] = []  # of each output
    for some in batches(model, inputs, batch_size):
        batch = inputs.batch(some)
        lens = model.output_lengths(batch.lengths)
        if lens is not None and not isinstance(lens, np.ndarray):
            raise ValueError(
                "several inputs have lengths, so that those of the outputs are not known: write "
                f"output_lengths(self, lengths) in {type(model).__name__}, which returns them"
            )
        if look:
            form, look = model._watched(inputs, some, lens is not None)[0], False
        else:
            form = model._predicted(batch, deferred=lens is not None)
        if type(form) is LinearOutputs and form.ndim != 3:
            form = form.compute()
        outputs = list(leaves(form))
        found = found or [Predictions(len(inputs)) for _ in outputs]
        for y, predictions in zip(outputs, found, strict=True):
            if lens is None or y.ndim < 2:
                predictions.add(some, finish(y))
            else:
                predictions.add_steps(some, by_sequence(y, lens, finish, counted))
    joined = iter([one.joined(inputs.is_list, inputs.steps or 0, model.dtype) for one in found])
    return mapped(lambda _: next(joined), form)
