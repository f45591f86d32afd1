"""What is a batch to a model, and what is not: it never depends on how many sequences there are."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import pylstm
from support.trainings import everything

RNG = np.random.default_rng(0)


def vectors():
    layers = [pylstm.LSTM(8, 4, batch_first=True), pylstm.Dropout(0.5), pylstm.LastStep(), pylstm.Linear(4, 3)]
    return pylstm.Sequential(layers, seed=0)


def symbols():
    layers = [pylstm.Embedding(9, 3), pylstm.GRU(3, 4, batch_first=True), pylstm.MaxOverTime(), pylstm.Linear(4, 3)]
    return pylstm.Sequential(layers, seed=0)


def tagger():
    return pylstm.Sequential([pylstm.Residual([pylstm.RNN(8, 8, batch_first=True)]), pylstm.Linear(8, 3)], seed=0)


def columns():
    pair = pylstm.Columns([pylstm.Embedding(9, 3), pylstm.Embedding(9, 5)])
    return pylstm.Sequential([pair, pylstm.LSTM(8, 3, batch_first=True)], seed=0)


class Own(pylstm.Model):
    keeps_time = True

    def __init__(self, pooled=False):
        self.lstm, self.head = pylstm.LSTM(8, 4, batch_first=True, seed=0), pylstm.Linear(4, 3, seed=1)
        self.pooled = pylstm.LastStep() if pooled else None

    def run(self, x, lengths=None):
        y, _ = self.lstm(x, lengths=lengths)
        return self.head(y if self.pooled is None else self.pooled(y, lengths=lengths))


class Doubles(pylstm.Layer):
    """It does not say its shapes."""

    def __call__(self, x, *, lengths=None):  # noqa: ARG002
        return 2 * x

    def forward(self, x, *, lengths=None, need_dx=True):  # noqa: ARG002
        return 2 * x, lambda dy: (2 * dy, {})


def doubling():
    return pylstm.Sequential([Doubles(), pylstm.LSTM(8, 4, batch_first=True), pylstm.Linear(4, 3)], seed=0)


def linear():
    return pylstm.Sequential([pylstm.Linear(2, 2), pylstm.Activation("tanh"), pylstm.Linear(2, 2)], seed=0)


WRONG = {
    "one sequence of vectors": (vectors, RNG.standard_normal((8, 8))),
    "one sequence in a list": (vectors, [[0.0] * 8] * 5),
    "rows of vectors": (vectors, RNG.standard_normal((500, 8))),
    "another width": (vectors, RNG.standard_normal((5, 6, 7))),
    "an axis more": (vectors, RNG.standard_normal((5, 6, 2, 8))),
    "another width in a list": (vectors, [RNG.standard_normal((n, 7)) for n in (3, 4)]),
    "a list of numbers": (symbols, [1, 2, 3, 4]),
    "one sequence of symbols": (symbols, np.arange(8)),
    "symbols with an axis more": (symbols, np.ones((4, 5, 2), int)),
    "one sequence of a tagger": (tagger, RNG.standard_normal((6, 8))),
    "one sequence of columns": (columns, np.ones((6, 2), int)),
    "too many columns": (columns, np.ones((4, 6, 3), int)),
    "one row": (linear, [1.0, 2.0]),
    "rows behind a layer of ones own": (doubling, RNG.standard_normal((12, 8)).astype("f")),
    "rows of a model": (Own, RNG.standard_normal((12, 8))),
    "one sequence of a model": (lambda: Own(pooled=True), RNG.standard_normal((1, 8))),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("batch_size", [1, 2, 3, 32])
def test_what_is_no_batch_is_refused_whatever_the_batch_size(case, batch_size):
    make, x = WRONG[case]
    model, optimizer = make(), pylstm.Adam()
    before = everything(model, optimizer)
    match = r"x .*(\(N, |batch)"
    with pytest.raises(ValueError, match=match):
        model.predict(x, batch_size=batch_size)
    for y in (np.zeros(len(x), int), np.zeros((len(x), 8), int)):
        with pytest.raises(ValueError, match=match):
            model.fit(x, y, loss="cross_entropy", optimizer=optimizer, batch_size=batch_size, seed=1, verbose=0)
        with pytest.raises(ValueError, match=match):
            model.evaluate(x, y, loss="cross_entropy", batch_size=batch_size)
    assert everything(model, optimizer) == before


def test_the_error_says_what_to_do():
    with pytest.raises(ValueError, match=r"x must give batches \(N, T, 8\), got shape \(5, 8\).*x\[None\]"):
        vectors().predict(np.zeros((5, 8)))
    for symbol in ([1, 2, 3], np.array([1, 2, 3])):
        with pytest.raises(ValueError, match=r"One sequence needs an axis.* x\[None\], or \[x\] of a list"):
            symbols().predict(symbol)
    assert symbols().predict([[1, 2, 3]]).shape == (1, 3)
    with pytest.raises(ValueError, match=r"validation_data: x must give batches \(N, T, 8\)"):
        vectors().fit(np.zeros((4, 5, 8)), [0, 1, 2, 0], loss="cross_entropy", optimizer=pylstm.SGD(), verbose=0,
                      validation_data=(np.zeros((4, 8)), [0, 1, 2, 0]))  # fmt: skip


def test_rows_and_sequences_of_layers_that_take_both():
    model = linear()
    x = RNG.standard_normal((6, 5, 2)).astype("f")
    expected = model.predict(x)
    np.testing.assert_array_equal(model.predict(x[:, 0]), expected[:, 0])
    for got, wanted in zip(model.predict(list(x)), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    for size in (1, 2, 4):
        np.testing.assert_array_equal(model.predict(x[:, 0], batch_size=size), expected[:, 0])
    model.fit(x[:, 0], np.arange(6) % 2, loss="cross_entropy", optimizer=pylstm.SGD(), verbose=0)
    table = pylstm.Sequential([pylstm.Embedding(9, 3), pylstm.Linear(3, 2)], seed=0)  # a symbol a row
    assert table.predict([1, 2, 3]).shape == (3, 2)


def test_a_layer_that_does_not_say_its_shapes_takes_what_it_takes():
    class Wide(pylstm.Layer):
        def __call__(self, x, *, lengths=None):  # noqa: ARG002
            return np.concatenate([x, x], axis=-1)

        def forward(self, x, *, lengths=None, need_dx=True):  # noqa: ARG002
            return self(x), lambda dy: (dy[..., : x.shape[-1]] + dy[..., x.shape[-1] :], {})

    class Hashed(pylstm.Embedding):
        def __call__(self, x, *, lengths=None):
            return super().__call__(np.asarray(x) % self.num, lengths=lengths)

        def forward(self, x, **options):
            return super().forward(np.asarray(x) % self.num, **options)

    x = RNG.standard_normal((5, 6, 4)).astype("f")
    wide = pylstm.Sequential([Wide(), pylstm.LSTM(8, 3, batch_first=True), pylstm.LastStep()], seed=0)
    assert wide.predict(x).shape == (5, 3)
    hashed = pylstm.Sequential([Hashed(9, 3), pylstm.MeanOverTime(), pylstm.Linear(3, 2)], seed=0)
    ids = RNG.integers(0, 1000, (6, 5))
    hashed.fit(ids, np.arange(6) % 2, loss="cross_entropy", optimizer=pylstm.SGD(), verbose=0)
    assert hashed.predict(ids).shape == (6, 2)


def test_what_is_remembered_of_shapes_is_of_these_layers_and_goes_into_no_pickle():
    model, x = vectors(), RNG.standard_normal((2, 3, 8))
    before = pickle.dumps(model)
    expected = model.predict(x)
    assert pickle.dumps(model) == before
    np.testing.assert_array_equal(model.predict(x), expected)
    model.layers = model.layers[2:]
    with pytest.raises(ValueError, match="x must give batches"):
        model.predict(x)


class Runs(pylstm.Model):
    """Counts its runs where no run can take it back."""

    keeps_time = False

    def __init__(self):
        self.gru, self.head = pylstm.GRU(3, 4, batch_first=True, seed=0), pylstm.Linear(4, 3, seed=1)
        self.start, self.counted = np.zeros((1, 4, 4), "f"), []

    def run(self, x, lengths=None):
        self.counted.append(x.shape)
        return self.head(self.gru(x, lengths=lengths)[0][:, -1])


class FixedStart(Runs):
    def run(self, x):
        return self.head(self.gru(x, self.start)[0][:, -1])


class Contrast(Runs):
    def run(self, x):
        if len(x) < 2:
            raise ValueError("it needs two")
        h = self.gru(x)[0][:, -1]
        return self.head(h - h.mean(axis=0))


class Largest(Runs):
    def run(self, x, lengths=None):
        return self.head(self.gru(x, lengths=lengths)[0].max(axis=1))


class OneByOne(Runs):
    """A layer gets one sequence (T, F) after the other, in batches of as many as it has steps."""

    def run(self, x):
        return self.head(pylstm.concatenate([self.gru(row)[0][-1:] for row in x], axis=0))


class Standard(pylstm.Layer):
    keeps_time = True

    def __call__(self, x, *, lengths=None):  # noqa: ARG002
        return (x - x.mean(axis=0)) / x.std(axis=0)

    def forward(self, x, *, lengths=None, need_dx=True):  # noqa: ARG002
        return self(x), lambda dy: (dy, {})


def standard():
    return pylstm.Sequential(
        [Standard(), pylstm.GRU(3, 4, batch_first=True), pylstm.LastStep(), pylstm.Linear(4, 3)], seed=0
    )


PLAIN = RNG.standard_normal((12, 4, 3)).astype("f")
RAGGED = [PLAIN[i, : i % 5] for i in range(12)]  # the first one is empty; no batch of 4 is


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("make", "x"),
    [(FixedStart, PLAIN), (Contrast, PLAIN), (Largest, RAGGED), (Runs, RAGGED), (OneByOne, PLAIN), (standard, PLAIN)],
    ids=["fixed", "contrast", "largest", "last", "one by one", "standard"],
)
def test_what_takes_every_batch_that_there_is_is_not_refused_for_another(make, x):
    model, y = make(), np.arange(12) % 3
    options = {"loss": "cross_entropy", "batch_size": 4}
    model.fit(x, y, optimizer=pylstm.SGD(), verbose=0, shuffle=False, validation_data=(x, y), **options)
    model.evaluate(x, y, **options)
    assert len(model.predict(x, batch_size=4)) == 12
    if make is standard:  # of rows, whose look is the first run itself
        rows = pylstm.Sequential([Standard(), pylstm.Linear(3, 3)], seed=0)
        rows.fit(x[:, 0], y, optimizer=pylstm.SGD(), verbose=0, **options)
        assert len(rows.predict(x[:, 0], batch_size=4)) == 12


def test_prediction_and_evaluation_run_a_model_once_a_batch_and_training_once_before():
    class Rows(Runs):
        def run(self, x, lengths=None):  # noqa: ARG002
            self.counted.append(x.shape)
            return self.head(pylstm.concatenate([x, x[:, :1]], axis=1))

    for model, x in ((Runs(), PLAIN), (Rows(), PLAIN[:, 0])):
        y, options = np.arange(12) % 3, {"loss": "cross_entropy", "batch_size": 6}
        model.predict(x[:1])
        assert len(model.counted) == 1
        model.evaluate(x, y, **options)
        assert len(model.counted) == 3
        model.fit(x, y, optimizer=pylstm.SGD(), verbose=0, **options)
        assert model.counted[3:] == 3 * [(6, *x.shape[1:])]
