"""Whether there is anything to learn from: something in the targets that counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..losses.loss import counted, weighted
from ..losses.loss_function import LossFunction
from ..losses.weighted import apart
from .data import AllTargets, Inputs
from .evaluation import asked_for
from .scores import label_weights

if TYPE_CHECKING:
    from ..models.trainable import Trainable


def check_anything_counts(model: Trainable, loss: LossFunction, x: Inputs, y: AllTargets, size: int) -> None:
    """Raises ValueError if nothing in y counts: every label is one that does not, lies past its sequence's end or
    weighs 0. It looks no further than the first batch in which something does."""
    ignored = loss.label_ignored
    if (ignored is None and loss.own is not None) or len(y.all_parts) > 1:  # what counts is the loss's business
        return
    labels = False
    for rows in x.sorted_batches(size):
        batch = x.batch(rows)
        given, own = y.batch(rows, batch.steps)
        targets, weights = apart(given)
        if loss.without_places:  # one loss for each, of an empty target, too
            targets = np.ones(len(targets))
        lengths: Any = asked_for(model, batch, own, loss)[0] if np.ndim(targets) > 1 else None
        if ignored is None:
            counts = weighted(counted(np.shape(targets), lengths, np.dtype(np.float64)), weights)
        else:
            counts = label_weights(targets, lengths, ignored, weights)
            labels = labels or not targets.size or bool((targets != ignored).any())
        if counts.any():
            return
    name = y.all_parts[0].name
    if ignored is not None and not labels:
        raise ValueError(f"{name} holds nothing but {ignored}, the label that does not count: nothing to learn from")
    raise ValueError(
        f"nothing in {name} counts, so that there is nothing to learn from: all of it lies past the lengths, or is "
        "ignored, or has a sample_weight of 0"
    )
