"""What fit calls before, during and after training."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from .. import _checks
from .._arrays import Array
from .._interrupts import Uninterrupted
from .._names import of_library
from ..files.paths import EXAMPLE, check_place, check_template, fill_template, fixed_folder
from ..losses.saved import larger_is_better
from . import checkpoint
from .expected import check_figure, takes
from .foreign import refuse_foreign

if TYPE_CHECKING:
    from .loop import Training


class Callback:
    """Base of the callbacks: what `fit` calls before, during and after training.

    Every method gets the training. It has: model, optimizer, epoch (from 0), epochs, logs (the figures of this epoch by
    name), history (of all epochs), error (what ended training, or None), `stop()` to end it after this epoch, and
    `save(path)` to write a checkpoint. For `end_batch` also batch (from 0), batches (of the epoch), and batch_logs (the
    "loss" of this batch and the "lr" that it was trained with).
    """

    # Who is called before whom: averages of the weights (0), whose weights the others see, and checkpoints last (2),
    # which hold what the others know of the same epoch.
    _turn: ClassVar[int] = 1

    def _check(self, training: Training) -> None:  # noqa: ARG002
        """Raises what would be raised later, before anything has begun. Changes nothing."""
        for name in ("begin", "end_batch", "end_epoch", "end"):
            takes(f"{type(self).__name__}.{name}", getattr(self, name), "training")

    def _asks_for_batches(self) -> bool:
        return type(self).end_batch is not Callback.end_batch or "end_batch" in vars(self)

    def begin(self, training: Training) -> None:
        """Before the first epoch."""

    def end_batch(self, training: Training) -> None:
        """After every update; with `truncate`, after that of every piece of a batch.

        A learning rate that is set here lasts for no batch: for one that changes from batch to batch give a schedule.
        """

    def end_epoch(self, training: Training) -> None:
        """After an epoch; `training.logs` holds its figures by name."""

    def end(self, training: Training) -> None:
        """At the very end, after Ctrl-C, too, and where an exception ends training: `training.error` is that or None.

        A fit that fails before its first update begins and ends nothing: all is as it was.
        """

    def _keeps_weights(self) -> bool:
        """Whether a checkpoint holds the model's parameters once more for it."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Numbers and arrays by name: what has to be known to go on later."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""


def _sign(monitor: str, mode: str) -> float:
    _checks.text("monitor", monitor)
    _checks.choice("mode", mode, ("auto", "min", "max"))
    return -1.0 if mode == "max" or (mode == "auto" and larger_is_better(monitor)) else 1.0


def _watched(what: object, monitor: str, logs: Mapping[str, float]) -> float:
    check_figure(what, monitor, logs)
    return logs[monitor]


