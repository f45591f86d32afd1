"""Several runs of one bench made one: of each case and mode the record whose ratio to the best peer is in the middle.

    python bench/middle.py RUN.json RUN.json RUN.json --json RESULT.json

Neighbours of a virtual machine disturb a run for minutes, and so some of its cases and not the others. Printed are the
ratios of all runs, in their order, and the share of the limit in the record that is kept.
"""

from __future__ import annotations

import argparse
import math
import statistics
from pathlib import Path

import results
from results import Document, Record


def ratio(record: Record) -> float:
    """To the best peer; NaN where there is none."""
    best = results.best_peer(record)
    return best["ratio"] if best else math.nan


def records_of(documents: list[Document]) -> dict[tuple[object, ...], list[Record]]:
    """By case and mode, in the order of the documents; those that every document has."""
    found: dict[tuple[object, ...], list[Record]] = {}
    for document in documents:
        for record in document["found"]:
            found.setdefault(results.key(record), []).append(record)
    return {key: records for key, records in found.items() if len(records) == len(documents)}


def middle(documents: list[Document]) -> Document:
    """A document of these records, with the runs of all. Of an even number of runs the lower one in the middle."""
    made = results.new() | {"machine": documents[0]["machine"]}
    first_run = 0
    at: dict[int, int] = {}  # of a record, the place of its document's first run
    for document in documents:
        made["runs"] += document["runs"]
        made["versions"] |= document["versions"]
        at |= {id(record): first_run for record in document["found"]}
        first_run += len(document["runs"])
    for records in records_of(documents).values():
        kept = sorted(records, key=ratio)[(len(records) - 1) // 2]
        made["found"].append(kept | {"run": kept["run"] + at[id(kept)]})
    return made


def lines(documents: list[Document], made: Document) -> list[str]:
    """A line per case and mode, and the geometric means of every run."""
    shown = []
    by_mode: dict[str, list[list[float]]] = {}
    for key, records in records_of(documents).items():
        kept = next(record for record in made["found"] if results.key(record) == key)
        ratios = [ratio(record) for record in records]
        by_mode.setdefault(kept["mode"], []).append(ratios)
        share = results.share(kept)
        text = ", ".join(f"{value:.2f}" for value in ratios)
        shown.append(
            f"{kept['case']['name']} {kept['mode']}: {text}" + (f"; {share:.0%} of the limit" if share else "")
        )
    for mode, rows in by_mode.items():
        means = [statistics.geometric_mean(run) for run in zip(*rows, strict=True)]
        shown.append(f"geometric mean, {mode}: {', '.join(f'{mean:.2f}' for mean in means)}")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="results of the same bench on the same machine")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the document there")
    args = parser.parse_args()
    documents = [results.load(path) for path in args.runs]
    if len({results.describe_machine(document) for document in documents}) > 1:
        parser.error("the runs are of different machines")
    made = middle(documents)
    print("\n".join(lines(documents, made)))
    if args.json:
        results.save(args.json, made)


if __name__ == "__main__":
    main()
