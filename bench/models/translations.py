"""A translator: an encoder and a decoder with attention, as cases of their own where they are like one; its batches."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from cases import Array
from models.batches import Batch, Data, within
from models.cases import ModelCase


class Steps(NamedTuple):
    """What the decoder reads (begin, then the target's symbols) and writes (these, then end): (N, S + 1) each, 0 past
    an end; and which of them there are."""

    read: Array
    written: Array
    valid: Array


def encoder_of(case: ModelCase) -> ModelCase:
    """Both ways, with half of the units each."""
    return replace(case, H=case.H // 2, bidirectional=True, S=0)


def decoder_of(case: ModelCase) -> ModelCase:
    """With the head, which is given as many numbers by the attention as by an LSTM."""
    return replace(case, vocabulary=case.C, T=case.S + 1, S=0)


def begin_of(case: ModelCase) -> int:
    return case.C - 1


def end_of(case: ModelCase) -> int:
    return case.C - 2


def between(case: ModelCase) -> dict[str, tuple[int, ...]]:
    """Shapes of what is neither the encoder's nor the decoder's."""
    found: dict[str, tuple[int, ...]] = {"attention.weight": (case.H, case.H), "combine.weight": (case.H, 2 * case.H)}
    for state in ("h", "c"):
        found |= {f"bridge.{state}.weight": (case.H, case.H), f"bridge.{state}.bias": (case.H,)}
    return found


def steps_of(case: ModelCase, batch: Batch) -> Steps:
    assert batch.counts is not None
    count, steps = batch.y.shape
    read = np.concatenate([np.full((count, 1), begin_of(case)), batch.y], axis=1)
    written = np.concatenate([batch.y, np.zeros((count, 1), batch.y.dtype)], axis=1)
    written[np.arange(count), batch.counts] = end_of(case)
    return Steps(read, written, within(batch.counts + 1, steps + 1))


def sides(case: ModelCase, data: Data) -> tuple[tuple[ModelCase, Data], tuple[ModelCase, Data]]:
    """The encoder and the decoder with the weights and batches of each."""
    found = []
    for name, side in [("encoder", encoder_of(case)), ("decoder", decoder_of(case))]:
        weights = {key.removeprefix(f"{name}."): value for key, value in data.weights.items() if key.startswith(name)}
        batches = [replace(batch, counts=None) for batch in data.batches]
        if name == "decoder":
            batches = [reading(case, batch) for batch in data.batches]
        found.append((side, Data(weights, batches)))
    return found[0], found[1]


def reading(case: ModelCase, batch: Batch) -> Batch:
    """A batch of what the decoder reads."""
    assert batch.counts is not None
    steps = steps_of(case, batch)
    return Batch(steps.read, steps.written, batch.counts + 1)
