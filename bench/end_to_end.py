"""Whole models, trained and used for prediction: pylstm next to PyTorch and Keras. `python bench/end_to_end.py --help`

    python bench/end_to_end.py                                    # all cases, with whatever library is installed
    python bench/end_to_end.py --cases poems,words --what train --peers pylstm,torch
    python bench/end_to_end.py --json result.json --append        # a part at a time, into one document

The same model, weights, batches, optimizer and number of threads for all; every library in a process of its own, as in
run.py. A run is a training step on (or the outputs for) each prepared batch; printed are times of one step. Before the
clock starts, the libraries have to agree on the outputs, or on the loss of every step of the first run: `loss` is that
of the first step. Then the limit (models/limits.py) and pylstm's own time, part by part.

pylstm trains by `fit` and predicts by `predict`. Of the translator that is one pass over the true words, of the speech
model its logits; Keras leaves both out. PyTorch is at the best of padded and packed, eager and compiled, the
fused and the foreach Adam; Keras, on TensorFlow and on JAX, is compiled by XLA (jit_compile=True).
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import asdict

import calibrate
import report
import results
from contest import Entry, told
from models import PEERS, limits
from models.batches import Data
from models.cases import ModelCase, select
from models.data import make_data
from results import Record
from run import Formatter, add_common, checked_peers, measure_all, pace_of, present

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=Formatter)
    add = parser.add_argument
    add("--cases", default="zipf", help="names from models/cases.py, or the groups zipf, text, all; with commas")
    add("--what", choices=[*MODES, "both"], default="both", help="of a model")
    add_common(parser, PEERS, repeats=11)
    args = parser.parse_args()
    try:
        cases = select(args.cases.split(","))
    except ValueError as error:
        parser.error(str(error))
    return args, cases, checked_peers(parser, args, PEERS)


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
    data = with_data(cases)

    def complete(record: Record, found: calibrate.Calibration) -> None:
        case = results.case_of(record)
        add_limit(record, data[case], found)
        if "pylstm" in peers:
            add_parts(record)

    modes = [mode for what, mode in MODES.items() if args.what in (what, "both")]
    document = measure_all(args, peers, itertools.product(data, modes), complete)
    print()
    for line in report.means(document["found"]):
        print(line)
    print(", ".join(f"{peer} {version}" for peer, version in document["versions"].items()))


if __name__ == "__main__":
    main()
