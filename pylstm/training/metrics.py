"""Figures beside the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._arrays import Array
from ..losses.by_name import count_of
from ..losses.loss import counted

Metric = Callable[[Array, Array, Any], tuple[float, float]]  # (y, targets, lengths) -> (sum, how many)


def accuracy(loss: str, y: Array, targets: ArrayLike, lengths: ArrayLike | None) -> tuple[float, float]:
    """How many predictions are right, and how many there are."""
    t = np.asarray(targets)
    if loss == "cross_entropy":
        right = y.argmax(axis=-1) == t
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
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", "")
    classification = name in ("binary_cross_entropy", "cross_entropy")
    found: dict[str, Metric] = {}
    function: Metric
    if metrics is not None and (isinstance(metrics, (str, Mapping)) or not isinstance(metrics, Iterable)):
        raise TypeError(f"metrics must be a list, e.g. ['accuracy'], got {_checks.kind(metrics)}")
    for metric in (["accuracy"] if classification else []) if metrics is None else metrics:
        if isinstance(metric, str) and metric == "accuracy":
            if not classification:
                raise ValueError("accuracy, of metrics, needs the loss binary_cross_entropy or cross_entropy")
            own, function = "accuracy", partial(accuracy, name)
        elif callable(metric) and not isinstance(metric, type):
            own = str(getattr(metric, "__name__", repr(metric)))
            function = _averaged(own, metric)
        else:
            raise TypeError(f"metrics must be 'accuracy' or functions, got {_checks.kind(metric)}: {metric!r}")
        if own in ("loss", "lr", "seconds") or own.startswith("val_"):
            raise ValueError(
                f"metrics must not be named {own!r}, as other figures of fit are: give the function another name"
            )
        if own in found:
            raise ValueError(f"metrics holds two that are named {own!r}")
        found[own] = function
    return found


def _averaged(name: str, function: Callable[..., Any]) -> Metric:
    def metric(y: Array, targets: Array, lengths: Any) -> tuple[float, float]:
        value = function(y, targets, lengths)
        try:
            return float(value) * count_of(y), float(count_of(y))
        except (TypeError, ValueError):
            raise TypeError(f"the metric {name} must return a number, got {_checks.kind(value)}") from None

    return metric
