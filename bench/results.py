"""What a run found, as JSON: one document for a machine, to which later runs add or in which they replace."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

from calibrate import cache_bytes
from cases import Case
from contest import Row
from models.cases import ModelCase

Document = dict[str, Any]  # machine, runs, versions, found, growth, findings
Record = dict[str, Any]  # run, case, mode, threads, pace, limit, rows

OURS = ["pylstm", "reference"]  # everybody else is a peer


def new() -> Document:
    return {"machine": machine(), "versions": {}, "runs": [], "found": [], "growth": [], "findings": []}


def load(path: Path) -> Document:
    document: Document = json.loads(path.read_text(encoding="utf-8"))
    return document


def save(path: Path, document: Document) -> None:
    """A record a line, so that a change to a committed result can be read."""
    parts = []
    for name, value in document.items():
        if isinstance(value, list):
            text = "[\n" + ",\n".join("  " + json.dumps(rounded(item)) for item in value) + "\n ]"
        else:
            text = json.dumps(rounded(value), indent=1).replace("\n", "\n ")
        parts.append(f" {json.dumps(name)}: {text}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    """Five digits of every number: more would be noise."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def key(record: Record) -> tuple[Any, ...]:
    return record["case"]["name"], record["case"]["dtype"], record["mode"], record["threads"]


def add(records: list[Record], record: Record) -> None:
    """At its end, or in the place of the one that this measures again."""
    for index, other in enumerate(records):
        if key(other) == key(record):
            records[index] = record
            return
    records.append(record)


def row_of(record: Record, peer: str) -> Row | None:
    """The row of one peer, if it was timed."""
    return next((row for row in record["rows"] if row["peer"] == peer and "median" in row), None)


def best_peer(record: Record) -> Row | None:
    """The fastest of the others."""
    timed = [row for row in record["rows"] if row["peer"] not in OURS and "ratio" in row]
    return min(timed, key=lambda row: row["ratio"], default=None)


def mean_ratio(records: list[Record], mode: str) -> float | None:
    """How many times faster pylstm is than the best peer of each case: the geometric mean over the cases."""
    ratios = [best["ratio"] for record in records if record["mode"] == mode and (best := best_peer(record))]
    return statistics.geometric_mean(ratios) if ratios else None


def share(record: Record) -> float | None:
    """pylstm's share of the limit, if both are known."""
    row = row_of(record, "pylstm")
    limit = record.get("limit")
    return limit["seconds"] / row["median"] if row and limit else None


def is_model(record: Record) -> bool:
    """Whether it is of a whole model, and not of a layer."""
    return "vocabulary" in record["case"]


def case_of(record: Record) -> Any:
    """Of a layer a Case, of a whole model a ModelCase."""
    return ModelCase(**record["case"]) if is_model(record) else Case(**record["case"])


def machine() -> dict[str, Any]:
    """What a reader has to know about a machine, without its name."""
    found: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "caches": cache_bytes(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    try:
        from pylstm import _core
    except ImportError:
        return found
    return found | {"isa": _core.isa(), "compiler": _core.compiler}


def cpu_name() -> str:
    """Model name, and what tells one generation from another where a virtual machine hides it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = dict(re.findall(r"^(model name|cpu family|model|Hardware|CPU part)\s*:\s*(.+)$", text, re.MULTILINE))
    name = found.get("model name") or found.get("Hardware") or f"{platform.machine()} {found.get('CPU part', '')}"
    return f"{name} (family {found['cpu family']}, model {found['model']})" if "cpu family" in found else name


def describe_machine(document: Document) -> str:
    """One line."""
    it = document["machine"]
    caches = ", ".join(f"{name.upper()} {size >> 10} KiB" for name, size in it["caches"].items())
    isa = f", {it['isa']}" if "isa" in it else ""
    return f"{it['cpu']}, {it['cores']} cores{isa}, {caches}, {it['memory_gib']} GiB, {it['system']}"


def record_of(entry_case: Case | ModelCase, mode: str, threads: int, rows: list[Row]) -> Record:
    return {"case": asdict(entry_case), "mode": mode, "threads": threads, "rows": rows}
