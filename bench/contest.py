"""Libraries that take turns, each in a process of its own; and what their samples amount to."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from cases import Case
from models.cases import ModelCase

HERE = Path(__file__).resolve().parent
PEERS = {  # name -> the modules it needs
    "pylstm": ["pylstm"],
    "torch": ["torch"],
    "onnxruntime": ["onnx", "onnxruntime"],
    "openvino": ["onnx", "openvino"],
    "keras": ["keras", "tensorflow"],
    "jax": ["jax"],
    "reference": ["pylstm"],
}
# After a sample its library rests: until its idle threads have stopped spinning, which takes OpenBLAS a tenth of a
# second, or would take for ever.
REST, LONGEST_REST = 0.01, 0.5
IDLE = 2e-4  # seconds of computing in a REST

Row = dict[str, Any]  # peer, samples, and what `finish` makes of them; or unsupported, or error


@dataclass(frozen=True)
class Entry:
    """Who takes part, and with what."""

    peer: str
    case: Case | ModelCase
    training: bool
    threads: int

    def start(self) -> Child:
        return Child(self.peer, self.threads, self.case.room)


class Child:
    """The parent's end of one worker."""

    def __init__(self, peer: str, threads: int, room: str = Case.room) -> None:
        count = str(threads)
        names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYLSTM_NUM_THREADS"]
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), f"{room}.{peer}_peer", count],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("PYLSTM_BENCH_DEBUG") else subprocess.DEVNULL,
            text=True,
            env=os.environ | dict.fromkeys(names, count),
        )

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            return {"error": f"the process ended ({self.process.wait()})"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def computed(self) -> float:
        """Seconds that its threads have run, 0 where that is not told."""
        total = 0
        for path in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError, IndexError):  # a thread that has just ended
                total += int(path.read_text(encoding="ascii").split()[0])
        return total * 1e-9

    def rest(self) -> None:
        """Wait until it computes no longer."""
        before = self.computed()
        for _ in range(round(LONGEST_REST / REST)):
            time.sleep(REST)
            now = self.computed()
            if now - before < IDLE:
                break
            before = now

    def close(self) -> None:
        self.process.communicate()  # closes its stdin, which ends it


def told(case: Case | ModelCase) -> dict[str, Any]:
    """What a worker has to know of a case."""
    if isinstance(case, ModelCase):
        return {"case": asdict(case)}
    return {"case": asdict(case), "cell": case.about}


def disagreement(mine: dict[str, list[float]], other: dict[str, list[float]], tolerance: float) -> str:
    """The first result that two peers do not share, or an empty string."""
    for name in mine.keys() & other.keys():
        scale = max(mine[name][0], 1e-30)
        if not all(abs(a - b) <= tolerance * scale for a, b in zip(mine[name], other[name], strict=True)):
            return name
    return ""


def compete(entries: list[Entry], repeats: int, between: Callable[[], None] | None = None) -> list[Row]:
    """One row per entry; `between` is called in every round, while all of them rest. Processes are new for every
    contest: no case inherits another's memory or warmth. Entries of one case have to agree on the results."""
    children = [entry.start() for entry in entries]
    rows: list[Row] = []
    try:
        for child, entry in zip(children, entries, strict=True):
            answer = child.ask("setup", **told(entry.case), training=entry.training)
            rows.append({"peer": entry.peer, "samples": [], **answer})
            child.rest()
        agreed: dict[Case | ModelCase, Row] = {}
        for row, entry in zip(rows, entries, strict=True):
            if "check" in row:
                first = agreed.setdefault(entry.case, row)
                if name := disagreement(first["check"], row["check"], entry.case.tolerance):
                    row["error"] = f"its {name} differs from {first['peer']}'s"
        turn = [(child, row) for child, row in zip(children, rows, strict=True) if "check" in row]
        turn = [(child, row) for child, row in turn if "error" not in row]
        for number in range(repeats):
            if between is not None:
                between()
                time.sleep(REST)
            begin = number % max(1, len(turn))  # what comes before a sample may slow it down: all have their turn there
            for child, row in turn[begin:] + turn[:begin]:
                answer = child.ask("sample")
                child.rest()
                if "seconds" in answer:
                    row["samples"].append(answer["seconds"])
                else:
                    row |= answer
    finally:
        for child in children:
            child.close()
    return finish(rows, repeats)


def finish(rows: list[Row], repeats: int) -> list[Row]:
    """Adds median, spread, and the ratio to the first row: the median of the ratios pair by pair."""
    for row in rows:
        row.pop("check", None)
        if len(row["samples"]) == repeats:
            low, _, high = quantiles(row["samples"], n=4, method="inclusive")
            row["median"] = median(row["samples"])
            row["spread"] = (high - low) / 2 / row["median"]
            if "median" in rows[0]:
                row["ratio"] = median(b / a for a, b in zip(rows[0]["samples"], row["samples"], strict=True))
    return rows
