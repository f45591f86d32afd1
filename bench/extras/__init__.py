"""Checks beyond the race: a module each, with a function `run(options)` that yields findings."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass

from cases import Case

NAMES = ["streaming", "ragged", "threads", "denormals", "importing", "memory"]


@dataclass(frozen=True)
class Options:
    cases: list[Case]  # those that were asked for
    peers: list[str]  # those that are installed
    threads: int
    repeats: int


@dataclass(frozen=True)
class Finding:
    """One number that may be `most` at most; `unit` is ms, MiB or empty for a ratio."""

    check: str
    value: float
    most: float
    unit: str = ""
    note: str = ""

    @property
    def text(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        verdict = "ok" if self.value <= self.most else "MISSED"
        note = f"  ({self.note})" if self.note else ""
        return f"{self.check:<52} {self.value:8.2f}{unit}, at most {self.most:.2f}{unit}: {verdict}{note}"


def select(names: str | None) -> list[str]:
    """The names in a text like "ragged,threads" or "all"; a ValueError says what there is."""
    wanted = NAMES if names == "all" else names.split(",") if names else []
    if unknown := set(wanted) - set(NAMES):
        raise ValueError(f"no extra {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    return wanted


def run(names: str | None, options: Options) -> Iterator[Finding]:
    """Runs them one after the other, and prints what they find."""
    for name in select(names):
        print(f"\n{name}:")
        for finding in importlib.import_module(f"extras.{name}").run(options):
            print(f"  {finding.text}", flush=True)
            yield finding
