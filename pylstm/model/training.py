"""The loop of fit: batches, updates, validation, callbacks, and going on where a checkpoint ended."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks
from .._arrays import Array
from .callbacks import Callback, ModelCheckpoint, as_callback
from .containers import Container
from .data import Indices, Sequences, Targets
from .losses import Loss, LossFunction
from .metrics import Metric
from .optimizer import Optimizer
from .progress import Interrupts, Progress
from .schedules import Schedule

if TYPE_CHECKING:
    from .sequential import Sequential

_ORDER, _DROPOUT = 0, 1  # what the streams of random numbers are for


class Running:
    """The mean loss and metrics over batches."""

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self.metrics = metrics
        self.sums = {name: [0.0, 0.0] for name in ("loss", *metrics)}

    def add(self, loss: Loss, y: Array, targets: Array, lengths: Indices | None) -> None:
        self.sums["loss"][0] += loss.total
        self.sums["loss"][1] += loss.weight
        for name, metric in self.metrics.items():
            total, count = metric(y, targets, lengths)
            self.sums[name][0] += total
            self.sums[name][1] += count

    def means(self) -> dict[str, float]:
        return {name: total / count if count else 0.0 for name, (total, count) in self.sums.items()}


def evaluate(
    model: Sequential, x: Sequences, y: Targets, size: int, loss: LossFunction, metrics: Mapping[str, Metric]
) -> dict[str, float]:
    """The mean loss and metrics over all of x."""
    running = Running(metrics)
    for rows in x.sorted_batches(size):
        inputs, lengths = x.batch(rows)
        targets = y.batch(rows, inputs.shape[1] if inputs.ndim > 1 else 0)
        outputs = model(inputs, lengths=lengths)
        lens = lengths if model.keeps_time else None
        running.add(loss(outputs, targets, lens, need_gradient=False), outputs, targets, lens)
    return running.means()


class Training:
    """One run of fit. Callbacks see model, optimizer, epoch, logs, history; `stop()` and `save(path)`."""

    def __init__(
        self,
        model: Sequential,
        optimizer: Optimizer,
        loss: LossFunction,
        metrics: Mapping[str, Metric],
        schedule: Schedule,
        callbacks: Iterable[object],
        *,
        seed: int | None,
        clip_norm: float | None,
        clip_value: float | None,
        truncate: int | None,
    ) -> None:
        self.model, self.optimizer, self.loss, self.metrics = model, optimizer, loss, metrics
        self.schedule = schedule
        # checkpoints last: they hold what the other callbacks know of the same epoch
        self.callbacks: list[Callback] = sorted(map(as_callback, callbacks), key=lambda c: type(c) is ModelCheckpoint)
        self.clip_norm, self.clip_value, self.truncate = clip_norm, clip_value, truncate
        if truncate is not None:
            check_truncation(model)
        self._before = model._dropout_state(), model._loss, model._metrics  # for a resume that fails
        self.entropy = int(np.random.SeedSequence().entropy) if seed is None else seed  # type: ignore[arg-type]
        if seed is not None:
            model._seed_dropout(np.random.SeedSequence(seed, spawn_key=(_DROPOUT,)))
        self.rate = optimizer.lr  # the schedule's factor multiplies it
        self.epoch, self.logs = 0, dict[str, float]()
        self.history: dict[str, list[float]] = {}
        self._stopped = False

    def stop(self) -> None:
        """End training after this epoch."""
        self._stopped = True

    def save(self, path: str) -> None:
        """Write a checkpoint: the model, and all that is needed to go on after this epoch."""
        from . import checkpoint, saving

        saving.save(self.model, path, training=checkpoint.capture(self))

    def run(
        self,
        x: Sequences,
        y: Targets,
        validation: tuple[Sequences, Targets] | None,
        *,
        batch_size: int,
        epochs: int,
        shuffle: bool,
        verbose: int,
        resume: Any = None,
    ) -> dict[str, list[float]]:
        progress = Progress(verbose, epochs)
        for callback in self.callbacks:
            callback.begin(self)
        first = 0
        if resume is not None:
            from . import checkpoint

            first = checkpoint.restore(self, resume)
        try:
            with Interrupts() as interrupts:
                for self.epoch in range(first, epochs):
                    began = time.perf_counter()
                    rng = np.random.default_rng(np.random.SeedSequence(self.entropy, spawn_key=(_ORDER, self.epoch)))
                    batches = x.batches(batch_size, rng if shuffle else None)
                    progress.begin_epoch(self.epoch, len(batches))
                    running = self._epoch(x, y, batches, progress, interrupts)
                    if interrupts.asked:
                        progress.say(f"interrupted in epoch {self.epoch + 1}: the model is as the last batch left it")
                        break
                    self.logs = running.means()
                    if validation is not None:
                        figures = evaluate(self.model, *validation, batch_size, self.loss, self.metrics)
                        self.logs.update({f"val_{name}": value for name, value in figures.items()})
                    self.logs.update(lr=self.optimizer.lr, seconds=time.perf_counter() - began)
                    for name, value in self.logs.items():
                        self.history.setdefault(name, []).append(value)
                    self.optimizer.lr = self.rate  # a checkpoint holds the rate itself, not times a factor
                    self.schedule.end_epoch(self.logs)
                    progress.end_epoch(self.epoch, self.logs)
                    for callback in self.callbacks:
                        callback.end_epoch(self)
                    self.rate = self.optimizer.lr  # a callback may have changed it
                    if self._stopped or interrupts.asked:
                        break
        finally:
            self.optimizer.lr = self.rate
            progress.close()
        for callback in self.callbacks:
            callback.end(self)
        return self.history

    def _epoch(
        self, x: Sequences, y: Targets, batches: list[Indices], progress: Progress, interrupts: Interrupts
    ) -> Running:
        running = Running(self.metrics)
        for number, rows in enumerate(batches):
            self.optimizer.lr = self.rate * self.schedule.factor(self.epoch, number, len(batches))
            inputs, lengths = x.batch(rows)
            targets = y.batch(rows, inputs.shape[1] if inputs.ndim > 1 else 0)
            if self.truncate is None:
                self._batch(running, inputs, targets, lengths, None)
            else:
                self._chunks(running, inputs, targets, lengths, self.truncate)
            total, weight = running.sums["loss"]
            progress.batch(total / weight if weight else 0.0)
            if interrupts.asked:
                break
        return running

    def _chunks(self, running: Running, x: Array, y: Array, lengths: Indices | None, size: int) -> None:
        """Truncated back-propagation through time (Williams & Peng 1990): an update after every `size` steps, through
        which gradients flow; the states go on from chunk to chunk."""
        state = None
        for start in range(0, x.shape[1], size):
            piece = slice(start, start + size)
            inputs = x[:, piece]
            lens = None if lengths is None else np.clip(lengths - start, 0, inputs.shape[1])
            state = self._batch(running, inputs, y[:, piece], lens, state)

    def _batch(self, running: Running, x: Array, targets: Array, lengths: Indices | None, state: Any) -> Any:
        outputs, backward, state = self.model._forward_from(x, lengths, False, state)
        lens = lengths if self.model.keeps_time else None
        loss = self.loss(outputs, targets, lens)
        if not math.isfinite(loss.total):
            raise FloatingPointError(
                f"the loss became {loss.total} in epoch {self.epoch + 1}; the model is as before that batch. "
                "A lower learning rate or clip_norm=1.0 may help; so may a look at the data for NaN."
            )
        running.add(loss, outputs, targets, lens)
        assert loss.gradient is not None
        _, grads = backward(loss.gradient)
        self.optimizer.step(self.model, grads, clip_norm=self.clip_norm, clip_value=self.clip_value)
        return state


def check_truncation(model: Sequential) -> None:
    """Truncated back-propagation needs one output per step and layers that read forwards only."""
    if not model.keeps_time:
        raise ValueError("truncate needs a model with one output per step: a pooling layer needs the whole sequence")

    def check(layer: Any) -> None:
        if getattr(layer, "bidirectional", False):
            raise ValueError(f"truncate cannot carry a state through {layer!r}, which reads from both ends")
        if isinstance(layer, Container):
            for inner in layer.layers:
                check(inner)

    check(model)


def batch_arguments(batch_size: object, epochs: object, verbose: object) -> tuple[int, int, int]:
    """The numbers fit takes, checked."""
    return (
        _checks.integer("batch_size", batch_size),
        _checks.integer("epochs", epochs, minimum=0),
        int(verbose) if isinstance(verbose, bool) else _checks.integer("verbose", verbose, minimum=0),
    )
