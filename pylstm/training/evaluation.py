"""The mean loss and metrics over batches, and what a loss is given of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..losses.by_name import LossFunction, sampling, takes_linear, wants
from ..losses.loss import Loss
from .data import AllTargets, Batch, Inputs
from .metrics import Metric

if TYPE_CHECKING:
    from ..models.trainable import Trainable


class Running:
    """The mean loss and metrics over batches."""

    def __init__(self, loss: LossFunction, metrics: Mapping[str, Metric]) -> None:
        """Attributes: deferred: the outputs of a `Linear` at the end need not be computed, for the loss and the metrics
        do without; need_largest: but for the place of the largest."""
        needs = {metric.needs for metric in metrics.values()}
        self.metrics, self.need_largest = metrics, "largest" in needs
        self.deferred = takes_linear(loss) and "outputs" not in needs
        self.sums = {name: [0.0, 0.0] for name in ("loss", *metrics)}

    def add(self, loss: Loss, y: Any, targets: Any, lengths: Any) -> None:
        self.sums["loss"][0] += loss.total
        self.sums["loss"][1] += loss.weight
        for name, metric in self.metrics.items():
            total, count = metric.function(y, targets, lengths, loss)
            self.sums[name][0] += total
            self.sums[name][1] += count

    def means(self) -> dict[str, float]:
        means = {name: total / count if count else 0.0 for name, (total, count) in self.sums.items()}
        return means | {name: metric.of_mean(means[name]) for name, metric in self.metrics.items()}


def evaluate(
    model: Trainable, x: Inputs, y: AllTargets, size: int, loss: LossFunction, metrics: Mapping[str, Metric]
) -> dict[str, float]:
    """The mean loss and metrics over all of x."""
    running = Running(loss, metrics)
    for rows in x.sorted_batches(size):
        batch = x.batch(rows)
        targets, own = y.batch(rows, batch.steps)
        outputs = model._predicted(batch, running.deferred)
        lens, more = asked_for(model, batch, own, loss)
        found = loss(outputs, targets, lens, need_gradient=False, need_largest=running.need_largest, more=more)
        running.add(found, outputs, targets, lens)
    return running.means()


def hand_labels(model: Trainable, x: Inputs, y: AllTargets, size: int, loss: LossFunction) -> None:
    """Show a loss all targets before training, if it counts labels."""
    found = sampling(loss)
    if found is None or not found.counts_labels:
        return
    for rows in x.sorted_batches(size):
        batch = x.batch(rows)
        targets, own = y.batch(rows, batch.steps)
        found.count(targets, asked_for(model, batch, own, loss)[0])


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
