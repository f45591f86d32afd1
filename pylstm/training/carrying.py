"""States that go on: from piece to piece of a batch (`truncate`), and from batch to batch (`stateful`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .batches import BatchInputs
from .data import Inputs

if TYPE_CHECKING:
    from ..models.trainable import Trainable


class Carried:
    """The states that a batch begins with: those that the batch before it ended with, or zero."""

    def __init__(self, stateful: bool) -> None:
        self._stateful = stateful
        self._state: Any = None
        self._count: int | None = None

    def before(self, count: int) -> Any:
        """The state for a batch of `count` sequences; None: zero. Raises ValueError if the one before had others."""
        if self._stateful and self._count not in (None, count):
            raise ValueError(
                f"stateful: it has {count} sequences, and the batch before it {self._count}, whose states go on: all "
                "batches of an epoch must be of one size"
            )
        self._count = count
        return self._state

    def after(self, state: Any) -> None:
        """What the batch ended with."""
        if self._stateful:
            self._state = state


def check_truncation(model: Trainable) -> None:
    """Truncated back-propagation needs one output per step and layers that read forwards only."""
    _check_chain(model, "truncate")
    if not model.keeps_time:
        raise ValueError("truncate needs a model with one output per step: a pooling layer needs the whole sequence")
    model._check_carry("truncate")


def check_stateful(model: Trainable, x: Inputs, size: int, name: str = "x") -> None:
    """Raises ValueError if it is known that states cannot go on from batch to batch of x."""
    _check_chain(model, "stateful")
    model._check_carry("stateful")
    if isinstance(x, BatchInputs):
        return
    past = x.parts[0].form[1]
    if x.stride is not None and past is not None and past != x.stride * size:
        raise ValueError(
            f"stateful: the windows of {name} do not follow one another: each has {past} steps, and the one in its "
            f"place in the next batch begins {x.stride * size} steps behind its beginning (stride * batch_size). "
            f"{_fitting_windows(past, size)}"
        )
    if len(x) % size:
        raise ValueError(
            f"stateful: {name} holds {len(x)} sequences, which is no multiple of batch_size, {size}: each goes on "
            "where the one in its place in the batch before has ended"
        )


def check_resumed(x: Inputs, resume: object) -> None:
    """Raises ValueError for a training that would go on with states that no checkpoint holds."""
    if resume is not None and isinstance(x, BatchInputs) and x.source.goes_on:
        raise ValueError(
            "stateful: x is an iterator, which goes on from epoch to epoch, and so do the states, which a checkpoint "
            "does not hold: leave resume out, or give a function that begins anew in each epoch"
        )


def _fitting_windows(past: int, size: int) -> str:
    """What to do."""
    whole = f"windows(.., stride={past // size}) goes with batch_size={size}" if past % size == 0 else ""
    return whole or f"windows(.., stride={past}) goes with batch_size=1; or leave stateful out"


def _check_chain(model: Trainable, option: str) -> None:
    if model._carries_states and option == "stateful":
        raise ValueError("stateful=True is for Sequential: this model carries its states anyway, leave it out")
    if not model._is_chain:
        raise ValueError(f"{option} is for Sequential, whose states can be carried on")
