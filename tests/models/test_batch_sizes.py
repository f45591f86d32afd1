"""The size of `predict`'s batches: chosen by memory, and not to be seen in the bits."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import pylstm
from pylstm import (
    GRU,
    LSTM,
    Activation,
    Columns,
    Embedding,
    LastStep,
    Linear,
    MaxOverTime,
    MeanOverTime,
    Residual,
    Sequential,
)
from pylstm.models import batch_sizes
from pylstm.training.data import Inputs

RNG = np.random.default_rng(8)


def symbols(most=30, count=70):
    return [RNG.integers(0, 9, n) for n in RNG.integers(1, most, count)]


def vectors(width, dtype="float32", most=300, count=50):
    return [RNG.standard_normal((n, width)).astype(dtype) for n in RNG.integers(1, most, count)]


CASES = {
    "steps": lambda: (Sequential([Embedding(9, 4), LSTM(4, 6, 2, batch_first=True, bidirectional=True), Linear(12, 5)]),
                      symbols()),
    "mean": lambda: (Sequential([Embedding(9, 4), GRU(4, 7, batch_first=True), MeanOverTime(), Linear(7, 1)]),
             symbols()),
    "narrow mean": lambda: (Sequential([MeanOverTime(), Linear(1, 3)]), vectors(1)),
    "narrow mean, float64": lambda: (Sequential([MeanOverTime(), Linear(1, 3, dtype="float64")]),
                                     vectors(1, "float64")),
    "max": lambda: (Sequential([Residual([GRU(3, 3, batch_first=True)]), MaxOverTime(), Activation("softmax")]),
                    vectors(3)),
    "columns": lambda: (Sequential([Columns([Embedding(9, 2), Embedding(5, 3)]), GRU(5, 4, batch_first=True),
                                    LastStep()]),
                        [np.stack([one, one % 5], axis=-1) for one in symbols()]),
    "rows": lambda: (Sequential([Linear(5, 40), Activation("tanh"), Linear(40, 2)]),
                     RNG.standard_normal((300, 5)).astype(np.float32)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("activation", [None, "softmax"])
def test_the_bits_do_not_depend_on_the_batch(name, activation):
    model, x = CASES[name]()
    expected = model.predict(x, batch_size=1, activation=activation)
    for size in (None, 2, 7, 33, 1000):
        found = model.predict(x, batch_size=size, activation=activation)
        for mine, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(mine, other)


def sizes(model, x, lengths=None):
    inputs = Inputs(x, lengths, several=model._several)
    parts = batch_sizes.batches(model, inputs, None)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(inputs)))
    return parts


def test_long_sequences_go_in_small_batches():
    model = Sequential([LSTM(3, 64, batch_first=True), Linear(64, 5)])
    each = (3 + 64 + 5) * 4
    for steps in (10, 1000, 20_000, 300_000, 10**7):
        x = np.broadcast_to(np.float32(0), (300, steps, 3))
        largest = max(map(len, sizes(model, x)))
        assert largest == 1 or largest * each * steps <= batch_sizes.BUDGET
        room = batch_sizes.BUDGET // (each * steps)
        assert largest >= min(128, max(1, room))
    assert list(map(len, sizes(model, np.zeros((300, 10, 3))))) == [300]
    x = np.broadcast_to(np.float32(0), (300, 300_000, 3))
    ragged = sizes(model, x, np.arange(300) * 1000 + 1)
    counts = list(map(len, ragged))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 2 * counts[-1]


def test_only_what_is_before_the_pooling_has_steps():
    pooled = Sequential([Embedding(9, 4), MeanOverTime(), Linear(4, 10_000)])
    per_step = Sequential([Embedding(9, 4), Linear(4, 10_000)])
    x = np.zeros((400, 1000), np.int64)
    assert len(sizes(pooled, x)) < 5 < len(sizes(per_step, x))


def test_models_written_as_python():
    class Net(pylstm.Model):
        keeps_time = True

        def __init__(self):
            self.lstm, self.heads = LSTM(3, 64, batch_first=True), [Linear(64, 5), Linear(64, 900)]

        def run(self, x, lengths=None):
            h, _ = self.lstm(x, lengths=lengths)
            return self.heads[0](h), self.heads[1](h)

    x = np.broadcast_to(np.float32(0), (300, 1000, 3))
    largest = max(map(len, sizes(Net(), x)))
    assert largest == batch_sizes.BUDGET // (4 * 1000 * (3 + 64 + 5 + 900))
    assert len(sizes(Net(), (x[:, :1], x))) == 5  # by the longer one


def test_the_memory_stays_within_the_budget(monkeypatch):
    """Seen from outside: NumPy tells tracemalloc of its arrays, and the layers' own are as large."""
    model = Sequential([Activation("tanh"), Linear(16, 16), Activation("relu"), LastStep()])
    x = RNG.standard_normal((64, 2000, 16)).astype(np.float32)

    def peak(size):
        tracemalloc.start()
        try:
            model.predict(x, batch_size=size)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    monkeypatch.setattr(batch_sizes, "BUDGET", 2**22)
    whole, within = peak(64), peak(None)
    assert whole > 2**23
    assert within < 2**22 + 2**20
