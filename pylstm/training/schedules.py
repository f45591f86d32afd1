"""Learning-rate schedules: what the optimizer's own rate is multiplied by, batch by batch.

`schedule.factor(epoch, batch, batches)` with epoch and batch from 0. fit calls it before every update, and
`end_epoch(logs)` after every epoch. A plain function of (epoch), (step) or (epoch, batch, batches) is a schedule, too.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from .. import _checks
from ..losses.saved import larger_is_better
from .expected import check_figure, takes


class Schedule:
    """Base of the schedules: what the optimizer's own rate is multiplied by, batch by batch.

    `fit` calls `factor` before every update and `end_epoch` after every epoch. A plain function that gives the factor
    is a schedule, too: of (epoch), of (step), the number of batches before this one in all epochs, or of
    (epoch, batch, batches). A single argument says by its name which it is.
    """

    _counts_batches = True  # whether `factor` has to be told how many batches there are

    def factor(self, epoch: int, batch: int, batches: int) -> float:
        """What the learning rate is multiplied by in this batch: a finite number from 0.

        Args:
            epoch: from 0.
            batch: from 0.
            batches: how many the epoch has.
        """
        raise NotImplementedError

    def end_epoch(self, logs: Mapping[str, float]) -> None:
        """Told the figures of each epoch, e.g. {"loss": 0.3, "val_loss": 0.4}."""

    def state_dict(self) -> dict[str, Any]:
        """What has to be known to go on later."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""

    def _check_names(self, names: Collection[str]) -> None:
        """Raises ValueError if this schedule watches a figure that is not among those of a training."""


