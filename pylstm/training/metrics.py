"""Figures beside the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from ..layers.linear import LinearOutputs
from ..losses.by_name import BY_NAME, OF_NUMBERS, count_of, evaluated_as, loss_function, named, quantiles_of
from ..losses.classification import IGNORED, ClassWeight, ce_loss
from ..losses.linear_head import ce_of_linear
from ..losses.loss import Loss, counted, weighted
from ..losses.objects import LossObject
from ..losses.saved import METRICS, SCORES, top_of
from ..losses.weighted import Weighted
from . import scores


class Metric(NamedTuple):
    """function: (outputs, targets, lengths, loss, sample_weight) -> (sum, how many), with the `Loss` of the batch and
    weights or None.

    needs: what it looks at of the outputs: all of them ("outputs"), the place of the largest ("largest"), or nothing.
    of_mean: what becomes of the mean over all batches. own: a function of somebody's, (outputs, targets, lengths).
    collect: makes what is to be asked in place of `function`: a metric that is no mean.
    takes_weight: whether weights reach it. targets: "numbers" if the targets have to be as many numbers as the outputs.
    """

    function: Callable[..., tuple[float, float]]
    needs: str
    of_mean: Callable[[float], float] = float
    own: Callable[..., Any] | None = None
    collect: Callable[[], scores.Score] | None = None
    takes_weight: bool = True
    targets: str = ""


def perplexity(y: Any, targets: Any, lengths: Any, loss: Loss, sample_weight: Any) -> tuple[float, float]:  # noqa: ARG001
    """The mean cross-entropy, of which it is the exponential."""
    return loss.total, loss.weight


def _exp(x: float) -> float:
    return math.inf if x > 709 else math.exp(x)


def accuracy(
    ignored: int | None,
    y: Any,
    targets: ArrayLike,
    lengths: ArrayLike | None,
    loss: Loss | None = None,
    sample_weight: Any = None,
) -> tuple[float, float]:
    """How many predictions are right, and how many there are. ignored: the label that does not count; None: the
    targets are no labels but yes and no."""
    t = np.asarray(targets)
    if ignored is not None:
        right = (y.argmax(axis=-1) if loss is None or loss.largest is None else loss.largest) == t
        counts = scores.label_weights(t, lengths, ignored, sample_weight)
    else:
        if t.shape == y.shape[:-1]:
            t = t[..., None]
        right = (y > 0) == (t > 0.5)
        counts = weighted(counted(y.shape, lengths, np.dtype(np.float64)), sample_weight)
    return float((right * counts).sum()), float(counts.sum())


def metric_functions(
    metrics: Sequence[object] | None, loss: object, class_weight: ClassWeight = None
) -> dict[str, Metric]:
    """Metrics by name. None: the accuracy for classification. A function (y, targets, lengths) -> value has its own
    name; its values are averaged over batches by their number of sequences. class_weight: that of the loss, which no
    metric has."""
    kind = _Kind(evaluated_as(loss), class_weight)
    found: dict[str, Metric] = {}
    if metrics is not None and (isinstance(metrics, (str, Mapping)) or not isinstance(metrics, Iterable)):
        raise TypeError(f"metrics must be a list, e.g. ['accuracy'], got {_checks.kind(metrics)}")
    for metric in (["accuracy"] if kind.is_default else []) if metrics is None else metrics:
        if isinstance(metric, str):
            own, one = str(metric), _by_name(metric, kind)
        elif isinstance(metric, LossObject):
            own, one = metric.name, _of_loss(metric, kind)
        elif (function := named(metric)[0]) is not metric and isinstance(function, str):  # pylstm.mae
            own, one = function, _of_loss(function, kind)
        elif callable(metric) and not isinstance(metric, type):
            own = str(getattr(metric, "__name__", repr(metric)))
            takes = "sample_weight" in _checks.keywords(metric)
            one = Metric(_averaged(own, metric, takes), "outputs", own=metric, takes_weight=takes)
        else:
            raise TypeError(
                f"metrics must be names, such as 'accuracy' or 'perplexity', or functions, got "
                f"{_checks.kind(metric)}: {metric!r}"
            )
        if own in ("loss", "lr", "seconds") or own.startswith("val_"):
            raise ValueError(
                f"metrics must not be named {own!r}, as other figures of fit are: give the function another name"
            )
        if own in found:
            raise ValueError(f"metrics holds two that are named {own!r}")
        found[own] = one
    return found


def check_outputs(metrics: Mapping[str, Metric], outputs: Any) -> None:
    """Raises TypeError for several outputs, which the library's metrics do not take."""
    if not isinstance(outputs, (tuple, list, dict)):
        return
    for name, metric in metrics.items():
        if metric.own is None:
            raise TypeError(
                f"{name}, of metrics, is for a model of one output, and this one gives a {_checks.kind(outputs)} of "
                f"{len(outputs)}: give a function (outputs, targets, lengths) of your own that returns a number"
            )


class _Kind:
    """What a loss tells about targets.

    ignored: of labels, the one that does not count; binary: yes or no; numbers: as many as outputs, None if it is not
    known.
    """

    def __init__(self, loss: object, class_weight: ClassWeight) -> None:
        self.name, self.options = named(loss)
        if not isinstance(self.name, str):
            self.name = getattr(loss, "__name__", "")
        self.is_default = self.name in ("binary_cross_entropy", "cross_entropy")
        known = loss_function(loss) if self.name in BY_NAME or callable(loss) else None
        self.ignored = None if known is None else known.label_ignored
        if self.ignored is None and self.name == "cross_entropy":  # a function of that name
            self.ignored = IGNORED
        self.binary = self.name == "binary_cross_entropy"
        self.blank = self.options.get("blank", 0) if self.name == "ctc" else None
        self.numbers = True if self.name in OF_NUMBERS else None
        self.quantiles = quantiles_of(self.options)
        smoothed = bool(self.options.get("label_smoothing"))
        self.is_plain = self.name == "cross_entropy" and not smoothed and class_weight is None


