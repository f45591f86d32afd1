"""What a run prints."""

from __future__ import annotations

import os
from typing import Any

import results
from contest import Row
from results import Record


def duration(seconds: float) -> str:
    """With a unit that fits, three digits."""
    for unit, scale in [("s", 1.0), ("ms", 1e3)]:
        if seconds * scale >= 1:
            return f"{seconds * scale:#.3g}".rstrip(".") + f" {unit}"
    return f"{seconds * 1e6:#.3g}".rstrip(".") + " µs"


def warn_of_load() -> float:
    """The load of the machine, and a warning where it is not idle."""
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"something else runs on this machine (load {load:.1f}): the figures will be worth little")
    return load


def limit_text(limit: dict[str, Any], median: float) -> str:
    """The share of the limit, and what sets it."""
    split = f", {limit['split']} split" if limit["term"] == "weights" else ""
    return f"{limit['seconds'] / median:5.0%} of the limit ({limit['term']}{split})"


def row_text(row: Row, record: Record) -> str:
    if "median" not in row:
        return f"not supported: {row['unsupported']}" if "unsupported" in row else f"failed: {row.get('error')}"
    ratio = f"x {row['ratio']:6.2f}" if "ratio" in row else ""
    text = f"{duration(row['median'] / row.get('batches', 1)):>9}  ±{row['spread']:6.1%}  {ratio:<9}"
    if row["peer"] == "pylstm" and "limit" in record:
        text += "  " + limit_text(record["limit"], row["median"])
    if "loss" in row:
        text += f"  loss {row['loss']:.6f}"
    if "formulation" in row:
        text += f"  {row['formulation']}"
    return text


def prediction_text(row: Row, record: Record) -> str:
    """What the cost model expected, or an empty text."""
    if "prediction" not in row or "clock" not in record or "median" not in row:
        return ""
    expected = row["prediction"]
    seconds = expected["cycles"] / record["clock"]
    return f"cost model {duration(seconds):>9}, {seconds / row['median']:.0%} of that: {expected['plan']}"


def pace_text(record: Record) -> str:
    """How the machine did while this was measured."""
    if "pace" not in record:
        return ""
    meeting = f", meeting in {record['meeting'] * 1e9:.0f} ns" if record.get("meeting") else ""
    return f"; cores at {record['pace']:.0%} of the calibrated speed{meeting}"


def show(record: Record) -> None:
    print(f"\n{record['case']['name']} {record['mode']}: {results.case_of(record).shape}{pace_text(record)}")
    width = max(12, *(len(row["peer"]) for row in record["rows"]))
    for row in record["rows"]:
        print(f"  {row['peer']:<{width}} {row_text(row, record)}", flush=True)
        if text := prediction_text(row, record):
            print(f"  {text}", flush=True)
    for text in parts_text(record):
        print(f"  {text}", flush=True)


def parts_text(record: Record) -> list[str]:
    """Where pylstm's time goes, and the limit of each part."""
    row = results.row_of(record, "pylstm")
    if row is None or "parts" not in record:
        return []
    terms = record.get("limit", {}).get("terms", {})
    lines = []
    for part, seconds in record["parts"].items():
        if not seconds:
            continue
        least = f"limit {duration(terms[part] / row['batches'])}" if terms.get(part) else ""
        share = seconds / record["parts"]["total"]
        lines.append(f"    {part:<19} {duration(seconds / row['batches']):>9} {share:6.1%}  {least}".rstrip())
    return lines


def means(records: list[Record]) -> list[str]:
    """The geometric means over all cases."""
    found = [(mode, results.mean_ratio(records, mode)) for mode in ("inference", "training")]
    return [f"{mode}: {mean:.2f} times as fast as the best peer, geometric mean" for mode, mean in found if mean]
