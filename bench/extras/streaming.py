"""A step of a stream against a call of ONNX Runtime for the same step, and in microseconds."""

from __future__ import annotations

from collections.abc import Iterator

from cases import BY_NAME
from contest import Entry, compete
from extras import Finding, Options

GUIDE = 5.0  # microseconds: an absolute guide for a machine of 2024


def run(options: Options) -> Iterator[Finding]:
    peers = ["pylstm", *(["onnxruntime"] if "onnxruntime" in options.peers else [])]
    rows = compete([Entry(peer, BY_NAME["stream"], False, options.threads) for peer in peers], options.repeats)
    yield Finding("a step of a stream", rows[0]["median"] * 1e6, GUIDE, "µs")
    if len(rows) > 1 and "ratio" in rows[1]:
        note = f"it takes {rows[1]['median'] * 1e6:.1f} µs"
        yield Finding("a step of a stream / ONNX Runtime's", 1 / rows[1]["ratio"], 1 / 3, note=note)
