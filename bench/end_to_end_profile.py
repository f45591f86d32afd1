"""Where a training step of pylstm spends its time: its parts are wrapped with a clock, and the rest is Python."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any
from unittest import mock

RECURRENT = "recurrent layer"


class Clock:
    """Seconds by name, each without what was called inside and has a name of its own."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inside = [0.0]

    def wrap(self, name: str, function: Callable[..., Any], *, backward: bool = False) -> Callable[..., Any]:
        """`function`, timed; with `backward`, so is the function that it returns as its second result."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inside.append(0.0)
            began = time.perf_counter()
            try:
                result = function(*args, **kwargs)
            finally:
                spent = time.perf_counter() - began
                self.seconds[name] += spent - self._inside.pop()
                self._inside[-1] += spent
            if not backward:
                return result
            y, back, *rest = result
            return (y, self.wrap(f"{name} backward", back), *rest)

        return timed


def profile(peer: Any, size: int) -> dict[str, float]:
    """Seconds of one part by name; "total" is all of it."""
    from pylstm.training import data, optimizer
    from pylstm.training import loop as training

    clock = Clock()
    with (
        mock.patch.object(data.Sequences, "batch", clock.wrap("batches", data.Sequences.batch)),
        mock.patch.object(optimizer.Optimizer, "step", clock.wrap("optimizer", optimizer.Optimizer.step)),
        mock.patch.object(training.Running, "add", clock.wrap("metrics", training.Running.add)),
        mock.patch.object(training, "Training", _with_timed_loss(training.Training, clock)),
    ):
        parts = peer.model.layers
        for part in parts:
            kind = RECURRENT if part.returns_state else type(part).__name__
            part.__dict__["vjp"] = clock.wrap(kind, part.vjp, backward=True)
        try:
            clock.seconds["total"] = clock.wrap("python", peer.part)(size)[0]
        finally:
            for part in parts:
                del part.__dict__["vjp"]
    return dict(clock.seconds)


def _with_timed_loss(kind: Any, clock: Clock) -> Callable[..., Any]:
    def make(*args: Any, **kwargs: Any) -> Any:
        run = kind(*args, **kwargs)
        run.loss = clock.wrap("loss", run.loss)
        return run

    return make


def show(seconds: dict[str, float], batches: int) -> float:
    """Print the parts, largest first. Returns the share outside the recurrent layer."""
    total = seconds["total"]
    outside = total - seconds[RECURRENT] - seconds[f"{RECURRENT} backward"]
    parts = sorted(((name, value) for name, value in seconds.items() if name != "total"), key=lambda part: -part[1])
    for name, value in [*parts, ("total", total), ("outside the recurrent layer", outside)]:
        print(f"    {name:<27} {value / batches * 1e3:8.2f} ms a batch {value / total:7.1%}", flush=True)
    return outside / total
