"""Whole models, trained and used for prediction: pylstm next to PyTorch and Keras. `python bench/end_to_end.py --help`

    python bench/end_to_end.py                                    # all cases, with whatever library is installed
    python bench/end_to_end.py --cases poems,words --what train --peers pylstm,torch
    python bench/end_to_end.py --json result.json --append        # a part at a time, into one document

The same model, weights, batches, optimizer and number of threads for all; every library in a process of its own, as in
run.py. A run is a training step on (or the outputs for) each prepared batch; printed are times of one step. Before the
clock starts, the libraries have to agree on the outputs, or on the loss of every step of the first run: `loss` is that
of the first step. Then the limit (models/limits.py) and pylstm's own time, part by part.

pylstm trains by `fit` and predicts by `predict`. PyTorch is at the best of padded and packed, eager and compiled, the
fused and the foreach Adam; Keras, on TensorFlow and on JAX, is compiled by XLA (jit_compile=True).
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import calibrate
import report
import results
from contest import Entry, told
from models import PEERS, limits
from models.cases import ModelCase, select
from models.data import Data, make_data
from results import Record
from run import measure, pace_of, present

MODES = {"predict": "inference", "train": "training"}


def add_limit(record: Record, data: Data, found: calibrate.Calibration) -> None:
    """The limit, for cores as fast as they were while this was measured."""
    pace = pace_of(record, found)
    case = results.case_of(record)
    if found.activation:  # measured through pylstm
        record["limit"] = asdict(limits.limit(case, record["mode"] == "training", found.at_pace(pace), data))


def add_parts(record: Record) -> None:
    """Where pylstm's time goes, in a process without a clock beside it."""
    case = results.case_of(record)
    training = record["mode"] == "training"
    child = Entry("pylstm", case, training, record["threads"]).start()
    try:
        if "error" not in child.ask("setup", **told(case), training=training):
            child.ask("sample")
            answer = child.ask("parts")
            if "error" not in answer:
                record["parts"] = answer
    finally:
        child.close()


def parse() -> tuple[argparse.Namespace, list[ModelCase], list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--cases", default="zipf", help="names from models/cases.py, or the groups zipf, text, all; with commas")
    add("--what", choices=[*MODES, "both"], default="both", help="(default: %(default)s)")
    add("--peers", default=",".join(PEERS), help="ratios are to the first one that is installed (default: %(default)s)")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), help="for every library (default: %(default)s)")
    add("--repeats", type=int, default=11, help="samples per library and case (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write every sample there")
    add("--append", action="store_true", help="keep what FILE holds of other cases")
    args = parser.parse_args()
    try:
        cases = select(args.cases.split(","))
    except ValueError as error:
        parser.error(str(error))
    peers = args.peers.split(",")
    if unknown := set(peers) - PEERS.keys():
        parser.error(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    if args.repeats < 2 or args.threads < 1:
        parser.error("--repeats has to be at least 2, --threads at least 1")
    if args.append and not args.json:
        parser.error("--append needs --json: what it adds to")
    if args.json and args.json.is_dir():
        parser.error(f"--json has to be a file, and {args.json} is a folder")
    return args, cases, peers


def with_data(cases: list[ModelCase]) -> dict[ModelCase, Data]:
    """Those whose data there are; the others are named."""
    found = {}
    for case in cases:
        try:
            found[case] = make_data(case)
        except FileNotFoundError as error:  # noqa: PERF203
            print(f"{case.name} is left out: there is no {error.filename}")
    return found


def main() -> None:
    args, cases, wanted = parse()
    peers = present(wanted, PEERS)
    document = results.load(args.json) if args.append and args.json and args.json.exists() else results.new()
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
        for case, data in with_data(cases).items():
            for mode in [mode for what, mode in MODES.items() if args.what in (what, "both")]:
                record = measure(case, mode, peers, args.threads, args.repeats, machine)
                record["run"] = len(document["runs"]) - 1
                add_limit(record, data, found)
                if "pylstm" in peers:
                    add_parts(record)
                document["versions"] |= {row["peer"]: row["version"] for row in record["rows"] if "version" in row}
                results.add(document["found"], record)
                report.show(record)
                if args.json:
                    results.save(args.json, document)  # a run cut short keeps what it has
    print()
    for line in report.means(document["found"]):
        print(line)
    print(", ".join(f"{peer} {version}" for peer, version in document["versions"].items()))


if __name__ == "__main__":
    main()
