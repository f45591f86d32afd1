"""Two libraries that train one model, each in a process of its own, taking turns epoch by epoch.

A program has a class for each library, `Library(data, epochs, threads)` with `epoch(number) -> (seconds, mean loss)`
and `figures() -> {name: number}`, and a function that makes the data; `main` does the rest.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pylstm


class Library(Protocol):
    def epoch(self, number: int) -> tuple[float, float]:
        """(seconds, mean loss)"""

    def figures(self) -> dict[str, float]:
        """Of the model as it is trained by now."""


class Child:
    """A process that trains with one library: a line in, a line of JSON out."""

    def __init__(self, library: str, args: argparse.Namespace) -> None:
        command = [sys.executable, sys.argv[0], *sys.argv[1:], "--serve", library]
        environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, what: str) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.process.args!r} has ended")
        time.sleep(0.3)  # until its threads have stopped spinning
        return json.loads(answer)


def rates(rate: float, epochs: int, steps: int) -> list[list[float]]:
    """The learning rate of every step: up in the first epoch, then down along a cosine."""
    count = steps * epochs
    return [
        [
            rate * min((i + 1) / steps, 0.5 + 0.5 * math.cos(math.pi * max(0, i - steps) / max(1, count - steps)))
            for i in range(epoch * steps, (epoch + 1) * steps)
        ]
        for epoch in range(epochs)
    ]


def fitted(
    model: Any, batches: list[Any], optimizer: pylstm.Optimizer, rates: list[float], **options: Any
) -> tuple[float, float]:
    """An epoch by pylstm: (seconds, mean loss). rates: the learning rate of every step; options: of `fit`."""
    rate = optimizer.lr
    began = time.perf_counter()
    history = model.fit(
        lambda: iter(batches), optimizer=optimizer, schedule=lambda step: rates[step] / rate,
        steps_per_epoch=len(batches), metrics=[], check_finite=False, verbose=0, **options,
    )  # fmt: skip
    return time.perf_counter() - began, history["loss"][0]


def main(
    parser: argparse.ArgumentParser,
    libraries: dict[str, Callable[[Any, int, int], Library]],
    data: Callable[[argparse.Namespace], Any],
) -> None:
    """parser: with the program's own arguments and `--epochs`. data: makes what a library is given."""
    parser.add_argument("--threads", type=int, default=pylstm.get_num_threads())
    parser.add_argument("--json", type=Path, help="where all figures go")
    parser.add_argument("--serve", choices=libraries, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        library = libraries[args.serve](data(args), args.epochs, args.threads)
        for line in sys.stdin:
            answer = library.figures() if line.strip() == "figures" else library.epoch(int(line))
            print(json.dumps(answer), flush=True)
        return
    ours, theirs = libraries
    children = {name: Child(name, args) for name in libraries}
    seconds: dict[str, list[float]] = {name: [] for name in libraries}
    losses: dict[str, list[float]] = {name: [] for name in libraries}
    for epoch in range(args.epochs):
        for name in sorted(children, reverse=epoch % 2 == 1):
            took, loss = children[name].ask(str(epoch))
            seconds[name].append(took)
            losses[name].append(loss)
        print(f"epoch {epoch + 1}: " + ", ".join(f"{name} {seconds[name][-1]:.2f} s loss {losses[name][-1]:.4f}"
                                                 for name in children), flush=True)  # fmt: skip
    ratios = [b / a for a, b in zip(seconds[ours], seconds[theirs], strict=True)]
    ratios = ratios[1:] or ratios  # the first epoch warms up
    own, other = (statistics.median(seconds[name]) for name in (ours, theirs))
    print(f"an epoch: {ours} {own:.2f} s, {theirs} {other:.2f} s; {theirs} / {ours} {statistics.median(ratios):.2f} "
          f"({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip
    figures = {name: child.ask("figures") for name, child in children.items()}
    for name, found in figures.items():
        print(name, ", ".join(f"{key} {value:{'.3f' if value < 1 else '.1f'}}" for key, value in found.items()))
    if args.json:
        document = {"seconds": seconds, "losses": losses, "figures": figures, "threads": args.threads}
        args.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
