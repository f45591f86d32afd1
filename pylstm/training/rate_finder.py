"""A learning rate from a short training in which it rises (Smith 2017)."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .callbacks import Callback
from .schedules import Schedule

if TYPE_CHECKING:
    import os

    from ..models.trainable import Trainable
    from .loop import Training
    from .optimizer import Optimizer

Numbers = NDArray[np.float64]

_WIDTH = 0.16  # of the window that the losses are smoothed with, in decades of the rate: its standard deviation
_LEAST_FALL = 1e-3  # of the loss, of which it must have become less
_MEMORY = 0.9  # of the running mean that says when training has come apart
_FEWEST = 5  # points, from which a rate can be told
# of fit, and without a meaning here
_NOT_HERE = ("epochs", "validation_data", "validation_split", "metrics", "callbacks", "schedule", "resume", "verbose",
             "reduce")  # fmt: skip


class LearningRates:
    """What `find_learning_rate` found.

    Attributes:
        rates: (K,) learning rates, rising: one an update.
        losses: (K,) the loss of each of these batches, before its update.
        smoothed: (K,) the same with a window over the rates.
        suggestion: the rate where the smoothed loss falls most steeply; None where it does not fall.
        best: the rate of the least smoothed loss: too high a rate for training, as a rule.
    """

    def __init__(self, rates: Numbers, losses: Numbers) -> None:
        self.rates, self.losses = rates, losses
        self.smoothed = _smoothed(rates, losses)
        lowest = int(np.argmin(self.smoothed))
        self.best = float(rates[lowest])
        self.suggestion = _steepest(rates[: lowest + 1], self.smoothed[: lowest + 1])

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the losses over the rates, with the suggestion.

        Args:
            path: also written there; the ending says as what.

        Returns:
            The matplotlib figure.

        Raises ImportError without matplotlib.
        """
        from ..inspect.rates import plot_rates

        return plot_rates(self.rates, self.losses, self.smoothed, self.suggestion, path)

    def __repr__(self) -> str:
        what = "no suggestion" if self.suggestion is None else f"suggestion={self.suggestion:.2g}"
        return f"LearningRates({len(self.rates)} rates {self.rates[0]:.2g} to {self.rates[-1]:.2g}, {what})"


def find(
    model: Trainable,
    x: Any,
    y: Any,
    optimizer: Optimizer,
    lowest: float,
    highest: float,
    steps: int,
    options: dict[str, Any],
) -> LearningRates:
    """See `Trainable.find_learning_rate`. All that changes is a copy, so that there is nothing to put back."""
    lowest, highest = _checks.positive("lowest", lowest), _checks.positive("highest", highest)
    if lowest >= highest:
        raise ValueError(f"lowest must be below highest, got {lowest:g} and {highest:g}")
    steps = _checks.integer("steps", steps, minimum=2 * _FEWEST)
    if wrong := [name for name in options if name in _NOT_HERE]:
        raise TypeError(
            f"find_learning_rate takes no {wrong[0]}: it is for one short training, in which the rate rises"
        )
    try:
        model, optimizer = copy.deepcopy((model, optimizer))
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        raise TypeError(
            f"find_learning_rate trains a copy, and {type(model).__name__} cannot be copied: "
            f"{type(error).__name__}: {str(error)[:300]}"
        ) from error
    optimizer.lr = lowest
    ramp = _Ramp(lowest, highest, steps)
    try:
        model.fit(x, y, optimizer=optimizer, epochs=steps, schedule=_Rising(ramp), callbacks=[ramp], metrics=[],
                  verbose=0, **options)  # fmt: skip
    except _EnoughError:
        pass
    except FloatingPointError:  # it came apart: so far up is too high
        if not ramp.rates:
            raise
    else:  # nothing but Ctrl-C ends it before all steps
        if len(ramp.rates) < _FEWEST:
            raise KeyboardInterrupt
    if len(ramp.rates) < _FEWEST:
        raise ValueError(
            f"the loss was seen at {len(ramp.rates)} learning rates only, from which none can be told: more steps, or "
            "a lower highest"
        )
    return LearningRates(np.array(ramp.rates), np.array(ramp.losses))


class _EnoughError(Exception):
    """Ends training behind an update."""


class _Ramp(Callback):
    """The rates, exponentially rising, and the losses."""

    def __init__(self, lowest: float, highest: float, steps: int) -> None:
        self._growth, self._steps = (highest / lowest) ** (1.0 / (steps - 1)), steps
        self.rates, self.losses = list[float](), list[float]()
        self._mean = self._least = self._first = math.inf

    def factor(self) -> float:
        """Of the next update."""
        return float(self._growth ** len(self.rates))

    def end_batch(self, training: Training) -> None:
        loss = training.batch_logs["loss"]
        self.rates.append(training.batch_logs["lr"])
        self.losses.append(loss)
        count = len(self.losses)
        before = 0.0 if count == 1 else self._mean * (1.0 - _MEMORY ** (count - 1))
        self._mean = (_MEMORY * before + (1.0 - _MEMORY) * loss) / (1.0 - _MEMORY**count)
        self._first = self._mean if count == 1 else self._first
        self._least = min(self._least, self._mean)
        far = 3.0 * max(abs(self._least), self._first - self._least)
        if count == self._steps or (count > self._steps // 10 and self._mean > self._least + far):
            raise _EnoughError


class _Rising(Schedule):
    """The rate that a ramp has come to."""

    _counts_batches = False  # the ramp counts updates: x may give batches, nobody knows how many

    def __init__(self, ramp: _Ramp) -> None:
        self._ramp = ramp

    def factor(self, epoch: int, batch: int, batches: int) -> float:  # noqa: ARG002
        return self._ramp.factor()


def _smoothed(rates: Numbers, losses: Numbers) -> Numbers:
    """A Gaussian window over the logarithms of the rates: it has no lag, which a running mean has."""
    places = np.log10(rates)
    found = np.empty_like(losses)
    for k, place in enumerate(places):
        weights = np.exp(-0.5 * ((places - place) / _WIDTH) ** 2)
        found[k] = np.add.reduce(weights * losses) / np.add.reduce(weights)
    return found


def _steepest(rates: Numbers, losses: Numbers) -> float | None:
    if len(rates) < _FEWEST or losses[0] - losses[-1] <= _LEAST_FALL * abs(losses[0]):
        return None
    slopes = np.gradient(losses, np.log10(rates))
    place = int(np.argmin(slopes))
    return float(rates[place]) if slopes[place] < 0.0 else None