class EarlyStopping(Callback):
    """Ends training when `monitor` has not got better for `patience` epochs.

    NaN is never better. Raises ValueError when training begins if there is no such figure.

    Args:
        patience: epochs, from 1.
        monitor: a figure of the history: "val_loss", "val_accuracy", "loss", ...
        min_delta: what counts as better: by more than this.
        mode: "min", "max" or "auto" ("max" for accuracy, precision, recall, f1, auc and top_5).
        restore_best: the model ends with the weights of its best epoch, also where training ends for another reason:
            Ctrl-C, or an exception once there is a best one.

    Attributes:
        best_epoch: which epoch it was, from 0; None before the first one.
    """

    def __init__(
        self,
        patience: int = 10,
        monitor: str = "val_loss",
        *,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = True,
    ) -> None:
        self.patience, self.monitor = _checks.integer("patience", patience), monitor
        self.min_delta = _checks.non_negative("min_delta", min_delta)
        self.restore_best = _checks.flag("restore_best", restore_best)
        self._sign = _sign(monitor, mode)
        self._reset()

    def _reset(self) -> None:
        self.best_epoch: int | None = None
        self._best, self._bad = math.inf, 0
        self._weights: dict[str, Array] = {}

    def _check(self, training: Training) -> None:
        super()._check(training)
        if training.names is not None:
            check_figure(self, self.monitor, training.names)

    def begin(self, training: Training) -> None:  # noqa: ARG002
        self._reset()

    def end_epoch(self, training: Training) -> None:
        value = self._sign * _watched(self, self.monitor, training.logs)
        if value < self._best - self.min_delta or (self.best_epoch is None and not math.isnan(value)):
            weights = training.model.state_dict() if self.restore_best else {}
            self._best, self._bad, self.best_epoch, self._weights = value, 0, training.epoch, weights
        else:
            self._bad += 1
        if self.is_over():
            training._stop_early()

    def is_over(self) -> bool:
        """Whether `patience` epochs have gone by without getting better."""
        return self._bad >= self.patience

    def end(self, training: Training) -> None:
        if self._weights:
            with Uninterrupted():
                training.model.load_state_dict(self._weights)

    def _keeps_weights(self) -> bool:
        return self.restore_best

    def state_dict(self) -> dict[str, Any]:
        epoch = -1 if self.best_epoch is None else self.best_epoch
        return {"best": self._best, "bad": self._bad, "best_epoch": epoch, **self._weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        weights = dict(state)
        self._best, self._bad = float(weights.pop("best")), int(weights.pop("bad"))
        epoch = int(weights.pop("best_epoch"))
        self.best_epoch, self._weights = (None if epoch < 0 else epoch), weights


class ModelCheckpoint(Callback):
    """Writes the model after every `every` epochs, with all that `fit(..., resume="auto")` needs to go on.

    `pylstm.load(path)` reads the model alone.

    Args:
        path: may hold {epoch}, counted from 1, and figures, as in "m-{epoch:03d}-{val_loss:.3f}.npz"; {{ and }} are
            braces.
        every: epochs between two files.
        best_only: write only when `monitor` got better, which NaN never is.
        monitor: a figure of the history.
        mode: "min", "max" or "auto" ("max" for accuracy, precision, recall, f1, auc and top_5).

    Raises TypeError or ValueError for a wrong argument, naming it; when training begins, ValueError for a figure that
    there is not and OSError for a folder that cannot be written to.
    """

    _turn = 2

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: int = 1,
        best_only: bool = False,
        monitor: str = "val_loss",
        mode: str = "auto",
    ) -> None:
        self.path, self.every = check_template(str(_checks.path("path", path))), _checks.integer("every", every)
        self.best_only, self.monitor = _checks.flag("best_only", best_only), monitor
        self._sign, self._best = _sign(monitor, mode), math.inf

    def _check(self, training: Training) -> None:
        super()._check(training)
        _check_writable(self.path, training)
        if self.best_only and training.names is not None:
            check_figure(self, self.monitor, training.names)

    def begin(self, training: Training) -> None:  # noqa: ARG002
        self._best = math.inf

    def end_epoch(self, training: Training) -> None:
        if (training.epoch + 1) % self.every:
            return
        before = self._best
        if self.best_only:
            value = self._sign * _watched(self, self.monitor, training.logs)
            if not value < self._best:
                return
            self._best = value
        try:
            training.save(fill_template(self.path, {**training.logs, "epoch": training.epoch + 1}))
        except BaseException:
            self._best = before
            raise

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._best = float(state["best"])


def _check_writable(path: str, training: Training) -> None:
    """Before the first epoch: the model can be saved, the figures in `path` will be there, and so is its folder.

    Raises TypeError, ValueError, ImportError or OSError. A callback of somebody's own may add figures: then only the
    epoch's end can tell.
    """
    checkpoint.check(training, fill_template(path, None))
    figures = None if training.names is None else {"epoch": int(EXAMPLE), **dict.fromkeys(training.names, EXAMPLE)}
    check_place(fill_template(path, figures), fixed=fixed_folder(path))


class _Function(Callback):
    def __init__(self, function: Callable[[int, dict[str, float]], object]) -> None:
        self.function = function

    def _check(self, training: Training) -> None:  # noqa: ARG002
        name = getattr(self.function, "__name__", repr(self.function))
        takes(f"the callback {name}", self.function, "epoch", "logs")

    def end_epoch(self, training: Training) -> None:
        if self.function(training.epoch, dict(training.logs)) is True:
            training.stop()


def as_callback(callback: object) -> Callback:
    """A plain callable (epoch, logs) becomes a Callback; returning True ends training."""
    refuse_foreign(callback)
    if isinstance(callback, Callback):
        return callback
    if not callable(callback) or isinstance(callback, type):
        raise TypeError(f"callbacks must be Callbacks or functions of (epoch, logs), got {_checks.kind(callback)}")
    return _Function(callback)


def callback_list(callbacks: object) -> list[Callback]:
    """`callbacks` as fit takes them, in the order in which they are called."""
    if isinstance(callbacks, (str, Mapping)) or not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks must be a list of callbacks, got {_checks.kind(callbacks)}: put it in brackets")
    return sorted(map(as_callback, callbacks), key=lambda one: one._turn)


def is_own(callback: Callback) -> bool:
    """Whether it is one of the library's, or a function, which cannot add figures to the logs."""
    return of_library(type(callback))
