"""Inputs, states and gradients so small that an x86 core computes with them slowly, unless told to flush them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cases import select
from contest import Entry, compete
from extras import Finding, Options

MOST = 1.2
CASES = ["classifier", "emotion", "n1h128", "gru512"]


def run(options: Options) -> Iterator[Finding]:
    for case in select(CASES):
        normal = replace(case, initial=True)
        for mode in case.modes:
            pair = (normal, replace(normal, denormal=True))
            entries = [Entry("pylstm", each, mode == "training", options.threads) for each in pair]
            rows = compete(entries, options.repeats)
            yield Finding(f"{case.name} {mode}: denormal / normal", rows[1]["ratio"], MOST)
