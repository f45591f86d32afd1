"""The mean loss and metrics over batches, and what a loss is given of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..losses.by_name import LossFunction, wants
from ..losses.loss import Loss
from .data import AllTargets, Batch, Inputs
from .metrics import Metric

if TYPE_CHECKING:
    from ..models.trainable import Trainable


class Running:
    """The mean loss and metrics over batches."""

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self.metrics = metrics
        self.sums = {name: [0.0, 0.0] for name in ("loss", *metrics)}

    def add(self, loss: Loss, y: Any, targets: Any, lengths: Any) -> None:
        self.sums["loss"][0] += loss.total
        self.sums["loss"][1] += loss.weight
        for name, metric in self.metrics.items():
            total, count = metric(y, targets, lengths)
            self.sums[name][0] += total
            self.sums[name][1] += count

    def means(self) -> dict[str, float]:
        return {name: total / count if count else 0.0 for name, (total, count) in self.sums.items()}


def evaluate(
    model: Trainable, x: Inputs, y: AllTargets, size: int, loss: LossFunction, metrics: Mapping[str, Metric]
) -> dict[str, float]:
    """The mean loss and metrics over all of x."""
    running = Running(metrics)
    for rows in x.sorted_batches(size):
        batch = x.batch(rows)
        targets, own = y.batch(rows, batch.steps)
        outputs = model._predicted(batch)
        lens, more = asked_for(model, batch, own, loss)
        running.add(loss(outputs, targets, lens, need_gradient=False, more=more), outputs, targets, lens)
    return running.means()


def asked_for(model: Trainable, batch: Batch, own: Any, loss: LossFunction) -> tuple[Any, dict[str, Any]]:
    """The lengths that a loss counts up to, and what else a function of somebody's own may ask for.

    own: lengths that the targets have of their own. A loss that asks for these is given the outputs' beside them; to
    all others they are the outputs', which have a number for each target.
    """
    wanted = wants(loss)
    lens = own if own is not None and "target_lengths" not in wanted else model.output_lengths(batch.lengths)
    if not wanted:
        return lens, {}
    mask = None
    if "mask" in wanted and isinstance(lens, np.ndarray):
        mask = np.arange(int(lens.max(initial=0))) < lens[:, None]
    return lens, {"target_lengths": own, "input_lengths": batch.lengths, "inputs": batch.given, "mask": mask}
