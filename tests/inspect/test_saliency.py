"""Saliency of every feature and symbol, against central differences in float64."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from pylstm import GRU, LSTM, Activation, Columns, Dropout, Embedding, LastStep, Linear, MeanOverTime, Model, Sequential
from pylstm.inspect import input_gradients

F64 = {"dtype": "float64"}
RNG = np.random.default_rng(4)
LENGTHS = np.array([5, 2, 4])


def differences(function, x):
    """The gradient of a number to an array."""
    found = np.zeros_like(x)
    for at in np.ndindex(*x.shape):
        sides = []
        for move in (1e-6, -1e-6):
            moved = x.copy()
            moved[at] += move
            sides.append(function(moved))
        found[at] = (sides[0] - sides[1]) / 2e-6
    return found


def vectors(per_step=False, dropout=0.5):
    pool = [] if per_step else [MeanOverTime()]
    return Sequential(
        [
            LSTM(3, 5, 2, batch_first=True, bidirectional=True, dropout=dropout, **F64), Dropout(dropout),
            Activation("tanh"), *pool, Linear(10, 4, **F64),
        ],
        seed=1,
    )  # fmt: skip


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("output", [0, 3, -2])
def test_the_gradient_of_every_feature(lengths, output):
    model, x = vectors(), RNG.standard_normal((3, 5, 3))
    found = pylstm.saliency(model, x, output, lengths=lengths)
    assert found.shape == x.shape
    assert found.dtype == np.float64
    numeric = differences(lambda moved: model(moved, lengths=lengths)[:, output].sum(), x)
    np.testing.assert_allclose(found, numeric, rtol=1e-6, atol=1e-9)
    assert np.abs(found).max() > 1e-3
    if lengths is not None:
        assert not found[1, 2:].any()
    signed = pylstm.saliency(model, x, output, lengths=lengths, times_input=True)
    np.testing.assert_allclose(signed, numeric * x, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(pylstm.saliency(model, x[0], output), pylstm.saliency(model, x[:1], output)[0])


def test_nothing_is_dropped_and_nothing_changes():
    x, model = RNG.standard_normal((3, 5, 3)), vectors()
    calm = vectors(dropout=0.0)
    calm.load_state_dict(model.params)
    before = model._dropout_state()
    np.testing.assert_array_equal(pylstm.saliency(model, x, 1), pylstm.saliency(calm, x, 1))
    assert model._dropout_state() == before
    assert model.layers[0].dropout == 0.5
    kept = x.copy()
    found = pylstm.saliency(model, x, 1)
    found[:] = 0
    np.testing.assert_array_equal(x, kept)


def test_the_largest_output():
    model, x = vectors(), RNG.standard_normal((4, 5, 3))
    found = pylstm.saliency(model, x)
    for row, best in enumerate(model(x).argmax(-1)):
        np.testing.assert_allclose(found[row], pylstm.saliency(model, x, int(best))[row], rtol=1e-12)


@pytest.mark.parametrize("step", [None, 0, 1, -1, -2])
def test_of_one_step(step):
    model, x = vectors(per_step=True), RNG.standard_normal((3, 5, 3))
    found = pylstm.saliency(model, x, 2, step=step, lengths=LENGTHS)
    wanted = -1 if step is None else step

    def value(moved):
        y = model(moved, lengths=LENGTHS)
        return sum(y[n, wanted if wanted >= 0 else length + wanted, 2] for n, length in enumerate(LENGTHS))

    np.testing.assert_allclose(found, differences(value, x), rtol=1e-6, atol=1e-9)
    assert np.abs(found).max() > 1e-3


def symbols():
    return Sequential(
        [Embedding(9, 4, **F64), GRU(4, 5, batch_first=True, **F64), LastStep(), Linear(5, 3, **F64)], seed=2
    )


@pytest.mark.parametrize("count", [6, 60])  # few symbols, and so many that rows of tables are handed on
def test_of_every_symbol(count):
    model, ids = symbols(), RNG.integers(0, 9, (3, count))
    rest, table = Sequential(model.layers[1:]), model.layers[0](ids)
    numeric = differences(lambda moved: rest(moved)[:, 1].sum(), table) if count < 10 else None
    found = pylstm.saliency(model, ids, 1)
    assert found.shape == ids.shape
    np.testing.assert_allclose(found, model.saliency(ids, 1), rtol=1e-9, atol=1e-15)
    signed = pylstm.saliency(model, ids, 1, times_input=True)
    np.testing.assert_allclose(signed, model.saliency(ids, 1, signed=True), rtol=1e-9, atol=1e-15)
    if numeric is not None:
        np.testing.assert_allclose(found, np.sqrt((numeric**2).sum(-1)), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(signed, (numeric * table).sum(-1), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(pylstm.saliency(model, ids[0].tolist(), 1), found[0], rtol=1e-9)


def test_of_the_symbols_of_each_column():
    parts = [Embedding(9, 4, seed=1, **F64), Embedding(5, 2, seed=2, **F64)]
    model = Sequential([Columns(parts), GRU(6, 5, batch_first=True, **F64), LastStep(), Linear(5, 3, **F64)], seed=3)
    ids = np.stack([RNG.integers(0, 9, (3, 5)), RNG.integers(0, 5, (3, 5))], axis=-1)
    ids[0, 0] = 1  # the same symbols in both columns
    rest, table = Sequential(model.layers[1:]), model.layers[0](ids)
    numeric = differences(lambda moved: rest(moved, lengths=LENGTHS)[:, 1].sum(), table)
    found = pylstm.saliency(model, ids, 1, lengths=LENGTHS)
    assert found.shape == ids.shape
    for k, part in enumerate((numeric[..., :4], numeric[..., 4:])):
        np.testing.assert_allclose(found[..., k], np.sqrt((part**2).sum(-1)), rtol=1e-6, atol=1e-9)


class Net(Model):
    keeps_time = False

    def __init__(self, words=None, dropout=0.3):
        self.embed = None if words is None else Embedding(words, 3, seed=1, **F64)
        self.gru = GRU(3, 4, batch_first=True, seed=2, **F64)
        self.drop = Dropout(dropout, seed=3)
        self.head = Linear(4, 3, seed=4, **F64)

    def run(self, x, lengths=None):
        y, h = self.gru(self.embed(x) if self.embed is not None else x * 2.0, lengths=lengths)
        return self.head(self.drop(h[-1].tanh() + y.max(axis=1)))


def test_of_models_written_as_python():
    model, x = Net(), RNG.standard_normal((3, 5, 3))
    found = pylstm.saliency(model, x, 1, lengths=LENGTHS)
    numeric = differences(lambda moved: model(moved, lengths=LENGTHS)[:, 1].sum(), x)
    np.testing.assert_allclose(found, numeric, rtol=1e-6, atol=1e-9)
    words, ids = Net(9), RNG.integers(0, 9, (3, 5))
    table = words.embed(ids)
    calm = Net(9, 0.0)
    calm.load_state_dict(words.params)

    def value(moved):
        y, h = calm.gru(moved)
        return calm.head(np.tanh(h[-1]) + y.max(axis=1))[:, 1].sum()

    numeric = differences(value, table)
    found = pylstm.saliency(words, ids, 1)
    np.testing.assert_allclose(found, np.sqrt((numeric**2).sum(-1)), rtol=1e-6, atol=1e-9)


def test_an_output_that_the_input_does_not_reach():
    class Deaf(Model):
        keeps_time = False

        def __init__(self):
            self.head = Linear(3, 2, seed=0)

        def run(self, x):
            return self.head(x[:, 0])

    found = pylstm.saliency(Deaf(), RNG.standard_normal((2, 4, 3)), 0)
    assert found.dtype == np.float32
    assert np.abs(found[:, 0]).max() > 0
    assert not found[:, 1:].any()


def test_the_gradient_is_that_of_training(monkeypatch):
    """What is tested above is the way back: here a fault in it shows."""
    model, x = vectors(), RNG.standard_normal((3, 5, 3))
    right = pylstm.saliency(model, x, 1)
    monkeypatch.setattr(input_gradients, "_chosen", lambda y, *_: np.ones_like(y))
    assert not np.allclose(pylstm.saliency(model, x, 1), right)


class Shifted(Net):
    def run(self, x, lengths=None):  # noqa: ARG002
        return self.head(self.gru(self.embed(x[:, 1:]))[0].max(axis=1))


class Several(Net):
    def run(self, x):
        return x, x


X = np.zeros((3, 5, 3))
IDS = np.zeros((3, 5), int)


@pytest.mark.parametrize(("make", "error", "text"), [
    (lambda: pylstm.saliency(Linear(3, 2), X), TypeError, "model must be a Sequential or a Model, got Linear"),
    (lambda: pylstm.saliency(vectors(), X, 4), ValueError, "output must be at most 3, got 4"),
    (lambda: pylstm.saliency(vectors(), X, -5), ValueError, "output must be at least -4"),
    (lambda: pylstm.saliency(vectors(), X, 1.0), TypeError, "output must be an integer"),
    (lambda: pylstm.saliency(vectors(), X, step=1), ValueError, "step is for a model with an output per step"),
    (lambda: pylstm.saliency(vectors(True), X, step=5), ValueError, "step must be one of all .* has 5, got 5"),
    (lambda: pylstm.saliency(vectors(True), X, step=-3, lengths=LENGTHS), ValueError, "one has 2, got -3"),
    (lambda: pylstm.saliency(vectors(), X[0], lengths=[5]), ValueError, "lengths is for a batch"),
    (lambda: pylstm.saliency(vectors(), X, lengths=[5]), ValueError, "lengths"),
    (lambda: pylstm.saliency(vectors(), X, times_input=1), TypeError, "times_input"),
    (lambda: pylstm.saliency(vectors(), X[:0]), ValueError, "x must be a batch"),
    (lambda: pylstm.saliency(vectors(), "x"), TypeError, "x must"),
    (lambda: pylstm.saliency(vectors(), X.astype(int)), TypeError, "which LSTM.* takes for numbers: give .* floats"),
    (lambda: pylstm.saliency(Shifted(9), IDS), ValueError, "given something else than x itself"),
    (lambda: pylstm.saliency(Several(), X), ValueError, "a model with one output, a value, and this one gives tuple"),
])  # fmt: skip
def test_wrong_arguments(make, error, text):
    with pytest.raises(error, match=text):
        make()


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_pictures(plt, chinese, tmp_path):  # noqa: ARG001
    scores = RNG.standard_normal((5, 3))
    figure = pylstm.plot_saliency(scores, list("好学 习x"), features=["a", "b", "天"], title="what tells", font=chinese,
                                  path=tmp_path / "s.png")  # fmt: skip
    assert (tmp_path / "s.png").stat().st_size > 3000
    ax = figure.axes[0]
    np.testing.assert_array_equal(ax.images[0].get_array(), scores.T)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["好", "学", "␣", "习", "x"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "天"]
    assert ax.get_title(loc="left") == "what tells"
    low, high = ax.images[0].get_clim()
    assert low == -high == -np.abs(scores).max()
    bars = pylstm.plot_saliency(scores[:, 0]).axes[0]
    np.testing.assert_allclose([bar.get_height() for bar in bars.patches], scores[:, 0])
    assert bars.get_title(loc="left") == "saliency"
    pylstm.plot_saliency(np.full((2, 2), np.nan))


@pytest.mark.parametrize(("scores", "options", "text"), [
    (np.zeros((2, 3, 4)), {}, "scores must be numbers of one sequence"), ([], {}, "scores must be"),
    (["a"], {}, "scores must be"), (np.zeros(3), {"tokens": ["a"]}, "tokens must be 3 texts, got 1"),
    (np.zeros((3, 2)), {"features": "ab"}, "features must be 2 texts"),
])  # fmt: skip
def test_wrong_arguments_of_pictures(plt, scores, options, text):  # noqa: ARG001
    with pytest.raises(ValueError, match=text):
        pylstm.plot_saliency(scores, **options)
