"""Times recurrent layers of pylstm next to those of other libraries. `python bench/run.py --help`

Every library lives in a process of its own with the same number of threads; the libraries take turns sample by sample,
so that whatever disturbs the machine disturbs them alike. Printed are medians, the spread (half the distance between
the quartiles, in percent), how many times slower than the first peer each is (the median of the ratios pair by pair),
and for pylstm its share of what the machine could do: calibrated in the same run, and corrected for its speed during
each case. See limits.py for that limit.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import calibrate
import extras
import growth
import limits
import report
import results
from cases import TOLERANCE, Case, select
from contest import PEERS, Entry, compete
from models.cases import ModelCase
from results import Record


def measure(
    case: Case | ModelCase,
    mode: str,
    peers: list[str],
    threads: int,
    repeats: int,
    machine: calibrate.Machine | None = None,
) -> Record:
    """All peers on one case. With a machine, also how fast that was meanwhile."""
    paces: list[tuple[float, float]] = []

    def between() -> None:
        if machine is not None and (now := machine.now()) is not None:
            paces.append(now)

    entries = [Entry(peer, case, mode == "training", threads) for peer in peers]
    record = results.record_of(case, mode, threads, compete(entries, repeats, between))
    if paces:
        record["speed"], record["meeting"] = (median(values) for values in zip(*paces, strict=True))
    return record


def pace_of(record: Record, found: calibrate.Calibration) -> float:
    """How fast the cores were while this was measured, next to when they were calibrated; the record keeps it."""
    pace: float = record.get("speed", found.all["float32"]) / found.all["float32"]
    record["pace"], record["clock"] = pace, found.clock * pace
    return pace


def add_limit(record: Record, found: calibrate.Calibration) -> None:
    """The limit, for cores as fast as they were while this was measured."""
    pace = pace_of(record, found)
    case = results.case_of(record)
    if found.activation:  # measured through pylstm
        record["limit"] = asdict(limits.limit(case, record["mode"] == "training", found.at_pace(pace)))


class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help with its own line breaks and with defaults."""


def add_common(parser: argparse.ArgumentParser, known: dict[str, list[str]], repeats: int) -> None:
    """The arguments of a contest."""
    add = parser.add_argument
    add("--peers", default=",".join(known), help="ratios are to the first one that is installed")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), help="for every library")
    add("--repeats", type=int, default=repeats, help="samples per peer and case")
    add("--json", type=Path, metavar="FILE", help="write every sample there")
    add("--append", action="store_true", help="keep what FILE holds of other cases")


def checked_peers(parser: argparse.ArgumentParser, args: argparse.Namespace, known: dict[str, list[str]]) -> list[str]:
    """The peers that are wanted; ends the program where the arguments of a contest are wrong."""
    peers: list[str] = args.peers.split(",")
    if unknown := set(peers) - known.keys():
        parser.error(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if args.repeats < 2 or args.threads < 1:
        parser.error("--repeats has to be at least 2, --threads at least 1")
    if args.append and not args.json:
        parser.error("--append needs --json: what it adds to")
    if args.json and args.json.is_dir():
        parser.error(f"--json has to be a file, and {args.json} is a folder")
    return peers


def parse() -> tuple[argparse.Namespace, list[Case], list[str]]:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], formatter_class=Formatter)
    add = parser.add_argument
    add("--cases", default="floor", help="names from cases.py, or the groups floor, ragged, float64, all; with commas")
    add("--mode", choices=["inference", "training", "both"], default="both")
    add("--dtype", choices=list(TOLERANCE), help="for all cases, instead of what each of them says")
    add_common(parser, PEERS, repeats=15)
    add("--extras", metavar="NAMES", help=f"further checks: all, or of {','.join(extras.NAMES)}")
    add("--plot", type=Path, metavar="DIR", help="draw everything there; also measures how time grows with the sizes")
    args = parser.parse_args()
    try:
        cases = select(args.cases.split(",")) if args.cases != "none" else []
        extras.select(args.extras)
    except ValueError as error:
        parser.error(str(error))
    peers = checked_peers(parser, args, PEERS)
    if args.dtype:
        cases = [replace(case, dtype=args.dtype) for case in cases]
    return args, cases, peers


def present(wanted: list[str], known: dict[str, list[str]] = PEERS) -> list[str]:
    """The peers that are installed; the others are named."""
    missing = [peer for peer in wanted if not all(map(importlib.util.find_spec, known[peer]))]
    if missing:
        print(f"not installed, so left out: {', '.join(missing)}")
    if len(missing) == len(wanted):
        sys.exit("none of the peers is installed")
    return [peer for peer in wanted if peer not in missing]


def measure_all(
    args: argparse.Namespace,
    peers: list[str],
    pairs: Iterable[tuple[Case | ModelCase, str]],
    complete: Callable[[Record, calibrate.Calibration], None],
) -> dict[str, Any]:
    """Measures cases in modes one after the other, shows them, and keeps them with what `complete` adds, also in a run
    that is cut short."""
    document = results.load(args.json) if args.append and args.json.exists() else results.new()
    document["machine"] = results.machine()
    print(f"{results.describe_machine(document)}\n{args.threads} threads, {args.repeats} samples each")
    load = report.warn_of_load()
    with calibrate.Machine(args.threads) as machine:
        found = machine.calibrate()
        print(calibrate.describe(found))
        run: dict[str, Any] = {
            "date": time.strftime("%Y-%m-%d %H:%M"),
            "load": load,
            "repeats": args.repeats,
            "calibration": asdict(found),
        }
        document["runs"].append(run)
        for case, mode in pairs:
            record = measure(case, mode, peers, args.threads, args.repeats, machine)
            record["run"] = len(document["runs"]) - 1
            complete(record, found)
            document["versions"] |= {row["peer"]: row["version"] for row in record["rows"] if "version" in row}
            results.add(document["found"], record)
            report.show(record)
            if args.json:
                results.save(args.json, document)
    return document


def main() -> None:
    args, cases, wanted = parse()
    peers = present(wanted)
    pairs = [(case, mode) for case in cases for mode in case.modes if args.mode in (mode, "both")]
    document = measure_all(args, peers, pairs, add_limit)
    for finding in extras.run(args.extras, extras.Options(cases, peers, args.threads, args.repeats)):
        document["findings"] = [f for f in document["findings"] if f["check"] != finding.check] + [asdict(finding)]
    if args.plot:
        document["growth"] = growth.measure(peers, args.threads, args.repeats)
    print("\n" + ", ".join(f"{peer} {version}" for peer, version in document["versions"].items()))
    if args.json:
        results.save(args.json, document)
    if args.plot:
        import plots

        plots.draw(document, args.plot)


if __name__ == "__main__":
    main()
