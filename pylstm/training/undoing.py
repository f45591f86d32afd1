"""What a fit that fails before its first update takes back."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from .._arrays import Array
from .._interrupts import Uninterrupted
from .callbacks import Callback, is_own
from .schedules import Schedule

if TYPE_CHECKING:
    from .loop import Training


class Before:
    """What fit changes before its first update, to put back if it fails."""

    def __init__(self, training: Training, resuming: bool) -> None:
        self._training = training
        model, optimizer = training.model, training.optimizer
        self._dropout, self._remembered = model._dropout_state(), (model._loss, model._metrics)
        self._beside = model._beside()
        self._optimizer = optimizer.lr, optimizer._steps, optimizer._state
        self._own = [(c, dict(vars(c))) for c in training.callbacks if is_own(c)]
        self._params: dict[str, Array] | None = None
        if resuming:
            self._params, self._learned = model.state_dict(), [(w, w._learned) for w in model._drawn_layers()]
            self._schedule = training.schedule.state_dict()
            self._others = [(c, c.state_dict()) for c in training.callbacks]

    def restore(self) -> None:
        """Put it back."""
        model, optimizer = self._training.model, self._training.optimizer
        with Uninterrupted():
            model._set_dropout_state(self._dropout)
            model._set_beside(self._beside)
            model._loss, model._metrics = self._remembered
            optimizer.lr, optimizer._steps, optimizer._state = self._optimizer
            if self._params is not None:
                model._set_params(self._params)
                for layer, learned in self._learned:
                    layer._learned = learned
                states: list[tuple[Schedule | Callback, dict[str, Any]]] = [*self._others]
                for what, state in [*states, (self._training.schedule, self._schedule)]:
                    with contextlib.suppress(Exception):  # code of others, and there is an error to hear of already
                        what.load_state_dict(state)
            for callback, attributes in self._own:
                callback.__dict__.clear()
                callback.__dict__.update(attributes)
