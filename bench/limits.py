"""The least time that a case can take on a calibrated machine, and which of its needs sets it.

    R = rows: valid (t, n) pairs    w = G * H^2 * bytes of one value: recurrent weights of one layer and direction
    G = gates    P = threads    F = multiply-add rate of a core, FLOP/s    kappa = seconds per activation on a core
    BW(b) = bytes/s a core reads out of the cache that holds b bytes, while the other cores do, too

    forward  = 2 G H (I + H) R FLOP        training = 3 x forward
    compute  = FLOP / (P F) + a H R kappa / P,  a = activations: 5, 3, 1 of an LSTM, a GRU, an RNN
    weights  = T w / BW(w) with the batch split, T (w / P) / BW(w / P) with the units split; x 2 in training
    memory   = bytes touched once / bandwidth
    latency  = T x 175 cycles; x 2 in training
    limit    = the largest of these, under the split for which it is least

Summed over layers and directions. Nothing can be faster, save by rounding or by staying in a smaller cache than
assumed: a step streams all weights of a layer, and a cell is taken to cost what its activations cost on their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibrate import Calibration
from cases import Case, make_lengths

STEP_CYCLES = 175  # h -> product -> cell -> h, were everything else free: latencies of adding, activations, L1


@dataclass(frozen=True)
class Limit:
    """`terms` holds the seconds of every need; the largest, `term`, is `seconds`."""

    seconds: float
    term: str
    split: str
    terms: dict[str, float]


def rows(case: Case) -> int:
    """R: the steps of all sequences, padding left out."""
    lengths = make_lengths(case)
    return case.T * case.N if lengths is None else int(np.sum(lengths))


def layer_inputs(case: Case) -> list[int]:
    """Input size of every layer of one direction."""
    return [case.I] + [case.directions * case.H] * (case.layers - 1)


def flops(case: Case, training: bool) -> int:
    """Of the products alone. Training: forward, gradients to the rows before, gradients to the weights; dx included."""
    per_row = sum(2 * case.about.gates * case.H * (width + case.H) for width in layer_inputs(case))
    return per_row * case.directions * rows(case) * (3 if training else 1)


def activations(case: Case) -> int:
    """Calls of sigmoid and tanh in a forward pass."""
    return case.about.activations * case.H * rows(case) * case.layers * case.directions


def touched_bytes(case: Case, training: bool) -> int:
    """Every byte that has to be read or written, counted once: input, output, weights; in training also the
    gradients of these, and what the forward pass leaves for the way back: gates and inner states (c) of each row."""
    gates, width = case.about.gates, case.directions * case.H
    weights = sum(gates * case.H * (inputs + case.H) for inputs in layer_inputs(case)) * case.directions
    values = rows(case) * (case.I + width) + weights
    if training:
        records = gates + len(case.about.states) - 1
        values = 2 * values + rows(case) * width * case.layers * records
    return values * np.dtype(case.dtype).itemsize


def compute_seconds(case: Case, training: bool, machine: Calibration) -> float:
    cells = activations(case) * machine.kappa(case.dtype) / machine.threads
    return flops(case, training) / machine.all[case.dtype] + cells


def weights_seconds(case: Case, training: bool, machine: Calibration) -> dict[str, float]:
    """Reading the recurrent weights at every step, for each way to split the work over the threads."""
    share = case.about.gates * case.H**2 * np.dtype(case.dtype).itemsize
    steps = last_step(case) * case.layers * (2 if training else 1)
    found = {
        "batch": case.directions * steps * share / machine.read_rate(share),
        "units": case.directions * steps * share / machine.threads / machine.read_rate(share / machine.threads),
    }
    if case.bidirectional and machine.threads > 1:  # threads shared out to the directions, then to the units of each
        part = share / (machine.threads // 2)
        found["directions"] = steps * part / machine.read_rate(part)
    return found


def memory_seconds(case: Case, training: bool, machine: Calibration) -> float:
    """A bench makes the same call again and again, so what fits the last cache comes from a cache, not from memory."""
    share = touched_bytes(case, training) / machine.threads
    return share / machine.read_rate(share)


def latency_seconds(case: Case, training: bool, machine: Calibration) -> float:
    """Steps that wait for each other. Layers of one direction can follow each other at a step's distance; above a
    bidirectional one, a layer starts when it has ended."""
    chain = last_step(case) * case.layers if case.bidirectional else last_step(case) + case.layers - 1
    return chain * (2 if training else 1) * STEP_CYCLES / machine.clock


def last_step(case: Case) -> int:
    """T, or the longest length."""
    lengths = make_lengths(case)
    return case.T if lengths is None else int(np.max(lengths))


def limit(case: Case, training: bool, machine: Calibration) -> Limit:
    """What binds: the largest term, under the split that makes it least."""
    terms = {
        "compute": compute_seconds(case, training, machine),
        "memory": memory_seconds(case, training, machine),
        "latency": latency_seconds(case, training, machine),
    }
    weights = weights_seconds(case, training, machine)
    split = min(weights, key=weights.__getitem__)
    terms["weights"] = weights[split]
    term = max(terms, key=terms.__getitem__)
    return Limit(terms[term], term, split, terms)
