"""What a file says of a loss and of metrics, so that a model is evaluated after loading as it was trained."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from .by_name import BY_NAME, evaluated_as, named
from .objects import LossObject, as_form, from_form

AVERAGES = ("macro", "micro", "weighted")
SCORES = ("precision", "recall", "f1")
METRICS = (
    "accuracy", "perplexity", "auc", *SCORES, *(f"{score}_{average}" for score in SCORES for average in AVERAGES),
    "mae", "mse", "rmse", "huber", "quantile", "label_error_rate",
)  # fmt: skip
_TOP = re.compile(r"top_([1-9][0-9]{0,8})")


def top_of(name: str) -> int | None:
    """k of the metric "top_k"; None of another one."""
    found = _TOP.fullmatch(name)
    return None if found is None else int(found[1])


def larger_is_better(name: str) -> bool:
    """Of a figure of the history."""
    name = name.removeprefix("val_")
    return "accuracy" in name or name == "auc" or name.partition("_")[0] in SCORES or top_of(name) is not None


def is_metric(name: object) -> bool:
    """Whether there is a metric of that name."""
    return isinstance(name, str) and (name in METRICS or top_of(name) is not None)


def saved_loss(loss: object) -> str | dict[str, Any] | None:
    """The loss if it is one of the library's: a function of somebody's own is not saved, whatever its name."""
    loss = evaluated_as(loss)
    if isinstance(loss, LossObject):
        return as_form(loss)
    name = named(loss)[0]
    return name if isinstance(name, str) and name in BY_NAME else None


def read_loss(form: Any) -> str | LossObject | None:
    """Of what a file says. Raises TypeError, ValueError or KeyError if that is none."""
    if isinstance(form, dict):
        return from_form(form)
    if form is None or (isinstance(form, str) and form in BY_NAME):
        return form
    raise ValueError(f"{form!r:.80}")


def saved_metrics(metrics: Iterable[object]) -> list[str | dict[str, Any]]:
    """Those that are the library's, by name or with their options."""
    forms = (as_form(metric) if isinstance(metric, LossObject) else metric for metric in metrics)
    return [form for form in forms if isinstance(form, dict) or (isinstance(form, str) and is_metric(form))]


def read_metrics(form: Any) -> list[str | LossObject] | None:
    """Of what a file says. Raises TypeError, ValueError or KeyError if these are none."""
    if form is None:
        return None
    if not isinstance(form, list) or len(form) > 100:
        raise ValueError(f"{form!r:.80}")
    found = [from_form(one) if isinstance(one, dict) else one for one in form]
    if not all(isinstance(one, LossObject) or is_metric(one) for one in found):
        raise ValueError(f"{form!r:.80}")
    return found
