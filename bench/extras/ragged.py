"""No work on padding: the time of a ragged batch follows the sum of its lengths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import limits
from cases import GROUPS, select
from contest import Entry, compete
from extras import Finding, Options

MOST = 1.15


def run(options: Options) -> Iterator[Finding]:
    for case in select(GROUPS["ragged"]):
        full = replace(case, ragged=False)
        valid = limits.rows(case) / limits.rows(full)
        for mode in case.modes:
            entries = [Entry("pylstm", each, mode == "training", options.threads) for each in (full, case)]
            rows = compete(entries, options.repeats)
            note = f"{rows[1]['ratio']:.0%} of the time for {valid:.0%} of the rows"
            yield Finding(f"{case.name} {mode}: time / rows", rows[1]["ratio"] / valid, MOST, note=note)
