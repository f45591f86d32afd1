"""Scheduled sampling (Bengio et al. 2015): in training a decoder now and then reads what it has written itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks
from .callbacks import Callback
from .schedules import as_schedule

if TYPE_CHECKING:
    from .loop import Training

_SAMPLED = 3  # what the stream of random numbers is for, beside those of `loop`


class ScheduledSampling(Callback):
    """How likely that is, batch by batch, and the numbers that are drawn for it, which follow from the seed of fit."""

    def __init__(self, probability: float | Callable[..., float]) -> None:
        name = "scheduled_sampling"
        self._constant = None if callable(probability) else _checks.probability(name, probability)
        self._schedule = as_schedule(probability if callable(probability) else None, name)
        try:
            self._schedule._check_names(())
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None
        self._training: Training | None = None
        self._place = (-1, -1, 0)  # epoch, batch, piece of it

    def begin(self, training: Training) -> None:
        self._training = training

    def next(self) -> tuple[float, np.random.Generator]:
        """For a batch, or a piece of one. Raises TypeError or ValueError for what is no probability."""
        training = self._training
        if training is None:  # the look before training
            return 0.0, np.random.default_rng(0)
        epoch, batch, piece = self._place
        now = training.epoch, training.batch
        self._place = (*now, piece + 1 if now == (epoch, batch) else 0)
        entropy = np.random.SeedSequence(training.entropy, spawn_key=(_SAMPLED, *self._place))
        return self._probability(training), np.random.default_rng(entropy)

    def _probability(self, training: Training) -> float:
        if self._constant is not None:
            return self._constant
        given: Any = self._schedule.factor(training.epoch, training.batch, training.batches)
        found = float(given) if isinstance(given, (int, float, np.number)) and not isinstance(given, bool) else math.nan
        if not 0.0 <= found <= 1.0:
            raise ValueError(f"scheduled_sampling must give a probability, got {given!r} in epoch {training.epoch + 1}")
        return found
