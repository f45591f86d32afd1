"""The loop of fit: batches, updates, validation, callbacks, and going on where a checkpoint ended."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks
from .._interrupts import Interrupts
from .._warn import warn
from ..files import saving
from ..losses.by_name import fitted, sampling
from ..losses.loss import Loss
from ..losses.loss_function import LossFunction
from . import checkpoint, resuming
from .averaging import averaged, go_on
from .batches import BatchInputs
from .callbacks import Callback, EarlyStopping, ModelCheckpoint, callback_list, is_own
from .carrying import Carried, check_resumed, check_stateful, check_truncation
from .checks import before_batches, before_training
from .counted import Indices
from .data import AllTargets, Batch, Inputs
from .evaluation import Running, asked_for, evaluate, hand_labels
from .gradients import all_finite
from .metrics import Metric
from .optimizer import Optimizer
from .progress import Progress
from .schedules import Schedule, rate_at
from .under_way import under_way
from .undoing import Before
from .updates import Piece, Reduce, Summed, of_sum, pieces_of

if TYPE_CHECKING:
    from ..models.trainable import Trainable

_ORDER, _DROPOUT, _SAMPLES = 0, 1, 2  # what the streams of random numbers are for


class Training:
    """One run of fit. Callbacks see what `Callback` lists."""

    def __init__(
        self,
        model: Trainable,
        optimizer: Optimizer,
        loss: LossFunction,
        metrics: Mapping[str, Metric],
        schedule: Schedule,
        callbacks: Iterable[object],
        *,
        remembered: tuple[Any, Any],
        seed: int | None,
        clip_norm: float | None,
        clip_value: float | None,
        truncate: int | None,
        stateful: bool = False,
        reduce: Reduce | None = None,
        micro: int | None = None,
    ) -> None:
        self.model, self.optimizer, self.loss, self.metrics = model, optimizer, loss, metrics
        self.schedule, self.drawn = schedule, sampling(loss)
        self.trained_metrics = {} if self.drawn else metrics  # of all classes, which such a loss does without
        self.callbacks: list[Callback] = callback_list(callbacks)
        self.clip_norm = None if clip_norm is None else _checks.positive("clip_norm", clip_norm)
        self.clip_value = None if clip_value is None else _checks.positive("clip_value", clip_value)
        if reduce is not None and not callable(reduce):
            raise TypeError(f"reduce must be a function (grads, weight), got {_checks.kind(reduce)}")
        self.truncate, self.stateful, self.reduce, self.micro = truncate, stateful, reduce, micro
        if truncate is not None:
            if loss.without_places:
                raise ValueError("truncate needs a target for each step, and the loss is ctc")
            check_truncation(model)
        if micro is not None and (truncate is not None or stateful):
            raise ValueError(f"micro_batch_size and {'stateful' if stateful else 'truncate'}: only one of them")
        self._per_batch = [one for one in self.callbacks if one._asks_for_batches()]
        self.entropy = int(np.random.SeedSequence().entropy) if seed is None else seed  # type: ignore[arg-type]
        self._seeded, self._remembered = seed is not None, remembered
        self.rate = _checks.non_negative("the optimizer's lr", optimizer.lr)  # the schedule's factor multiplies it
        self.epoch, self.logs = 0, dict[str, float]()
        self.epochs = self.batch = self.batches = 0
        self.batch_logs: dict[str, float] = {}
        self.history: dict[str, list[float]] = {}
        self.figures: list[str] = []  # of an epoch: their names
        self.names: list[str] | None = None  # the same, where nobody may add others
        self.error: BaseException | None = None  # what ended training, if an exception did
        self.first_rate = self.rate  # with which the training began
        self._stopped = self._ended = False  # ended: for good, by another than EarlyStopping
        self._stepped = self._within = False  # within an epoch, where callbacks see it
        self._source: resuming.Source | None = None
        self._carried: Carried | None = None
        self._finite: list[str] = []  # parameters that were finite when training began

    def stop(self) -> None:
        """End training after this epoch. Resumed from a checkpoint of it or of a later one, it adds nothing."""
        self._stopped = self._ended = True

    def _stop_early(self) -> None:
        """The same by a callback that says itself, when training is resumed, whether it is over."""
        self._stopped = True

    def save(self, path: str) -> None:
        """Write a checkpoint: the model, and all that is needed to go on after this epoch.

        Raises ValueError in the middle of an epoch, in `end_batch`.
        """
        if self._within:
            raise ValueError(
                "a checkpoint is of the end of an epoch: in end_batch, training.model.save writes the model"
            )
        saving.save(self.model, path, training=checkpoint.capture(self))

    def run(
        self,
        x: Inputs,
        y: AllTargets,
        validation: tuple[Inputs, AllTargets] | None,
        *,
        batch_size: int,
        epochs: int,
        shuffle: bool,
        verbose: int,
        resume: Any = None,
        check_finite: bool = True,
    ) -> dict[str, list[float]]:
        if resume is not None:
            _checks.path("resume", resume)
        self.figures = ["loss", *self.trained_metrics]
        self.figures += [f"val_{name}" for name in ("loss", *self.metrics)] if validation is not None else []
        self.figures += ["lr", "seconds"]
        self.epochs = epochs
        if isinstance(x, BatchInputs):
            batch_size = len(x)  # of the first one, and what others are is not known
        elif self.micro is not None and self.micro >= batch_size:
            self.micro = None
        size = self.micro or batch_size  # of what is computed together
        self.model._check_batches(x, size)
        if validation is not None:
            self.model._check_batches(validation[0], size)
        if self.stateful:
            check_stateful(self.model, x, batch_size)
            check_resumed(x, resume)
            if validation is not None:
                check_stateful(self.model, validation[0], batch_size, "x of validation_data")
        if all(map(is_own, self.callbacks)):  # others may add figures
            self.names = self.figures
        form = before_training(self, x, y, validation, size, check_finite=check_finite, resuming=resume is not None)
        hand_labels(self.model, x, y, size, self.loss, form)
        before_batches(self, x, validation, form, check_finite=check_finite)
        progress = Progress(verbose, epochs)
        before, updates = Before(self, resume is not None), self.optimizer._updates
        with Interrupts() as interrupts, under_way(self.model):
            try:
                try:
                    first = self._begin(resume)
                    last = first if self._stopped or interrupts.asked else epochs
                    if self._source is not None:
                        resuming.tell(self, self._source, resume == "auto", epochs, progress)
                    for self.epoch in range(first, last):
                        rng = np.random.default_rng(
                            np.random.SeedSequence(self.entropy, spawn_key=(_ORDER, self.epoch))
                        )
                        if self.drawn:
                            key = (_SAMPLES, self.epoch)
                            self.drawn.begin_epoch(np.random.SeedSequence(self.entropy, spawn_key=key))
                        order = rng if shuffle and not (self.stateful or self.model._carries_states) else None
                        batches = x.batches(batch_size, order, self.epoch)
                        self._one_epoch(x, y, batches, validation, size, progress, interrupts)
                        if self._stopped or interrupts.asked:
                            break
                finally:
                    self.optimizer.lr = self.rate
                    progress.close()
            except BaseException as error:
                self.error = error
                if self._unchanged(updates):
                    before.restore()
                else:
                    try:
                        self._end()
                    except Exception as other:  # the first error is the one to hear of
                        with contextlib.suppress(Warning):  # where warnings are errors
                            warn(f"a callback failed at the end, too: {type(other).__name__}: {other}")
                raise
            try:
                self._end()
            except BaseException:
                if self._unchanged(updates):  # a resume behind the last epoch
                    before.restore()
                raise
        return self.history

    def _begin(self, resume: Any) -> int:
        """All that changes before the first batch; returns the first epoch."""
        if self._seeded:
            self.model._seed_dropout(np.random.SeedSequence(self.entropy, spawn_key=(_DROPOUT,)))
        self.model._loss, self.model._metrics = self._remembered
        for callback in self.callbacks:
            callback.begin(self)
        first = 0
        written = [callback.path for callback in self.callbacks if isinstance(callback, ModelCheckpoint)]
        self._source = None if resume is None else resuming.find(self, resume, written)
        if self._source is not None:
            first = checkpoint.restore(self, self._source)
            go_on(self)
            # as it would have been without the interruption
            self._stopped = self._ended or any(isinstance(c, EarlyStopping) and c.is_over() for c in self.callbacks)
        with np.errstate(over="ignore", invalid="ignore"):
            self._finite = [name for name, value in self.model.params.items() if all_finite(value)]
        return first

    def _one_epoch(
        self,
        x: Inputs,
        y: AllTargets,
        batches: list[Indices],
        validation: tuple[Inputs, AllTargets] | None,
        size: int,
        progress: Progress,
        interrupts: Interrupts,
    ) -> None:
        began = time.perf_counter()
        progress.begin_epoch(self.epoch, len(batches))
        with x.naming():
            running = self._epoch(x, y, batches, progress, interrupts)
        if broken := self._broken():
            raise FloatingPointError(
                f"an update of epoch {self.epoch + 1} made {broken} overflow: the learning rate is far too high"
            )
        if interrupts.asked:
            progress.say(f"interrupted in epoch {self.epoch + 1}: the model is as the last batch left it")
            return
        self.logs = running.means()
        with averaged(self):
            self._end_epoch(validation, size, progress, began)

    def _end_epoch(
        self, validation: tuple[Inputs, AllTargets] | None, size: int, progress: Progress, began: float
    ) -> None:
        if validation is not None:
            figures = evaluate(self.model, *validation, size, self.loss, self.metrics, stateful=self.stateful)
            self.logs.update({f"val_{name}": value for name, value in figures.items()})
        self.logs.update(lr=self.optimizer.lr, seconds=time.perf_counter() - began)
        for name, value in self.logs.items():
            self.history.setdefault(name, []).append(value)
        self.optimizer.lr = self.rate  # a checkpoint holds the rate itself, not times a factor
        self.schedule.end_epoch(self.logs)
        progress.end_epoch(self.epoch, self.logs)
        for callback in self.callbacks:
            callback.end_epoch(self)
        # a callback may have changed it
        self.rate = _checks.non_negative("the optimizer's lr, which a callback set,", self.optimizer.lr)

    def _end(self) -> None:
        """Every callback's end; the first error of one of them is raised when all have been called."""
        errors: list[BaseException] = []
        for callback in self.callbacks:
            try:
                callback.end(self)
            except BaseException as error:  # noqa: PERF203
                errors.append(error)
        if errors:
            raise errors[0]

    def _unchanged(self, updates: int) -> bool:
        """Whether there has been no update since the optimizer had counted so many. One of somebody's own, whose `step`
        counts nothing, is known by having come back."""
        return self.optimizer._updates == updates and not self._stepped

    def _broken(self) -> str | None:
        """The name of a parameter that is not finite, and was so before training."""
        params = self.model.params
        with np.errstate(over="ignore", invalid="ignore"):
            return next((name for name in self._finite if not all_finite(params[name])), None)

    def _epoch(
        self, x: Inputs, y: AllTargets, batches: list[Indices], progress: Progress, interrupts: Interrupts
    ) -> Running:
        running, carried = Running(self.loss, self.trained_metrics), self._carried
        if carried is None or not (isinstance(x, BatchInputs) and x.source.goes_on):
            carried = self._carried = Carried(self.stateful)
        for number, rows in enumerate(batches):
            self.optimizer.lr = rate_at(self.schedule, self.rate, self.epoch, number, len(batches))
            self.batch, self.batches = number, len(batches)
            state = carried.before(len(rows))
            if self.truncate is None:
                carried.after(self._update(running, pieces_of(x, y, rows, self.micro), state))
            else:
                carried.after(self._chunks(running, x, y, rows, self.truncate, state))
            total, weight = running.sums["loss"]
            progress.batch(total / weight if weight else 0.0)
            if interrupts.asked:
                break
        return running

    def _chunks(self, running: Running, x: Inputs, y: AllTargets, rows: Indices, size: int, state: Any) -> Any:
        """Truncated back-propagation through time (Williams & Peng 1990): an update after every `size` steps, through
        which gradients flow; the states go on from chunk to chunk. Returns those after the last one."""
        batch = x.batch(rows)
        array, (targets, own) = batch.first, y.batch(rows, batch.steps)
        for start in range(0, array.shape[1], size):
            piece = slice(start, start + size)
            inputs = array[:, piece]
            lens, rest = (
                None if lengths is None else np.clip(lengths - start, 0, inputs.shape[1])
                for lengths in (batch.lengths, own)
            )
            state = self._update(running, [(Batch((inputs,), {}, lens), targets[:, piece], rest)], state)
        return state

    def _update(self, running: Running, pieces: Iterable[Piece], state: Any) -> Any:
        """One update: of a batch, or of the pieces that it is cut into. Returns the state after the last of them."""
        model, optimizer = self.model, self.optimizer
        masks, beside, updates = model._dropout_state(), model._beside(), optimizer._updates
        summed = None if self.micro is None and self.reduce is None else Summed()
        try:
            for piece in pieces:
                loss, grads, after = self._gradients(running, piece, state, summed is not None)
                if summed is not None:
                    summed.add(grads, loss)
            if summed is not None:
                grads = summed.mean(self.reduce, self._about)
            optimizer.step(model, grads, clip_norm=self.clip_norm, clip_value=self.clip_value)
            self._stepped = True
        except BaseException:
            if optimizer._updates == updates:  # a Ctrl-C may come right behind the update
                model._set_dropout_state(masks)
                model._set_beside(beside)
            raise
        if self._per_batch:
            self.batch_logs = {"loss": loss.mean if summed is None else summed.loss, "lr": optimizer.lr}
            self._within = True
            try:
                for callback in self._per_batch:
                    callback.end_batch(self)
            finally:
                self._within = False
        return after

    def _gradients(self, running: Running, piece: Piece, state: Any, summed: bool) -> tuple[Loss, dict[str, Any], Any]:
        """Of the mean loss, or of the summed one. What the backward pass needs is free when this returns."""
        batch, targets, own = piece
        outputs, backward, after = self.model._trained(batch, state, running.deferred)
        lens, more = asked_for(self.model, batch, own, self.loss)
        targets = fitted(self.loss, outputs, targets, lens, own)
        loss = self.loss(outputs, targets, lens, need_largest=running.need_largest, more=more)
        if self.reduce is None and not math.isfinite(loss.total):
            raise FloatingPointError(self._about(loss.total))
        running.add(loss, outputs, targets, lens)
        return loss._replace(gradient=None), backward(of_sum(loss) if summed else loss.gradient), after

    def _about(self, total: float) -> str:
        text = f"the loss became {total} in epoch {self.epoch + 1}; the model is as before that batch"
        if broken := self._broken():
            return f"{text}, but {broken} has overflowed in an update before: the learning rate is far too high"
        return f"{text}. A lower learning rate or clip_norm=1.0 may help; so may a look at the data for NaN."


def batch_arguments(batch_size: object, epochs: object, verbose: object) -> tuple[int, int, int]:
    """The numbers fit takes, checked."""
    return (
        _checks.integer("batch_size", batch_size),
        _checks.integer("epochs", epochs, minimum=0),
        int(verbose) if isinstance(verbose, bool) else _checks.integer("verbose", verbose, minimum=0),
    )
