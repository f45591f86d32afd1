"""A model with all that a training may hang on, data for it, and a short fit."""

from __future__ import annotations

import numpy as np

import pylstm

SYMBOLS = 12


def model(seed=0, per_step=False, dropout=0.3, dtype=np.float32, **options):
    recurrent = pylstm.LSTM(8, 10, 2, batch_first=True, dropout=dropout, dtype=dtype, **options)
    width = 20 if options.get("bidirectional") else 10
    layers = [pylstm.Embedding(SYMBOLS, 8, padding_idx=0, dtype=dtype), recurrent, pylstm.Dropout(dropout)]
    if per_step:
        return pylstm.Sequential([*layers, pylstm.Linear(width, 3, dtype=dtype)], seed=seed)
    return pylstm.Sequential([*layers, pylstm.LastStep(), pylstm.Linear(width, 1, dtype=dtype)], seed=seed)


def sequences(count=90, longest=9, seed=0):
    rng = np.random.default_rng(seed)
    x = [rng.integers(1, SYMBOLS, n) for n in rng.integers(1, longest + 1, count)]
    return x, np.array([int((s <= 3).any()) for s in x]), [s % 3 for s in x]


def fit(net, x, y, per_step=False, optimizer=None, **options):
    loss = "cross_entropy" if per_step else "binary_cross_entropy"
    defaults = {"epochs": 3, "batch_size": 16, "verbose": 0, "seed": 5}
    return net.fit(x, y, loss=loss, optimizer=optimizer or pylstm.Adam(1e-2), **{**defaults, **options})


def same_bits(a, b):
    return all(a.params[name].tobytes() == value.tobytes() for name, value in b.params.items())
