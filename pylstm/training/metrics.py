"""Figures beside the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from ..losses.by_name import count_of, evaluated_as
from ..losses.loss import Loss, counted


class Metric(NamedTuple):
    """function: (outputs, targets, lengths, loss) -> (sum, how many), with the `Loss` of the batch.

    needs: what it looks at of the outputs: all of them ("outputs"), the place of the largest ("largest"), or nothing.
    of_mean: what becomes of the mean over all batches. own: a function of somebody's, (outputs, targets, lengths).
    """

    function: Callable[[Any, Any, Any, Loss], tuple[float, float]]
    needs: str
    of_mean: Callable[[float], float] = float
    own: Callable[..., Any] | None = None


def perplexity(y: Any, targets: Any, lengths: Any, loss: Loss) -> tuple[float, float]:  # noqa: ARG001
    """The mean cross-entropy, of which it is the exponential."""
    return loss.total, loss.weight


def _exp(x: float) -> float:
    return math.inf if x > 709 else math.exp(x)


def accuracy(
    name: str, y: Any, targets: ArrayLike, lengths: ArrayLike | None, loss: Loss | None = None
) -> tuple[float, float]:
    """How many predictions are right, and how many there are. name: of the loss."""
    t = np.asarray(targets)
    if name == "cross_entropy":
        right = (y.argmax(axis=-1) if loss is None or loss.largest is None else loss.largest) == t
        counts = counted(t.shape, lengths, np.dtype(np.float64)) * (t != -100)
    else:
        if t.shape == y.shape[:-1]:
            t = t[..., None]
        right = (y > 0) == (t > 0.5)
        counts = counted(y.shape, lengths, np.dtype(np.float64))
    return float((right * counts).sum()), float(counts.sum())


def metric_functions(metrics: Sequence[object] | None, loss: object) -> dict[str, Metric]:
    """Metrics by name. None: the accuracy for classification. A function (y, targets, lengths) -> value has its own
    name; its values are averaged over batches by their number of sequences."""
    loss = evaluated_as(loss)
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", "")
    classification = name in ("binary_cross_entropy", "cross_entropy")
    found: dict[str, Metric] = {}
    if metrics is not None and (isinstance(metrics, (str, Mapping)) or not isinstance(metrics, Iterable)):
        raise TypeError(f"metrics must be a list, e.g. ['accuracy'], got {_checks.kind(metrics)}")
    for metric in (["accuracy"] if classification else []) if metrics is None else metrics:
        if isinstance(metric, str) and metric == "accuracy":
            if not classification:
                raise ValueError("accuracy, of metrics, needs the loss binary_cross_entropy or cross_entropy")
            needs = "largest" if name == "cross_entropy" else "outputs"
            own, one = "accuracy", Metric(partial(accuracy, name), needs)
        elif isinstance(metric, str) and metric == "perplexity":
            if name != "cross_entropy":
                raise ValueError("perplexity, of metrics, needs the loss cross_entropy")
            own, one = "perplexity", Metric(perplexity, "nothing", _exp)
        elif callable(metric) and not isinstance(metric, type):
            own = str(getattr(metric, "__name__", repr(metric)))
            one = Metric(_averaged(own, metric), "outputs", own=metric)
        else:
            raise TypeError(
                f"metrics must be 'accuracy', 'perplexity' or functions, got {_checks.kind(metric)}: {metric!r}"
            )
        if own in ("loss", "lr", "seconds") or own.startswith("val_"):
            raise ValueError(
                f"metrics must not be named {own!r}, as other figures of fit are: give the function another name"
            )
        if own in found:
            raise ValueError(f"metrics holds two that are named {own!r}")
        found[own] = one
    return found


def _averaged(name: str, function: Callable[..., Any]) -> Callable[[Any, Any, Any, Loss], tuple[float, float]]:
    def metric(y: Any, targets: Any, lengths: Any, loss: Loss) -> tuple[float, float]:  # noqa: ARG001
        value = function(y, targets, lengths)
        try:
            return float(value) * count_of(y), float(count_of(y))
        except (TypeError, ValueError):
            raise TypeError(f"the metric {name} must return a number, got {_checks.kind(value)}") from None

    return metric
