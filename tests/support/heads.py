"""Models that end with a `Linear` over a vocabulary, and data for them."""

from __future__ import annotations

import numpy as np

import pylstm

V, C = 30, 25  # symbols that go in, and labels


def chain(per_step=True, bias=True, end=None, seed=0, dtype=np.float64, dropout=0.0):
    """`end`: the layers behind the LSTM of 9 units."""
    layers = [pylstm.Embedding(V, 6, dtype=dtype), pylstm.LSTM(6, 9, batch_first=True, dtype=dtype)]
    layers += [pylstm.Dropout(dropout)] * bool(dropout) + ([] if per_step else [pylstm.LastStep()])
    return pylstm.Sequential([*layers, *(end or [pylstm.Linear(9, C, bias, dtype=dtype)])], seed=seed)


class Plain(pylstm.Model):
    """The chain, in a model."""

    keeps_time = True

    def __init__(self):
        self.chain = chain()

    def run(self, x, lengths=None):
        return self.chain(x, lengths=lengths)


class Tied(pylstm.Model):
    """Its last layer is used in the middle, too."""

    keeps_time = True

    def __init__(self):
        self.embed = pylstm.Embedding(V, C, dtype=np.float64, seed=1)
        self.lstm = pylstm.LSTM(C, C, batch_first=True, dtype=np.float64, seed=2)
        self.head = pylstm.Linear(C, C, dtype=np.float64, seed=3)

    def run(self, x, lengths=None):
        y, _ = self.lstm(self.head(self.embed(x)).tanh(), lengths=lengths)
        return self.head(y)


def data(per_step=True, ragged=True, nothing=-100, n=20):
    """Symbols and labels; one label is `nothing`."""
    rng = np.random.default_rng(0)
    x = [rng.integers(0, V, length) for length in (rng.integers(1, 9, n) if ragged else np.full(n, 6))]
    y = [row % C for row in x] if per_step else np.array([row[-1] % C for row in x])
    if per_step:
        y[0][0] = nothing
    else:
        y[3] = nothing
    return (x, y) if ragged else (np.array(x), np.array(y))
