"""A small set of data as batches, and training on it."""

from __future__ import annotations

import numpy as np

import pylstm

RNG = np.random.default_rng(0)
X = RNG.standard_normal((70, 6, 3)).astype(np.float32)
Y = (X[:, :, 0].sum(axis=1) > 0).astype(np.int64)
LENGTHS = RNG.integers(1, 7, 70)
SIZE = 16


def chain(dropout=0.3):
    layers = [pylstm.GRU(3, 5, batch_first=True), pylstm.MaxOverTime(), pylstm.Dropout(dropout), pylstm.Linear(5, 2)]
    return pylstm.Sequential(layers, seed=0)


def batches():
    for i in range(0, len(X), SIZE):
        yield X[i : i + SIZE], Y[i : i + SIZE]


def whole(model, *data, **options):
    return fitted(model, *data, **{"batch_size": SIZE, "shuffle": False, **options})


def fitted(model, *data, **options):
    options = {"loss": "cross_entropy", "optimizer": pylstm.Adam(1e-2), "seed": 0, "verbose": 0, **options}
    return model.fit(*data, **options)
