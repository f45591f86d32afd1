"""What libraries have to agree on: outputs without padding, and their loss in float64 and NumPy alone."""

from __future__ import annotations

import numpy as np

from cases import Array
from models import translations
from models.batches import Batch
from models.cases import ModelCase


def valid(case: ModelCase, batch: Batch, outputs: Array) -> Array:
    """Outputs (N, T, C) without padding: (rows, C); others as they are."""
    if outputs.ndim < 3:
        return outputs
    mask = translations.steps_of(case, batch).valid if case.translates else batch.valid
    return outputs[:, : mask.shape[1]][mask]


def loss_of(case: ModelCase, batch: Batch, outputs: Array) -> float:
    """The mean loss."""
    if case.loss == "ctc":
        return ctc(batch, outputs)
    z = valid(case, batch, outputs).astype(np.float64)
    if case.loss == "mse":
        return float(np.mean((z - batch.y) ** 2))
    if case.loss == "binary_cross_entropy":
        return float(np.mean(np.logaddexp(0, z[:, 0]) - batch.y * z[:, 0]))
    labels = batch.y[batch.valid] if case.per_step and not case.translates else batch.y
    if case.translates:
        steps = translations.steps_of(case, batch)
        labels = steps.written[steps.valid]
    return float(-np.mean(log_softmax(z)[np.arange(len(z)), labels]))


def log_softmax(z: Array) -> Array:
    shifted = z - z.max(axis=-1, keepdims=True)
    found: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def ctc(batch: Batch, outputs: Array) -> float:
    """The mean over sequences of -log p(labels) by label, blank 0: the forward variables of Graves et al. (2006)."""
    assert batch.lengths is not None
    assert batch.counts is not None
    found = []
    for z, y, steps, count in zip(outputs.astype(np.float64), batch.y, batch.lengths, batch.counts, strict=True):
        states = np.zeros(2 * count + 1, np.int64)
        states[1::2] = y[:count]
        log_y = log_softmax(z[:steps])[:, states]
        skips = np.full(len(states), -np.inf)  # from a label over the blank to the next one, unless it is the same
        skips[2:][(states[2:] != 0) & (states[2:] != states[:-2])] = 0
        alpha = np.full(len(states), -np.inf)
        alpha[:2] = log_y[0, :2]
        for row in log_y[1:]:
            one = np.concatenate([[-np.inf], alpha[:-1]])
            two = np.concatenate([[-np.inf, -np.inf], alpha[:-2]]) + skips
            alpha = np.logaddexp(np.logaddexp(alpha, one), two) + row
        found.append(-np.logaddexp(alpha[-1], alpha[-2]) / count)
    return float(np.mean(found))
