"""How time grows with the steps, the batch, the hidden size and the threads: one LSTM, one size at a time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import report
import results
from cases import Case
from contest import Entry, compete

BASE = Case("growth", "lstm", 100, 32, 128, 128)
SIZES = {"T": [10, 30, 100, 300, 1000], "N": [1, 4, 16, 64, 256], "H": [16, 64, 128, 256, 512]}
PEERS = ["pylstm", "torch", "onnxruntime", "openvino"]  # the others start slowly
REPEATS = 5


@dataclass(frozen=True)
class Point:
    along: str
    value: int
    case: Case
    threads: int


def points(threads: int) -> list[Point]:
    """Thread counts are those up to `threads` that double, and `threads` itself."""
    found = [
        Point(along, value, Case(**asdict(BASE) | {along: value}), threads)
        for along, values in SIZES.items()
        for value in values
    ]
    counts = sorted({2**k for k in range(threads.bit_length()) if 2**k <= threads} | {threads})
    return found + [Point("threads", count, BASE, count) for count in counts]


def measure(peers: list[str], threads: int, repeats: int) -> list[dict[str, Any]]:
    """Records with the axis and the value on it, ready for JSON and plots."""
    taking_part = [peer for peer in peers if peer in PEERS]
    found = []
    print("\ngrowth with T, N, H and threads:")
    for point in points(threads):
        for mode in BASE.modes:
            entries = [Entry(peer, point.case, mode == "training", point.threads) for peer in taking_part]
            record = results.record_of(point.case, mode, point.threads, compete(entries, min(repeats, REPEATS)))
            record |= {"along": point.along, "value": point.value}
            times = [f"{r['peer']} {report.duration(r['median'])}" for r in record["rows"] if "median" in r]
            print(f"  {point.along}={point.value} {mode}: {', '.join(times)}", flush=True)
            found.append(record)
    return found
