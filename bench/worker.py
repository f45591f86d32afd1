"""A child process that holds one library, so that no two thread pools ever meet.

`run.py` starts it as `worker.py PEER THREADS` and speaks JSON with it, one object a line:

    {"do": "setup", "case": .., "dtype": .., "training": ..}  ->  {"version": .., "repeats": .., "check": {name: [..]}}
    {"do": "sample"}                                          ->  {"seconds": per call}

An answer {"unsupported": why} or {"error": what} stands for the ones above. Between two lines it sleeps in `readline`.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
import time
from typing import Any

import numpy as np

from cases import BY_NAME, Array, make_data

SAMPLE_SECONDS = (
    0.02  # a sample repeats the call until it lasts this long: short enough to alternate, long enough to time
)
WARM_CALLS, WARM_SECONDS = 3, 0.3
PATIENCE = 10.0  # seconds; who needs longer for the warm-up calls than this is warm


def fingerprint(value: Array) -> list[float]:
    """A few numbers that two peers share only if they computed the same: projections on fixed random vectors."""
    rng = np.random.default_rng(0)
    flat = np.asarray(value, np.float64).reshape(-1)
    scale = float(np.linalg.norm(flat))
    return [scale] + [float(flat @ rng.standard_normal(flat.size)) for _ in range(3)]


class Worker:
    def __init__(self, peer: str, threads: int) -> None:
        self.module = importlib.import_module(f"peers.{peer}_peer")
        self.threads = threads

    def setup(self, case: str, dtype: str, training: bool) -> dict[str, Any]:
        data = make_data(BY_NAME[case], dtype)
        self.peer = self.module.Peer(BY_NAME[case], data, training=training, threads=self.threads)
        check = {name: fingerprint(value) for name, value in self.peer.results(self.peer.run()).items()}
        calls, fastest, began = 1, math.inf, time.perf_counter()
        while (spent := time.perf_counter() - began) < PATIENCE and (calls < WARM_CALLS or spent < WARM_SECONDS):
            fastest = min(fastest, self.timed(1))
            calls += 1
        self.repeats = max(1, math.ceil(SAMPLE_SECONDS / fastest))
        return {"version": self.peer.version, "repeats": self.repeats, "check": check}

    def timed(self, repeats: int) -> float:
        run = self.peer.run
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        return (time.perf_counter() - start) / repeats

    def sample(self) -> dict[str, Any]:
        return {"seconds": self.timed(self.repeats)}


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
