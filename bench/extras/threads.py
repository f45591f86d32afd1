"""With all threads nothing is slower than with one: small work stays on the caller's thread."""

from __future__ import annotations

from collections.abc import Iterator

from contest import Entry, compete
from extras import Finding, Options

MOST = 1.03  # noise


def run(options: Options) -> Iterator[Finding]:
    if options.threads == 1:
        return
    for case in options.cases:
        for mode in case.modes:
            entries = [Entry("pylstm", case, mode == "training", count) for count in (1, options.threads)]
            rows = compete(entries, options.repeats)
            yield Finding(f"{case.name} {mode}: {options.threads} threads / 1", rows[1]["ratio"], MOST)
