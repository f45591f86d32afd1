"""The mean loss and metrics over batches, and what a loss is given of a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..losses.by_name import fitted, sampling, shape_of
from ..losses.loss import Loss
from ..losses.loss_function import LossFunction
from ..losses.targets import Form
from ..losses.weighted import apart
from .batches import BatchInputs
from .carrying import Carried
from .data import AllTargets, Batch, Inputs
from .finite import check_missing
from .metrics import Metric, check_outputs

if TYPE_CHECKING:
    from ..models.trainable import Trainable


class Running:
    """The mean loss and metrics over batches."""

    def __init__(self, loss: LossFunction, metrics: Mapping[str, Metric]) -> None:
        """Attributes: deferred: the outputs of a `Linear` at the end need not be computed, for the loss and the metrics
        do without; need_largest: but for the place of the largest."""
        needs = {metric.needs for metric in metrics.values()}
        self.metrics, self.need_largest = metrics, "largest" in needs
        self.deferred = loss.takes_linear and "outputs" not in needs
        self.sums = {name: [0.0, 0.0] for name in ("loss", *metrics)}
        self.scores = {name: metric.collect() for name, metric in metrics.items() if metric.collect is not None}

    def add(self, loss: Loss, y: Any, targets: Any, lengths: Any) -> None:
        self.sums["loss"][0] += loss.total
        self.sums["loss"][1] += loss.weight
        targets, weights = apart(targets)
        check_outputs(self.metrics, y)
        for name, metric in self.metrics.items():
            if name in self.scores:
                self.scores[name].add(y, targets, lengths, loss, weights)
                continue
            total, count = metric.function(y, targets, lengths, loss, weights)
            self.sums[name][0] += total
            self.sums[name][1] += count

    def means(self) -> dict[str, float]:
        means = {name: total / count if count else 0.0 for name, (total, count) in self.sums.items()}
        means |= {name: metric.of_mean(means[name]) for name, metric in self.metrics.items()}
        return means | {name: score.result() for name, score in self.scores.items()}


def evaluate(
    model: Trainable,
    x: Inputs,
    y: AllTargets,
    size: int,
    loss: LossFunction,
    metrics: Mapping[str, Metric],
    *,
    looked: bool = True,
    stateful: bool = False,
) -> dict[str, float]:
    """The mean loss and metrics over all of x. stateful: states go on from batch to batch.

    looked: whether the data have been looked at. If not, raises ValueError where the first run shows that x gives no
    batch, and for NaN in y that makes the loss NaN, or that it refuses.
    """
    running, carried = Running(loss, metrics), Carried(stateful)
    with x.naming():
        look = not looked and model._may_misread(x)
        model._check_batches(x, size)
        for rows in x.batches(size, None) if stateful or model._carries_states else x.sorted_batches(size):
            batch = x.batch(rows)
            targets, own = y.batch(rows, batch.steps)
            if look:
                outputs = model._watched(x, rows, running.deferred)[0]
            if stateful:
                outputs, state = model._predicted_on(batch, carried.before(len(rows)), running.deferred)
                carried.after(state)
            elif not look:
                outputs = model._predicted(batch, running.deferred)
            look = False
            lens, more = asked_for(model, batch, own, loss)
            try:
                targets = fitted(loss, outputs, targets, lens, own)
                found = loss(outputs, targets, lens, need_gradient=False, need_largest=running.need_largest, more=more)
            except (TypeError, ValueError):
                if not looked and loss.own is None:
                    _check_missing(y)
                raise
            if not looked and math.isnan(found.total):
                _check_missing(y)
            running.add(found, outputs, targets, lens)
    return running.means()


def _check_missing(y: AllTargets) -> None:
    for part in y.all_parts:
        check_missing(part)


def output_form(model: Trainable, x: Inputs, size: int, truncate: int | None = None) -> tuple[Form | None, Any]:
    """The shape of a batch's outputs, None for any size, or None if it is not known; and outputs, where they had to be
    computed for it: of a batch of `size` as training makes them, of the longest sequences, up to `truncate` steps.
    Raises what the model's run raises, and ValueError if it shows that x gives no batch."""
    if (known := model._output_form(x)) is not None:
        return known, None
    rows = np.arange(len(x))[:size] if x.lengths is None else np.argsort(x.lengths, kind="stable")[-size:]
    outputs = model._looked_at(x, rows, truncate)
    shape = shape_of(outputs)
    if len(shape) == 0 or shape[0] != len(rows):
        return None, outputs
    # steps of batches differ, or may, or those of the pieces are fewer
    time = x.lengths is not None or model.keeps_time is None or truncate is not None
    form: list[int | None] = [None, *shape[1:]]
    if time and len(shape) > 2:
        form[1] = None
    return tuple(form), outputs


def hand_labels(
    model: Trainable, x: Inputs, y: AllTargets, size: int, loss: LossFunction, form: Form | None = None
) -> None:
    """Show a loss all targets before training, if it counts labels. form: of the outputs, if known."""
    found = sampling(loss)
    if found is None or not found.counts_labels:
        return
    if isinstance(x, BatchInputs):
        raise ValueError(
            "SampledSoftmax('unigram') counts all labels before training, and x gives them batch by batch: give an "
            "array of counts, or 'log_uniform'"
        )
    for rows in x.sorted_batches(size):
        batch = x.batch(rows)
        targets, own = y.batch(rows, batch.steps)
        targets = apart(targets)[0]
        lens = asked_for(model, batch, own, loss)[0]
        if form is not None:
            targets = found.fitted((*targets.shape[: len(form) - 1], form[-1] or 0), targets, lens)
        found.count(targets, lens)


def asked_for(model: Trainable, batch: Batch, own: Any, loss: LossFunction) -> tuple[Any, dict[str, Any]]:
    """The lengths that a loss counts up to, and what else a function of somebody's own may ask for.

    own: lengths that the targets have of their own. A loss that asks for these is given the outputs' beside them; to
    all others they are the outputs', which have a number for each target.
    """
    wanted = loss.wants
    lens = own if own is not None and "target_lengths" not in wanted else model.output_lengths(batch.lengths)
    if not wanted:
        return lens, {}
    mask = None
    if "mask" in wanted and isinstance(lens, np.ndarray):
        mask = np.arange(int(lens.max(initial=0))) < lens[:, None]
    return lens, {"target_lengths": own, "input_lengths": batch.lengths, "inputs": batch.given, "mask": mask}
