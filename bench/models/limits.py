"""The least time that a step or a prediction of a whole model can take on a calibrated machine, part by part.

    R = rows: valid (t, n) pairs    D = distinct symbols among them    S = distinct symbols of all batches
    P = parameters, those of a table of S rows only    rates, kappa: see ../limits.py; all of a batch, on average

An embedding repeats rows of x. What depends on the symbol alone (its product with the input weights, forward and
backward) is needed once per distinct symbol, and a row of the table that never had a gradient has moments of zero and
needs no update. Each part takes the largest of its needs, and begins when the one before has ended:

    embedding           bytes: rows of the table read; in training their gradient written
    recurrent forward   multiply-adds 2 G H (D E + R H) (R for the input of further layers, or without an embedding) and
                        activations; reading the recurrent weights T times; latency of T steps
    recurrent backward  twice that, less the gradient to an input that is none of an embedding's; no activations
    head                multiply-adds 2 W C for each row that has an output, three times in training; or bytes: its
                        weights, and in inference the outputs
    loss                nothing: it needs no more than an exponential per output, which are not counted
    optimizer           bytes: of each of the P parameters the value and two moments read and written

Python and preparing batches need nothing.

A translator is its two sides, an encoder and a decoder with the head, and

    attention           multiply-adds 2 * 2 H for each pair of a step that is read and one that is written
    head                besides: 2 H H for each step that is read, 2 * 2 H H for each that is written, and 2 * 2 H H for
                        each sequence: the layers in front of the attention's scores, behind its sums, and between the
                        sides. All of these three times in training
"""

from __future__ import annotations

import numpy as np

import limits
from calibrate import Calibration
from cases import Case
from limits import Limit
from models import translations
from models.batches import Data
from models.cases import ModelCase

ITEM = 4  # bytes of a number
STATE = 3  # numbers that Adam keeps of a parameter: itself and two moments
GATES, ACTIVATIONS = 4, 5  # of an LSTM


def rows(data: Data) -> float:
    """R."""
    return float(np.mean([batch.rows for batch in data.batches]))


def distinct(data: Data) -> float:
    """D."""
    return float(np.mean([len(batch.symbols) for batch in data.batches]))


def parameters(case: ModelCase, data: Data) -> int:
    """P."""
    if case.translates:
        own = sum(data.weights[name].size for name in translations.between(case))
        return own + sum(parameters(*side) for side in translations.sides(case, data))
    seen = len(np.unique(np.concatenate([batch.symbols for batch in data.batches]))) if case.vocabulary else 0
    return seen * case.E + sum(value.size for name, value in data.weights.items() if name != "embedding")


def input_flops(case: ModelCase, data: Data) -> tuple[float, float]:
    """Of the products of the first layer with its input, and of those of further layers."""
    first = 2 * GATES * case.H * case.E * (distinct(data) if case.vocabulary else rows(data))
    above = 2 * GATES * case.H * case.width * rows(data) * (case.layers - 1)
    return case.directions * first, case.directions * above


def recurrent_flops(case: ModelCase, data: Data) -> float:
    """Of the products with h."""
    return 2 * GATES * case.H**2 * rows(data) * case.layers * case.directions


def head_flops(case: ModelCase, data: Data) -> float:
    return 2 * case.width * case.C * (rows(data) if case.per_step else case.N)


def moved(numbers: float, machine: Calibration) -> float:
    """Seconds to read, or to write, so many float32, out of the cache that holds them."""
    share = numbers * ITEM / machine.threads
    return share / machine.read_rate(share)


def recurrent(case: ModelCase, data: Data, machine: Calibration, backward: bool) -> float:
    """Seconds of one pass through the layers."""
    first, above = input_flops(case, data)
    flops = first + above + recurrent_flops(case, data)
    if backward:
        flops = 2 * flops - (0 if case.vocabulary else first)
    seconds = flops / machine.all["float32"]
    if not backward:
        calls = ACTIVATIONS * case.H * rows(data) * case.layers * case.directions
        seconds += calls * machine.kappa("float32") / machine.threads
    steps = round(np.mean([batch.steps for batch in data.batches]))
    layer = Case(case.name, "lstm", steps, case.N, case.E, case.H, case.layers, case.bidirectional)
    weights = min(limits.weights_seconds(layer, False, machine).values())
    return max(seconds, weights, limits.latency_seconds(layer, False, machine))


def head(case: ModelCase, data: Data, machine: Calibration, training: bool) -> float:
    count = rows(data) if case.per_step else case.N
    flops = head_flops(case, data) * (3 if training else 1)
    numbers = case.C * case.width + (0 if training else count * case.C)
    return max(flops / machine.all["float32"], moved(numbers, machine))


def limit(case: ModelCase, training: bool, machine: Calibration, data: Data) -> Limit:
    """Of a whole run through all batches, as it is timed; `term` is the part that needs most of it."""
    terms = (translator_terms if case.translates else terms_of)(case, training, machine, data)
    if training:
        kept = STATE * parameters(case, data)
        terms["optimizer"] = 2 * moved(kept, machine)
    terms = {part: seconds * len(data.batches) for part, seconds in terms.items()}
    return Limit(sum(terms.values()), max(terms, key=terms.__getitem__), "", terms)


def terms_of(case: ModelCase, training: bool, machine: Calibration, data: Data) -> dict[str, float]:
    """Seconds of a batch by part, without the optimizer."""
    looked_up = moved(distinct(data) * case.E, machine) if case.vocabulary else 0.0
    terms = {
        "embedding": looked_up * (2 if training else 1),
        "recurrent forward": recurrent(case, data, machine, backward=False),
        "head": head(case, data, machine, training),
    }
    if training:
        terms["recurrent backward"] = recurrent(case, data, machine, backward=True)
    return terms


def pairs(data: Data) -> float:
    """Steps that are read with those that are written of the same sequence."""
    counts = [int(np.dot(batch.lengths, batch.counts + 1)) for batch in data.batches]  # type: ignore[arg-type, operator]
    return float(np.mean(counts))


def translator_terms(case: ModelCase, training: bool, machine: Calibration, data: Data) -> dict[str, float]:
    """The same of both sides and what is between them."""
    (encoder, read), (decoder, written) = translations.sides(case, data)
    terms = terms_of(encoder, training, machine, read) | {"head": 0.0}  # its outputs go to the attention
    for part, seconds in terms_of(decoder, training, machine, written).items():
        terms[part] += seconds
    passes = 3 if training else 1
    flops = 2 * case.H**2 * (rows(read) + 2 * rows(written) + 2 * case.N)
    terms["head"] += passes * flops / machine.all["float32"]
    terms["attention"] = passes * 4 * case.H * pairs(data) / machine.all["float32"]
    return terms
