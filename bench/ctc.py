"""The CTC loss with its gradient, beside PyTorch: log_softmax, ctc_loss and backward, in float32.

python bench/ctc.py [--rounds 7] [--threads 2] [--json result.json]

A process for each library, which take turns; medians, and the median of the ratios of neighbours. PyTorch at its best:
denormals flushed, logits time first, targets padded or joined, whichever is faster. Both have to agree on the value.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CASES = {  # T, N, C, S
    "digits": (150, 32, 12, 7),
    "large alphabet": (500, 16, 5000, 50),
}
Step = Callable[[], float]


def data(case: str) -> tuple[Any, Any]:
    steps, count, classes, labels = CASES[case]
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((count, steps, classes), dtype=np.float32)
    return logits, rng.integers(1, classes, (count, labels))


def ours(case: str, threads: int) -> dict[str, Step]:
    import pylstm

    pylstm.set_num_threads(threads)
    logits, targets = data(case)
    return {"pylstm": lambda: pylstm.ctc_loss(logits, targets)[0]}


def theirs(case: str, threads: int) -> dict[str, Step]:
    import torch

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    logits, targets = data(case)
    steps, count, _, labels = CASES[case]
    z = torch.tensor(logits.swapaxes(0, 1).copy(), requires_grad=True)
    padded, joined = torch.tensor(targets), torch.tensor(targets).reshape(-1)
    lengths, numbers = torch.full((count,), steps), torch.full((count,), labels)

    def step(given: Any) -> float:
        z.grad = None
        loss = torch.nn.functional.ctc_loss(z.log_softmax(-1), given, lengths, numbers)
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
        return float(loss.detach())

    return {"padded": lambda: step(padded), "joined": lambda: step(joined)}


def work(library: Callable[[str, int], dict[str, Step]], case: str, threads: int, pipe: Any) -> None:
    """Answers every message, a number of repetitions, with seconds each by way, and the value."""
    steps = library(case, threads)
    for step in steps.values():
        step(), step()
    while repeat := pipe.recv():
        found = {}
        for name, step in steps.items():
            began = time.perf_counter()
            for _ in range(repeat):
                value = step()
            found[name] = (time.perf_counter() - began) / repeat
        pipe.send((min(found.values()), value))


def contest(case: str, rounds: int, threads: int) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    sides = []
    for library in (ours, theirs):
        here, there = context.Pipe()
        process = context.Process(target=work, args=(library, case, threads, there), daemon=True)
        process.start()
        sides.append((here, process))
    repeat = max(1, 20_000_000 // int(np.prod(CASES[case][:3])) // 20)
    times, values = [], []
    for _ in range(rounds):
        answers = []
        for pipe, _ in sides:
            pipe.send(repeat)
            answers.append(pipe.recv())
        times.append([seconds for seconds, _ in answers])
        values.append([value for _, value in answers])
    for pipe, process in sides:
        pipe.send(0)
        process.join()
    mine, others = np.transpose(values)
    if not np.allclose(mine, others, rtol=1e-4):
        raise SystemExit(f"{case}: the values differ: {values[0]}")
    found = np.array(times)
    mine, others = np.median(found, axis=0)
    return {"pylstm": mine, "torch": others, "ratio": float(np.median(found[:, 1] / found[:, 0]))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    results = {}
    print(f"| T, N, C, S | pylstm, ms | PyTorch, ms | times as fast |   ({given.threads} threads)\n|---|---|---|---|")
    for case, shape in CASES.items():
        results[case] = found = contest(case, given.rounds, given.threads)
        print(
            f"| {', '.join(map(str, shape))} | {1e3 * found['pylstm']:.2f} | {1e3 * found['torch']:.2f} | "
            f"{found['ratio']:.1f} |",
            flush=True,
        )
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
