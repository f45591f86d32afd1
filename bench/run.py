"""Times recurrent layers of pylstm next to those of other libraries. `python bench/run.py --help`

Every library lives in a process of its own with the same number of threads; the libraries take turns sample by sample,
so that whatever disturbs the machine disturbs them alike. Printed are medians, the spread (half the distance between
the quartiles, in percent) and how many times slower than the first peer each is: the median of the ratios pair by pair.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from cases import Case, select

HERE = Path(__file__).resolve().parent
PEERS = {  # name -> the modules it needs
    "pylstm": ["pylstm"],
    "torch": ["torch"],
    "onnxruntime": ["onnx", "onnxruntime"],
    "openvino": ["onnx", "openvino"],
    "reference": ["pylstm"],
}
REST = 0.02  # seconds between samples: idle pools stop spinning in this time
TOLERANCE = {"float32": 2e-3, "float64": 1e-9}  # of a result's norm, between peers


class Child:
    """The parent's end of one worker."""

    def __init__(self, peer: str, threads: int) -> None:
        self.peer = peer
        count = str(threads)
        names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYLSTM_NUM_THREADS"]
        command = [sys.executable, str(HERE / "worker.py"), peer, count]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | dict.fromkeys(names, count),
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            return {"error": f"the process ended ({self.process.wait()})"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self.process.communicate()  # closes its stdin, which ends it


def disagreement(mine: dict[str, list[float]], other: dict[str, list[float]], tolerance: float) -> str:
    """The first result that two peers do not share, or an empty string."""
    for name in mine.keys() & other.keys():
        scale = max(mine[name][0], 1e-30)
        if any(abs(a - b) > tolerance * scale for a, b in zip(mine[name], other[name], strict=True)):
            return name
    return ""


def measure(
    case: Case, training: bool, dtype: str, peers: list[str], threads: int, repeats: int
) -> list[dict[str, Any]]:
    """One row per peer. Children are new for every case: no case inherits another's memory or warmth."""
    children = [Child(peer, threads) for peer in peers]
    rows: list[dict[str, Any]] = []
    try:
        for child in children:
            answer = child.ask(do="setup", case=case.name, dtype=dtype, training=training)
            rows.append({"peer": child.peer, "samples": [], **answer})
        first = rows[0].get("check", {})
        for row in rows:
            if name := disagreement(first, row.get("check", {}), TOLERANCE[dtype]):
                row["error"] = f"its {name} differs from {rows[0]['peer']}'s"
        turn = [
            (child, row) for child, row in zip(children, rows, strict=True) if "check" in row and "error" not in row
        ]
        for _ in range(repeats):
            for child, row in turn:
                time.sleep(REST)
                answer = child.ask(do="sample")
                if "seconds" in answer:
                    row["samples"].append(answer["seconds"])
                else:
                    row |= answer
    finally:
        for child in children:
            child.close()
    for row in rows:
        row.pop("check", None)
        if len(row["samples"]) == repeats:
            low, _, high = quantiles(row["samples"], n=4, method="inclusive")
            row["median"] = median(row["samples"])
            row["spread"] = (high - low) / 2 / row["median"]
            if "median" in rows[0]:
                row["ratio"] = median(b / a for a, b in zip(rows[0]["samples"], row["samples"], strict=True))
    return rows


def show(case: Case, mode: str, rows: list[dict[str, Any]]) -> None:
    shape = f"T={case.T} N={case.N} I={case.I} H={case.H}"
    extras = [f"{case.layers} layers"] * (case.layers > 1) + ["bidirectional"] * case.bidirectional
    print(f"\n{case.name} {mode}: {case.cell.upper()} {', '.join([shape, *extras, *(['ragged'] * case.ragged)])}")
    for row in rows:
        if "median" in row:
            ratio = f"x {row['ratio']:.2f}" if "ratio" in row else ""
            print(f"  {row['peer']:<12} {row['median'] * 1e3:10.3f} ms  ±{row['spread']:6.1%}  {ratio}", flush=True)
        else:
            why = f"not supported: {row['unsupported']}" if "unsupported" in row else f"failed: {row.get('error')}"
            print(f"  {row['peer']:<12} {why}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--cases", default="floor", help="names from cases.py, or the groups floor and all, separated by commas")
    add("--peers", default="pylstm,torch", help=f"of {','.join(PEERS)}; ratios are to the first one that is installed")
    add("--mode", choices=["inference", "training", "both"], default="both")
    add("--dtype", choices=list(TOLERANCE), default="float32")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), help="for every library")
    add("--repeats", type=int, default=15, help="samples per peer and case")
    add("--json", type=Path, metavar="FILE", help="write every sample there")
    args = parser.parse_args()
    try:
        cases = select(args.cases.split(","))
    except ValueError as error:
        parser.error(str(error))
    wanted = args.peers.split(",")
    if unknown := set(wanted) - PEERS.keys():
        parser.error(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    missing = [peer for peer in wanted if not all(map(importlib.util.find_spec, PEERS[peer]))]
    peers = [peer for peer in wanted if peer not in missing]
    if args.repeats < 2 or args.threads < 1:
        parser.error("--repeats has to be at least 2, --threads at least 1")
    if missing:
        print(f"not installed, so left out: {', '.join(missing)}")
    if not peers:
        sys.exit("none of the peers is installed")

    print(f"{platform.machine()}, {args.threads} threads, {args.dtype}, {args.repeats} samples each")
    if (load := os.getloadavg()[0]) > 0.5:
        print(f"something else runs on this machine (load {load:.1f}): the figures will be worth little")
    found: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    for case in cases:
        for mode in ["inference", "training"] if args.mode == "both" else [args.mode]:
            rows = measure(case, mode == "training", args.dtype, peers, args.threads, args.repeats)
            versions |= {row["peer"]: row["version"] for row in rows if "version" in row}
            found.append({"case": case.name, "mode": mode, "rows": rows})
            show(case, mode, rows)
    print("\n" + ", ".join(f"{peer} {version}" for peer, version in versions.items()))
    if args.json:
        args.json.write_text(
            json.dumps({"args": vars(args), "versions": versions, "found": found}, indent=1, default=str)
        )


if __name__ == "__main__":
    main()
