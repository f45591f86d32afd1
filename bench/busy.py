"""Training small models on a busy machine: with one thread and with all, alone and with busy programs beside it.

    python bench/busy.py                             # 0 and 2 busy processes, all cores of this machine
    python bench/busy.py --busy 0,1,2,4 --rounds 9

A busy process is a loop that never rests. Printed are milliseconds of a training step (medians of samples of a second)
of pylstm and PyTorch, with one thread and with `--threads`; they take turns, and rest in between until the other's
threads have stopped spinning. A step is that of `fit` without metrics: forward, loss, backward, Adam.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from products import Child

# sequences, steps, inputs, hidden units, layers
MODELS = {
    "small, 32 x 24 x 8 -> 32": (32, 24, 8, 32, 1),
    "classifier, 32 x 100 x 16 -> 64": (32, 100, 16, 64, 1),
    "series, 32 x 96 x 7 -> 2 x 64": (32, 96, 7, 64, 2),
    "large, 64 x 50 x 64 -> 256": (64, 50, 64, 256, 1),
}
SAMPLE_SECONDS = 1.0
LIBRARIES = ["pylstm", "torch"]

Steps = Callable[[int], Any]  # trains so many steps


def data(name: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    batch, steps, inputs, _, _ = MODELS[name]
    rng = np.random.default_rng(0)
    shapes = (batch, steps, inputs), (batch, 1)
    x, y = (rng.standard_normal(shape, dtype=np.float32) for shape in shapes)
    return x, y


def pylstm_steps(name: str, threads: int) -> Steps:
    import pylstm

    pylstm.set_num_threads(threads)
    batch, _, inputs, hidden, layers = MODELS[name]
    lstm = pylstm.LSTM(inputs, hidden, layers, batch_first=True, seed=0)
    model = pylstm.Sequential([lstm, pylstm.LastStep(), pylstm.Linear(hidden, 1, seed=0)])
    x, y = data(name)
    optimizer = pylstm.Adam(1e-3)

    def run(count: int) -> None:
        many = [np.concatenate([part] * count) for part in (x, y)]
        model.fit(*many, loss="mse", optimizer=optimizer, batch_size=batch, shuffle=False, metrics=[], verbose=0)

    return run


def torch_steps(name: str, threads: int) -> Steps:
    import torch

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    _, _, inputs, hidden, layers = MODELS[name]
    lstm, head = torch.nn.LSTM(inputs, hidden, layers, batch_first=True), torch.nn.Linear(hidden, 1)
    optimizer = torch.optim.Adam([*lstm.parameters(), *head.parameters()], foreach=True)
    x, y = map(torch.from_numpy, data(name))

    def run(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            loss: Any = torch.nn.functional.mse_loss(head(lstm(x)[0][:, -1]), y)
            loss.backward()
            optimizer.step()

    return run


def serve(library: str, threads: int) -> None:
    """The child: a line [model] in, the seconds of a step out."""
    made: dict[str, tuple[Steps, int]] = {}
    for line in sys.stdin:
        (name,) = json.loads(line)
        if name not in made:
            run = (pylstm_steps if library == "pylstm" else torch_steps)(name, threads)
            run(3)
            began = time.perf_counter()
            run(5)
            made[name] = run, max(1, round(SAMPLE_SECONDS / 5 / (time.perf_counter() - began) * 5))
        run, count = made[name]
        began, done = time.perf_counter(), 0
        while (seconds := time.perf_counter() - began) < SAMPLE_SECONDS:
            run(count)
            done += count
        print(seconds / done, flush=True)


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that never rest, meanwhile."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--busy", default="0,2", help="how many busy processes, with commas (default: 0,2)")
    parser.add_argument("--libraries", default=",".join(LIBRARIES), help="with commas (default: both)")
    parser.add_argument("--serve", choices=LIBRARIES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.threads)
        return
    counts = sorted({1, args.threads})
    children = {(library, n): Child(__file__, library, n) for library in args.libraries.split(",") for n in counts}
    for name in MODELS:
        for processes in map(int, args.busy.split(",")):
            times: dict[tuple[str, int], list[float]] = {key: [] for key in children}
            with busy(processes):
                for _ in range(args.rounds):
                    for key, child in children.items():
                        times[key].append(child.sample(name))
            shown = (f"{who} {n}: {statistics.median(t) * 1e3:7.2f}" for (who, n), t in times.items())
            print(f"{name:<32} {processes} busy, ms a step by threads: {'   '.join(shown)}", flush=True)
    for child in children.values():
        child.end()


if __name__ == "__main__":
    main()
