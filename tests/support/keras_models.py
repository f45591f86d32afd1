"""Inputs and weights of models that an installed Keras makes."""

from __future__ import annotations

import numpy as np

N, T, F, VOCABULARY = 5, 7, 4, 11


def sequences(mask=None):
    """(N, T, F); where mask says so, steps are zeros: trailing ones, with holes, leading ones, and a whole sequence."""
    x = np.random.default_rng(0).normal(size=(N, T, F)).astype(np.float32)
    for at, steps in enumerate(masked(mask)):
        x[at, steps] = 0
    return x


def symbols(mask=None):
    x = np.random.default_rng(1).integers(1, VOCABULARY, (N, T)).astype(np.int32)
    for at, steps in enumerate(masked(mask)):
        x[at, steps] = 0
    return x


def masked(mask):
    if mask is None:
        return []
    if mask == "trailing":
        return [[], [6], [4, 5, 6], [1, 2, 3, 4, 5, 6], [5, 6]]
    return [[0, 1], [2, 4], [], list(range(T)), [0, 3, 6]]


def drawn(model, seed=0):
    """With other weights than zeros and ones, and variances above 0."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "seed" in variable.path:
            continue
        value = rng.normal(size=tuple(variable.shape)) * 0.4
        variable.assign(np.abs(value) + 0.5 if "variance" in variable.path else value)
    return model
