"""The states of stateful layers: what a call of a model begins with, and what it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..._active import ACTIVE
from ..._arrays import Array
from .step import CARRIED, Step


class States:
    """Of one call, or between calls. Those between calls never change: a call that is done puts others in their place,
    all at once, so that of several threads each begins with whole ones.

    Attributes:
        batch_size: of how many sequences they are; None: of any number.
        arrays: step -> its states, (N, H) each; zero for a step that has none.
    """

    def __init__(self, batch_size: int | None = None, arrays: Mapping[Step, list[Array]] | None = None) -> None:
        self.batch_size, self.arrays = batch_size, dict(arrays or {})

    @property
    def count(self) -> int | None:
        """Of how many sequences the next batch has to be."""
        return next((len(own[0]) for own in self.arrays.values()), self.batch_size)

    def copy(self) -> States:
        """For a call."""
        return States(self.batch_size, self.arrays)

    def of(self, step: Step, count: int) -> list[Any] | None:
        """The states that a layer begins with, as values; None: zeros. Raises ValueError if they are not those of
        `count` sequences."""
        found = self.arrays.get(step)
        expected = self.batch_size if found is None else len(found[0])
        if expected is not None and count != expected:
            raise ValueError(
                f"{step.config!r} is stateful: its states are those of {expected} sequences, and the batch has {count}"
                f". Give batches of {expected}, or begin anew with model.reset_states(batch_size={count})"
            )
        run: Any = ACTIVE.get()
        return None if found is None else [run.constant(one, "state") for one in found]

    def put(self, step: Step, after: list[Any]) -> None:
        self.arrays[step] = [np.array(one.numpy()) for one in after]


def carried(options: Mapping[str, Any], step: Step) -> States | None:
    """Of a call, for a layer that is stateful."""
    return options.get(CARRIED) if step.stateful else None
