"""Averages of the weights over training: EMA and SWA.

Training itself goes on with its own weights. The averaged ones are in the model while an epoch is looked at
(validation, callbacks, files), and in the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks
from .._arrays import Array
from .._interrupts import Uninterrupted
from .callbacks import Callback, ModelCheckpoint

if TYPE_CHECKING:
    from ..models.trainable import Trainable
    from .loop import Training

_BLOCK = 2**15  # numbers that are averaged at once: they stay in cache


class WeightAverage(Callback):
    """Base of `EMA` and `SWA`."""

    _turn = 0

    def __init__(self) -> None:
        self._reset(None)

    def _reset(self, model: Trainable | None) -> None:
        self._model = model  # while it is trained
        self._count = 0  # weights that were averaged
        self._average: dict[str, Array] = {}
        self._others: dict[str, Array] | None = None  # those that training goes on with, while the model has averages

    def _check(self, training: Training) -> None:
        super()._check(training)
        if sum(isinstance(one, WeightAverage) for one in training.callbacks) > 1:
            raise ValueError("callbacks holds two averages of the weights: training can end with one only")

    def _keeps_weights(self) -> bool:
        return True

    def begin(self, training: Training) -> None:
        self._reset(training.model)

    def end(self, training: Training) -> None:  # noqa: ARG002
        self._show()
        self._model = self._others = None

    def _share(self) -> float:
        """Of the weights that are averaged now, `_count` having been before; the first ones are the average."""
        raise NotImplementedError

    def _take(self, model: Trainable) -> None:
        """Average the weights as they are."""
        params, share = model.params, self._share()
        with Uninterrupted():
            if not self._count:
                self._average = model.state_dict()
            for name in self._average if self._count else ():  # of what a callback has frozen since, too
                _move(self._average[name].reshape(-1), np.ascontiguousarray(params[name]).reshape(-1), share)
            self._count += 1

    def _look(self, training: Training) -> None:
        """An epoch has ended."""

    def _show(self) -> None:
        """Put the averages into the model."""
        if self._count and self._model is not None and self._others is None:
            others = self._model.state_dict()
            with Uninterrupted():
                self._model._set_params(self._average)
                self._others = others

    def _hide(self) -> None:
        """Put the weights that training goes on with into the model."""
        if self._others is not None and self._model is not None:
            with Uninterrupted():
                self._model._set_params(self._others)
                self._others = None

    # ---- going on later ------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The weights that are not in the model: of the average, or those that training goes on with."""
        arrays: Mapping[str, Array] = {}
        if self._others is not None:
            arrays = self._others
        elif self._model is not None:
            arrays = self._average
        return {"count": self._count, "shown": int(self._others is not None), **arrays}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        arrays = dict(state)
        self._count, shown = int(arrays.pop("count")), int(arrays.pop("shown"))
        self._average, self._others = ({}, arrays) if shown else (arrays, None)

    def _go_on(self, model: Trainable) -> None:
        """Behind `load_state_dict`, when the model has the weights of the file."""
        if self._others is not None:
            self._average = model.state_dict()
            self._hide()


class EMA(WeightAverage):
    """The exponential moving average of the weights: average = decay average + (1 - decay) weights after every update.

    As `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn(decay)`: it begins at the weights behind the
    first update. Validation, `EarlyStopping`, `ModelCheckpoint` and callbacks of your own see the averaged weights at
    the end of every epoch, and the model has them in the end, however training ends; between the epochs it goes on with
    its own, and what a callback changes in the averaged ones is lost. A checkpoint holds both: the model in it has the
    averaged weights.

    Args:
        decay: above 0 and below 1; the average reaches about 1 / (1 - decay) updates back.
        every: updates between two weights that are averaged.

    Raises TypeError or ValueError for a wrong argument, naming it.
    """

    def __init__(self, decay: float = 0.999, *, every: int = 1) -> None:
        super().__init__()
        self.decay, self.every = _checks.probability("decay", decay), _checks.integer("every", every)
        if not 0.0 < self.decay < 1.0:
            raise ValueError(f"decay must be above 0 and below 1, got {decay}")
        self._updates = 0

    def begin(self, training: Training) -> None:
        super().begin(training)
        self._updates = 0

    def _share(self) -> float:
        return 1.0 - self.decay

    def end_batch(self, training: Training) -> None:
        self._updates += 1
        if self._updates % self.every == 0:
            self._take(training.model)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self._updates, **super().state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        rest = dict(state)
        self._updates = int(rest.pop("updates"))
        super().load_state_dict(rest)


class SWA(WeightAverage):
    """Stochastic weight averaging (Izmailov et al. 2018): the mean of the weights at the ends of epochs.

    As `torch.optim.swa_utils.AveragedModel`. Keep the learning rate constant and high, or let a schedule come back to a
    high one, while weights are averaged. Who sees the averaged weights, and when, is as for `EMA`.

    Args:
        start: the first epoch whose weights count, from 0.
        every: epochs between two weights that are averaged.

    Raises TypeError or ValueError for a wrong argument, naming it; ValueError when training begins if it ends before
    epoch `start`, and writes no checkpoint to go on from.
    """

    def __init__(self, start: int, *, every: int = 1) -> None:
        super().__init__()
        self.start = _checks.integer("start", start, minimum=0)
        self.every = _checks.integer("every", every)

    def _check(self, training: Training) -> None:
        super()._check(training)
        goes_on = any(isinstance(one, ModelCheckpoint) for one in training.callbacks)  # in a later fit, maybe
        if 0 < training.epochs <= self.start and not goes_on:
            raise ValueError(
                f"SWA(start={self.start}) averages from epoch {self.start} on, counted from 0, and training ends after "
                f"{training.epochs} epochs"
            )

    def _share(self) -> float:
        return 1.0 / (self._count + 1)

    def _look(self, training: Training) -> None:
        if training.epoch >= self.start and (training.epoch - self.start) % self.every == 0:
            self._take(training.model)


def _move(average: Array, value: Array, share: float) -> None:
    """average += share (value - average), in blocks."""
    scratch = np.empty(min(_BLOCK, average.size), average.dtype)
    for start in range(0, average.size, _BLOCK):
        some = average[start : start + _BLOCK]
        step = np.subtract(value[start : start + _BLOCK], some, out=scratch[: some.size])
        step *= share
        some += step


@contextmanager
def averaged(training: Training) -> Iterator[None]:
    """At the end of an epoch: within, the model has the averaged weights, if any are averaged."""
    averages = [one for one in training.callbacks if isinstance(one, WeightAverage)]
    for one in averages:
        one._look(training)
        one._show()
    try:
        yield
    finally:
        for one in averages:
            one._hide()


def go_on(training: Training) -> None:
    """From a checkpoint: the model gets the weights that training goes on with."""
    for one in training.callbacks:
        if isinstance(one, WeightAverage):
            one._go_on(training.model)