def _by_name(name: str, kind: _Kind) -> Metric:
    if name == "accuracy" or name.partition("_")[0] in SCORES or name == "auc" or (k := top_of(name)) is not None:
        if name not in METRICS and top_of(name) is None:
            raise ValueError(f"metrics holds {name!r}, which is not known{_checks.did_you_mean(name, METRICS)}")
        if kind.ignored is None and not kind.binary:
            other = "" if kind.blank is None else "; of ctc there is label_error_rate"
            raise ValueError(f"{name}, of metrics, needs the loss binary_cross_entropy or cross_entropy{other}")
        largest = "outputs" if kind.ignored is None else "largest"
        if name == "accuracy":
            return Metric(partial(accuracy, kind.ignored), largest)
        if name == "auc":
            return Metric(_none, "outputs", collect=partial(scores.AUC, kind.ignored))
        if (k := top_of(name)) is not None:
            if kind.ignored is None:
                raise ValueError(f"{name}, of metrics, needs the loss cross_entropy")
            return Metric(partial(_top, k, kind.ignored), "outputs")
        score, _, average = name.partition("_")
        return Metric(_none, largest, collect=partial(scores.Counts, score, average or None, kind.ignored))
    if name == "label_error_rate":
        if kind.blank is None:
            raise ValueError("label_error_rate, of metrics, needs the loss ctc")
        return Metric(_none, "outputs", collect=partial(scores.LabelErrors, kind.blank))
    if name == "perplexity":
        if kind.ignored is None:
            raise ValueError("perplexity, of metrics, needs the loss cross_entropy")
        if kind.is_plain:
            return Metric(perplexity, "nothing", _exp)
        return Metric(partial(_plain_cross_entropy, kind.ignored), "nothing", _exp)
    if name in METRICS:
        return _of_loss(name, kind)
    raise ValueError(
        f"metrics holds {name!r}, which is none of {', '.join(METRICS)}, top_5 (or another number)"
        f"{_checks.did_you_mean(name, METRICS)}"
    )


def _of_loss(loss: str | LossObject, kind: _Kind) -> Metric:
    """The value of a loss of the library's as a figure."""
    name = loss if isinstance(loss, str) else loss.name
    of = "mse" if loss == "rmse" else loss
    own, options = named(of)
    if own in OF_NUMBERS:
        if kind.ignored is not None or kind.binary or kind.blank is not None:
            raise ValueError(f"{name}, of metrics, needs a loss of numbers, such as mse, not {kind.name}")
        if kind.quantiles and options.get("q") != kind.quantiles:
            raise ValueError(
                f"{name}, of metrics, needs one output for each target, and the loss has several quantiles"
            )
    elif {"cross_entropy": kind.ignored, "ctc": kind.blank}.get(str(own), kind.binary or None) is None:
        raise ValueError(f"{name}, of metrics, needs the loss {own}")
    function = loss_function(of)
    if quantiles_of(options) and not kind.quantiles:
        raise ValueError(f"{name}, of metrics, needs several outputs for each target: a loss with the same quantiles")

    def value(y: Any, targets: Any, lengths: Any, of_batch: Loss, sample_weight: Any) -> tuple[float, float]:  # noqa: ARG001
        given = targets if sample_weight is None else Weighted(targets, sample_weight)
        found = function(y, given, lengths, need_gradient=False)
        return found.total, found.weight

    unknown = "numbers" if kind.numbers is None and own in OF_NUMBERS else ""
    return Metric(value, "outputs", math.sqrt if loss == "rmse" else float, targets=unknown)


def _none(*_: Any) -> tuple[float, float]:
    raise NotImplementedError  # of a metric that collects


def _top(k: int, ignored: int, y: Any, targets: Any, lengths: Any, loss: Loss, sample_weight: Any) -> Any:  # noqa: ARG001
    return scores.top_k(k, y, targets, lengths, ignored, sample_weight)


def _plain_cross_entropy(ignored: int, y: Any, targets: Any, lengths: Any, loss: Loss, sample_weight: Any) -> Any:  # noqa: ARG001
    options = {} if sample_weight is None else {"sample_weight": sample_weight}
    function = ce_of_linear if type(y) is LinearOutputs else ce_loss
    found = function(y, targets, lengths, ignore_index=ignored, need_gradient=False, **options)
    return found.total, found.weight


def _averaged(name: str, function: Callable[..., Any], takes_weight: bool) -> Callable[..., tuple[float, float]]:
    def metric(y: Any, targets: Any, lengths: Any, loss: Loss, sample_weight: Any) -> tuple[float, float]:  # noqa: ARG001
        if takes_weight and sample_weight is not None:
            value = function(y, targets, lengths, sample_weight=sample_weight)
        else:
            value = function(y, targets, lengths)
        try:
            return float(value) * count_of(y), float(count_of(y))
        except (TypeError, ValueError):
            raise TypeError(f"the metric {name} must return a number, got {_checks.kind(value)}") from None

    return metric
