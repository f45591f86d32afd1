"""What a run prints."""

from __future__ import annotations

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


def limit_text(limit: dict[str, Any], median: float) -> str:
    """The share of the limit, and what sets it."""
    split = f", {limit['split']} split" if limit["term"] == "weights" else ""
    return f"{limit['seconds'] / median:5.0%} of the limit ({limit['term']}{split})"


def row_text(row: Row, record: Record) -> str:
    if "median" not in row:
        return f"not supported: {row['unsupported']}" if "unsupported" in row else f"failed: {row.get('error')}"
    ratio = f"x {row['ratio']:6.2f}" if "ratio" in row else ""
    text = f"{duration(row['median']):>9}  ±{row['spread']:6.1%}  {ratio:<9}"
    if row["peer"] == "pylstm" and "limit" in record:
        text += "  " + limit_text(record["limit"], row["median"])
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
    for row in record["rows"]:
        print(f"  {row['peer']:<12} {row_text(row, record)}", flush=True)
        if text := prediction_text(row, record):
            print(f"  {text}", flush=True)
