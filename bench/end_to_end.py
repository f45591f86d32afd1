"""Seconds per epoch of training whole models: pylstm, PyTorch and Keras side by side.

    python bench/end_to_end.py                  # all systems; libraries that are not there are left out
    python bench/end_to_end.py --systems 1,1r --peers pylstm,torch,torch_by_length,keras,keras_jit
    python bench/end_to_end.py --profile        # where pylstm's own step spends its time

The same model, batch size, optimizer, data and number of threads for all; every library in a process of its own. They
take turns part by part: a part is some batches of an epoch of 15,000 sequences, and its time is scaled to the whole.
Printed are medians, the range, and how many times slower than the first peer each is: the median of the ratios turn by
turn. What is prepared once (compiling, warm-up, Keras' set-up of fit) is not counted.

Sentences of differing length: pylstm gets a list of sequences and batches them by length, Keras a padded array with
masking, PyTorch packed sequences; `torch_by_length` is PyTorch with batches of similar length, `keras_jit` is
Keras with jit_compile=True. They are installed with `pip install torch==2.13.0 tensorflow-cpu`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import multiprocessing
import os
import platform
import time
from pathlib import Path
from statistics import median
from typing import Any

import end_to_end_profile
from end_to_end_peers import PEERS, serve
from end_to_end_systems import BY_NAME, EPOCH, System

REST = 0.1  # seconds between parts: idle pools stop spinning in this time


class Child:
    """The parent's end of one process."""

    def __init__(self, peer: str, system: System, threads: int, batches: int) -> None:
        context = multiprocessing.get_context("spawn")  # nothing of one library's threads gets into another's process
        self.peer, (self.connection, other) = peer, context.Pipe()
        self.process = context.Process(target=serve, args=(other, peer, system, threads, batches), daemon=True)
        self.process.start()
        other.close()

    def answer(self) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            answer = {"error": f"the process ended ({self.process.exitcode})"}
        return answer

    def ask(self, request: str) -> dict[str, Any]:
        with contextlib.suppress(OSError):  # a process that has ended is noticed in answer
            self.connection.send(request)
        return self.answer()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.send("end")
        self.process.join()


def measure(system: System, peers: list[str], threads: int, batches: int, turns: int) -> list[dict[str, Any]]:
    """One row per peer."""
    children: list[Child] = []
    rows: list[dict[str, Any]] = []
    try:
        for peer in peers:  # one after another: warming up at the same time would only be slower
            children.append(Child(peer, system, threads, batches))
            rows.append({"peer": peer, "seconds": [], "losses": [], **children[-1].answer()})
        for _ in range(turns):
            for child, row in zip(children, rows, strict=True):
                if "error" in row:
                    continue
                time.sleep(REST)
                answer = child.ask("part")
                if "error" in answer:
                    row |= answer
                    continue
                row["seconds"].append(answer["seconds"] * EPOCH / (batches * system.batch_size))
                row["losses"].append(answer["loss"])
    finally:
        for child in children:
            child.close()
    first = rows[0]
    for row in rows:
        if "error" not in row:
            row["median"] = median(row["seconds"])
            if "error" not in first:
                row["ratio"] = median(b / a for a, b in zip(first["seconds"], row["seconds"], strict=True))
    return rows


def heading(system: System, batches: int) -> str:
    part = f"{batches} batches of {system.batch_size} at a time, scaled to {EPOCH:,} sequences"
    return f"\n{system.name}: {system.title}\n  {part}"


def show(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if "error" in row:
            print(f"  {row['peer']:<16} failed: {row['error']}")
        else:
            ratio = f"x {row['ratio']:.2f}" if "ratio" in row else ""
            span = f"({min(row['seconds']):.2f} .. {max(row['seconds']):.2f})"
            print(f"  {row['peer']:<16} {row['median']:8.2f} s an epoch {span:>20}  {ratio:<8}", end="")
            print(f"  {row['parameters']:,} parameters, loss {row['losses'][-1]:.3f}")
    if note := next((row["note"] for row in rows if row.get("note")), ""):
        print(f"  {note}")
    if others := [row["ratio"] for row in rows[1:] if "ratio" in row]:
        print(f"  {rows[0]['peer']} is {min(others):.2f} times as fast as the fastest of the others", flush=True)


def profile(system: System, threads: int, batches: int) -> dict[str, Any]:
    child = Child("pylstm", system, threads, batches)
    answer = child.answer()
    if "error" not in answer:
        answer = child.ask("profile")
    child.close()
    if "error" in answer:
        print(f"  failed: {answer['error']}")
    else:
        answer["outside"] = end_to_end_profile.show(answer, batches)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--systems", default=",".join(BY_NAME), help="separated by commas (default: %(default)s)")
    add("--peers", default="pylstm,torch,keras", help=f"of {','.join(PEERS)} (default: %(default)s)")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), help="for every library (default: %(default)s)")
    add("--batches", type=int, help="in a part (default: as many as last a second or two)")
    add("--turns", type=int, default=5, help="parts per peer (default: %(default)s)")
    add("--profile", action="store_true", help="shares of pylstm's own step in place of the comparison")
    add("--json", type=Path, metavar="FILE", help="write everything there")
    args = parser.parse_args()
    names, wanted = args.systems.split(","), args.peers.split(",")
    if unknown := [name for name in names if name not in BY_NAME] + [name for name in wanted if name not in PEERS]:
        parser.error(
            f"no {', '.join(unknown)}; there are the systems {', '.join(BY_NAME)} and peers {', '.join(PEERS)}"
        )
    if args.threads < 1 or args.turns < 1 or (args.batches is not None and args.batches < 1):
        parser.error("--threads, --turns and --batches have to be at least 1")
    missing = [peer for peer in wanted if not all(map(importlib.util.find_spec, PEERS[peer][0]))]
    peers = [peer for peer in wanted if peer not in missing]
    if missing and not args.profile:
        print(f"not installed, so left out: {', '.join(missing)}")
    if not peers:
        parser.exit(1, "none of the peers is installed\n")
    variables = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYLSTM_NUM_THREADS"]
    os.environ.update(dict.fromkeys(variables, str(args.threads)), TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")

    print(f"{platform.machine()}, {args.threads} threads, float32")
    if (load := os.getloadavg()[0]) > 0.5:
        print(f"something else runs on this machine (load {load:.1f}): the figures will be worth little")
    found: dict[str, Any] = {}
    versions: dict[str, str] = {}
    for name in names:
        system = BY_NAME[name]
        batches = args.batches or system.batches
        print(heading(system, batches), flush=True)
        if args.profile:
            found[name] = profile(system, args.threads, batches)
        else:
            found[name] = measure(system, peers, args.threads, batches, args.turns)
            versions |= {row["peer"]: row["version"] for row in found[name] if "version" in row}
            show(found[name])
    if versions:
        print("\n" + ", ".join(f"{peer} {version}" for peer, version in versions.items()))
    if args.json:
        args.json.write_text(
            json.dumps({"args": vars(args), "versions": versions, "found": found}, indent=1, default=str)
        )


if __name__ == "__main__":
    main()
