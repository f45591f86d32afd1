"""A child process that holds one library, so that no two thread pools ever meet.

`contest.py` starts it as `worker.py MODULE THREADS` and speaks JSON with it, one object a line:

    {"do": "setup", "case": {..}, "training": .., "cell": [..] of a layer}
                    ->  {"version": .., "repeats": .., "check": {name: [..]}, ..}
    {"do": "sample"}  ->  {"seconds": per call}
    {"do": "parts"}   ->  {part: seconds}, of whole models of pylstm
    {"do": "peak", "case": {..}, "cell": [..], "training": ..}
                    ->  {"bytes": that calls add to the process, at most}

An answer {"unsupported": why} or {"error": what} stands for the ones above. Between two lines it sleeps in `readline`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import models.data
from cases import Array, Case, make_data
from cells import Cell, tell
from models.cases import ModelCase

# A sample repeats the call until it lasts this long: short enough to take turns, long enough to time.
SAMPLE_SECONDS = 0.02
WARM_CALLS, WARM_SECONDS = 3, 0.3
PATIENCE = 10.0  # seconds; who needs longer for the warm-up calls than this is warm
PEAK_CALLS = 3


def fingerprint(value: Array) -> list[float]:
    """A few numbers that two peers share only if they computed the same: projections on fixed random vectors."""
    rng = np.random.default_rng(0)
    flat = np.asarray(value, np.float64).reshape(-1)
    scale = float(np.linalg.norm(flat))
    return [scale] + [float(flat @ rng.standard_normal(flat.size)) for _ in range(3)]


def resident_bytes() -> tuple[int, int]:
    """What this process occupies now, and the most it did since `forget_peak`, or since it began."""
    try:
        words = Path("/proc/self/status").read_text(encoding="ascii").split()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        return most, most
    now, most = (int(words[words.index(name) + 1]) << 10 for name in ("VmRSS:", "VmHWM:"))
    return now, most


def forget_peak() -> None:
    """Start the peak anew, so that what an import once needed is not in it; where that cannot be, it stays."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


class Worker:
    def __init__(self, module: str, threads: int) -> None:
        # Some libraries take every core they see, whatever they are told.
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[:threads])
        self.module = importlib.import_module(module)
        self.threads = threads

    def make(self, case: dict[str, Any], training: bool, cell: list[Any] | None = None) -> Any:
        if cell is None:
            whole = ModelCase(**case)
            return self.module.Peer(whole, models.data.make_data(whole), training=training, threads=self.threads)
        made = Case(**case)
        tell(made.cell, Cell(*cell))
        return self.module.Peer(made, make_data(made), training=training, threads=self.threads)

    def setup(self, **request: Any) -> dict[str, Any]:
        self.peer = self.make(**request)
        check = {name: fingerprint(value) for name, value in self.peer.check().items()}
        calls, fastest, began = 1, math.inf, time.perf_counter()
        while (spent := time.perf_counter() - began) < PATIENCE and (calls < WARM_CALLS or spent < WARM_SECONDS):
            fastest = min(fastest, self.timed(1))
            calls += 1
        self.repeats = max(1, math.ceil(SAMPLE_SECONDS / fastest))
        answer = {"version": self.peer.version, "repeats": self.repeats, "check": check}
        answer |= self.peer.facts()
        if self.peer.formulation:
            answer["formulation"] = self.peer.formulation
        if (prediction := self.peer.prediction()) is not None:
            answer["prediction"] = prediction
        return answer

    def timed(self, repeats: int) -> float:
        run = self.peer.run
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        return (time.perf_counter() - start) / repeats

    def sample(self) -> dict[str, Any]:
        return {"seconds": self.timed(self.repeats)}

    def parts(self) -> dict[str, Any]:
        found: dict[str, float] = self.peer.parts()
        return found

    def peak(self, **request: Any) -> dict[str, Any]:
        """Memory that calls need beyond the layer and its input: results included, the library itself not."""
        peer = self.make(**request)
        forget_peak()
        before, _ = resident_bytes()
        for _ in range(PEAK_CALLS):
            peer.run()
        return {"bytes": resident_bytes()[1] - before}


def main() -> None:
    # Libraries print to stdout as they like; the answers go through a copy of it that only we know.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            worker = worker or Worker(sys.argv[1], int(sys.argv[2]))
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as error:
            kind = "unsupported" if type(error).__name__ == "Unsupported" else "error"
            answer = {kind: f"{error}" if kind == "unsupported" else f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