class StepLR(Schedule):
    """Times gamma every `step_size` epochs, as torch.optim.lr_scheduler.StepLR.

    Args:
        step_size: epochs, from 1.
        gamma: from 0.
    """

    _counts_batches = False

    def __init__(self, step_size: int, gamma: float = 0.1) -> None:
        self.step_size, self.gamma = _checks.integer("step_size", step_size), _checks.non_negative("gamma", gamma)

    def factor(self, epoch: int, batch: int, batches: int) -> float:  # noqa: ARG002
        return float(self.gamma ** (epoch // self.step_size))


class Cosine(Schedule):
    """Falls from 1 to `minimum` over `epochs` epochs along half a cosine (Loshchilov & Hutter 2017), then stays.

    Args:
        epochs: above 0; need not be whole.
        minimum: the factor at the end, from 0.
    """

    def __init__(self, epochs: float, minimum: float = 0.0) -> None:
        self.epochs, self.minimum = _checks.positive("epochs", epochs), _checks.non_negative("minimum", minimum)

    def factor(self, epoch: int, batch: int, batches: int) -> float:
        done = min(1.0, (epoch + batch / batches) / self.epochs)
        return self.minimum + (1 - self.minimum) * 0.5 * (1 + math.cos(math.pi * done))


class WarmUp(Schedule):
    """Rises to 1 over the first `epochs` epochs, then goes on as the schedule `then`, which starts at that point.

    Args:
        epochs: from 1.
        then: a schedule, or None: stay at 1. It sees neither the epochs of the warm-up nor their figures.
    """

    def __init__(self, epochs: int = 1, then: Schedule | None = None) -> None:
        self.epochs = _checks.integer("epochs", epochs)
        self.then = None if then is None else as_schedule(then, "then")
        self._epoch = 0

    def factor(self, epoch: int, batch: int, batches: int) -> float:
        self._epoch = epoch
        if epoch < self.epochs:
            return (epoch * batches + batch + 1) / (self.epochs * batches)
        return 1.0 if self.then is None else self.then.factor(epoch - self.epochs, batch, batches)

    def end_epoch(self, logs: Mapping[str, float]) -> None:
        if self.then is not None and self._epoch >= self.epochs:
            self.then.end_epoch(logs)

    def state_dict(self) -> dict[str, Any]:
        return {} if self.then is None else self.then.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.then is not None:
            self.then.load_state_dict(state)

    def _check_names(self, names: Collection[str]) -> None:
        if self.then is not None:
            self.then._check_names(names)


class ReduceOnPlateau(Schedule):
    """Times gamma whenever `monitor` has not got better for more than `patience` epochs, as ReduceLROnPlateau.

    NaN is never better.

    Args:
        gamma: from 0.
        patience: epochs, from 0.
        monitor: a figure of the history; smaller is better, for accuracy, f1 and their like larger.
        threshold: what counts as better: by more than this share.
        minimum: the factor falls no lower.
    """

    _counts_batches = False

    def __init__(
        self,
        gamma: float = 0.1,
        patience: int = 10,
        monitor: str = "val_loss",
        threshold: float = 1e-4,
        minimum: float = 0.0,
    ) -> None:
        self.gamma = _checks.non_negative("gamma", gamma)
        self.patience = _checks.integer("patience", patience, minimum=0)
        self.monitor = _checks.text("monitor", monitor)
        self.threshold = _checks.non_negative("threshold", threshold)
        self.minimum = _checks.non_negative("minimum", minimum)
        self._sign = -1.0 if larger_is_better(monitor) else 1.0
        self._factor, self._best, self._bad = 1.0, math.inf, 0

    def factor(self, epoch: int, batch: int, batches: int) -> float:  # noqa: ARG002
        return self._factor

    def end_epoch(self, logs: Mapping[str, float]) -> None:
        self._check_names(logs)
        value = self._sign * logs[self.monitor]
        edge = self._best if math.isinf(self._best) else self._best - self.threshold * abs(self._best)
        if value < edge:
            self._best, self._bad = value, 0
        else:
            self._bad += 1
        if self._bad > self.patience:
            self._factor, self._bad = max(self._factor * self.gamma, self.minimum), 0

    def _check_names(self, names: Collection[str]) -> None:
        check_figure(self, self.monitor, names)

    def state_dict(self) -> dict[str, Any]:
        return {"factor": self._factor, "best": self._best, "bad": self._bad}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._factor, self._best, self._bad = float(state["factor"]), float(state["best"]), int(state["bad"])


def _constant(epoch: int, batch: int, batches: int) -> float:  # noqa: ARG001
    return 1.0


class FunctionSchedule(Schedule):
    """A plain function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._of = _argument(function)
        self._counts_batches = function is not _constant and self._of != "epoch"

    def _check_names(self, names: Collection[str]) -> None:  # noqa: ARG002
        if self._of is None:
            try:
                takes(f"the schedule {self!r}", self.function, "epoch", "batch", "batches")
            except TypeError as error:
                raise TypeError(f"{error}; or write it as a function of (epoch) or of (step), by these names") from None

    def factor(self, epoch: int, batch: int, batches: int) -> Any:
        if self._of == "epoch":
            return self.function(epoch)
        if self._of == "step":
            return self.function(epoch * batches + batch)
        return self.function(epoch, batch, batches)

    def __repr__(self) -> str:
        return str(getattr(self.function, "__name__", repr(self.function)))

    def __str__(self) -> str:
        """The same in every process."""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return "a constant rate" if self.function is _constant else f"the function {name}"


def _argument(function: Callable[..., Any]) -> str | None:
    """What a function of one argument is given, as its name says; None: it takes all three."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # of something built in there is none
        return None
    own = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    needed = [one for one in own if one.default is one.empty]
    if len(own) >= 3 or len(needed) > 1 or any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return None
    return own[0].name if own and own[0].name in ("epoch", "step") else None


def as_schedule(schedule: object, name: str = "schedule") -> Schedule:
    """`schedule` as a Schedule: None is a constant rate."""
    if schedule is None:
        return FunctionSchedule(_constant)
    if isinstance(schedule, Schedule):
        return schedule
    if callable(schedule) and not isinstance(schedule, type):
        return FunctionSchedule(schedule)
    raise TypeError(
        f"{name} must be a schedule or a function of (epoch), (step) or (epoch, batch, batches), got "
        f"{_checks.kind(schedule)}"
    )


def rate_at(schedule: Schedule, rate: float, epoch: int, batch: int, batches: int) -> float:
    """The rate for a batch. Raises TypeError or ValueError, naming the schedule, if its factor is no number from 0."""
    factor: Any = schedule.factor(epoch, batch, batches)
    try:
        number = math.nan if isinstance(factor, (str, bytes)) else float(factor)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isfinite(rate * number) and number >= 0:
        return rate * number
    name = repr(schedule) if type(schedule).__repr__ is not object.__repr__ else type(schedule).__name__
    text = f"the schedule {name} must give a finite number from 0 to multiply the rate by, and gave"
    if not isinstance(factor, (numbers.Real, np.ndarray)):
        raise TypeError(f"{text} {_checks.kind(factor)} in epoch {epoch + 1}")
    raise ValueError(f"{text} {factor} for the rate {rate} in epoch {epoch + 1}")
