"""Sampled softmax of a linear layer's outputs, row by row: the twin of pylstm/losses/sampled_softmax.py.

Jean, Cho, Memisevic & Bengio 2015, "On Using Very Large Target Vocabulary for Neural Machine Translation", section 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Index = NDArray[np.int64]


def sampled_softmax(
    hidden: Array,
    weight: Array,
    bias: Array | None,
    targets: Index,
    sampled: Index,
    expected: Array,
    *,
    class_weight: Array | None = None,
    ignore_index: int = -100,
) -> tuple[float, tuple[Array, Array, Array | None]]:
    """hidden (R, H), weight (V, H), bias (V,), targets (R,), samples (S,), how often each of the V classes was to be
    expected among them -> the mean loss, its gradients.
    """
    d_hidden, d_weight = np.zeros_like(hidden), np.zeros_like(weight)
    d_bias = None if bias is None else np.zeros_like(bias)
    rows = [row for row in range(len(targets)) if targets[row] != ignore_index]
    weights = np.ones(len(weight)) if class_weight is None else class_weight
    total, value = sum(weights[targets[row]] for row in rows), 0.0
    for row in rows:
        label, share = targets[row], weights[targets[row]] / total
        classes = np.array([label, *(s for s in sampled if s != label)])
        z = weight[classes] @ hidden[row] - np.log(expected[classes])
        if bias is not None:
            z = z + bias[classes]
        z = z - z.max()
        log_p = z - np.log(np.exp(z).sum())
        value -= share * log_p[0]
        d = share * (np.exp(log_p) - (np.arange(len(classes)) == 0))
        d_hidden[row] = d @ weight[classes]
        np.add.at(d_weight, classes, np.outer(d, hidden[row]))
        if d_bias is not None:
            np.add.at(d_bias, classes, d)
    return float(value), (d_hidden, d_weight, d_bias)


def draw(probabilities: Array, number: int, rng: np.random.Generator) -> tuple[Index, int]:
    """One class after another until `number` different ones have come: these, ascending, and how many draws it took."""
    found: set[int] = set()
    tries = 0
    while len(found) < number:
        found.add(int(rng.choice(len(probabilities), p=probabilities)))
        tries += 1
    return np.array(sorted(found), np.int64), tries


def expected_counts(probabilities: Array, tries: float) -> Array:
    """How often each class comes at least once in so many draws."""
    return np.asarray(1 - (1 - probabilities) ** tries)
