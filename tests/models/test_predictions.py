"""`predict`: outputs of batches put together in the order of x, and none computed that nobody gets."""

import numpy as np
import pytest

import pylstm
from pylstm import LSTM, Embedding, LastStep, Linear, Model, Sequential, _core


def sentences(rng, count=23, most=9):
    return [rng.integers(0, 30, length) for length in rng.integers(1, most + 1, count)]


def tagger(dtype="float64"):
    layers = [Embedding(30, 5, dtype=dtype, seed=1), LSTM(5, 6, batch_first=True, dtype=dtype, seed=2)]
    return Sequential([*layers, Linear(6, 11, dtype=dtype, seed=3)])


@pytest.mark.parametrize("size", [1, 4, 23, 100])
@pytest.mark.parametrize("activation", [None, "softmax"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_each_sequence_gets_the_outputs_it_has_alone(size, activation, dtype):
    x, model = sentences(np.random.default_rng(0)), tagger(dtype)
    found = model.predict(x, batch_size=size, activation=activation)
    assert [len(one) for one in found] == [len(one) for one in x]
    for ids, one in zip(x, found, strict=True):
        alone = model(ids[None])[0]
        if activation:
            alone = np.exp(alone) / np.exp(alone).sum(-1, keepdims=True)
            np.testing.assert_allclose(one, alone, rtol=1e-5 if dtype == "float32" else 1e-12)
        else:
            np.testing.assert_array_equal(one, alone)


def test_padded_arrays_have_zeros_past_the_end():
    rng = np.random.default_rng(1)
    x, model = sentences(rng), tagger()
    lengths = np.array([len(one) for one in x])
    padded = np.zeros((len(x), 12), np.int64)
    for row, one in zip(padded, x, strict=True):
        row[: len(one)] = one
    found = model.predict(padded, lengths=lengths, batch_size=5)
    assert found.shape == (23, 12, 11)
    for one, of_list, length in zip(found, model.predict(x), lengths, strict=True):
        np.testing.assert_array_equal(one[:length], of_list)
        assert not one[length:].any()


def test_steps_past_the_end_are_not_computed(monkeypatch):
    x, model = sentences(np.random.default_rng(2)), tagger()
    rows = []
    monkeypatch.setattr(_core, "linear", lambda x, *rest, linear=_core.linear: rows.append(len(x)) or linear(x, *rest))
    model.predict(x, batch_size=8)
    assert sum(rows) == sum(map(len, x))


@pytest.mark.parametrize("size", [3, 50])
def test_one_output_a_sequence_in_the_order_of_x(size):
    x = sentences(np.random.default_rng(3))
    model = Sequential([*tagger().layers[:2], LastStep(), Linear(6, 4, dtype="float64", seed=4)])
    found = model.predict(x, batch_size=size)
    assert found.flags.c_contiguous
    assert found.flags.writeable
    np.testing.assert_array_equal(found, np.stack([model(ids[None])[0] for ids in x]))


def test_whole_arrays_are_the_callers_own():
    rng = np.random.default_rng(4)
    x, model = rng.standard_normal((7, 3)), Sequential([Linear(3, 2, dtype="float64", seed=5)])
    first = model.predict(x)
    kept = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(model.predict(x), kept)
    part = type("FirstOnly", (Model,), {"run": lambda self, x: self.layer(x)[:, :1], "keeps_time": False})()
    part.layer = model.layers[0]
    found = part.predict(x)
    assert found.base is None or found.base.nbytes == found.nbytes  # not a column of something larger
    np.testing.assert_array_equal(found, kept[:, :1])


def test_a_model_with_outputs_for_others():
    class Wrong(Model):
        keeps_time = False

        def __init__(self):
            self.layer = Linear(3, 2, seed=6)

        def run(self, x):
            return self.layer(x)[1:]

    with pytest.raises(ValueError, match=r"outputs of shape \(6, 2\) for 7 sequences"):
        Wrong().predict(np.zeros((7, 3), np.float32))


def test_accuracy_of_lists_and_arrays_agree():
    x, model = sentences(np.random.default_rng(5)), tagger()
    y = [np.arange(len(one)) % 11 for one in x]
    history = model.fit(x, y, loss="cross_entropy", optimizer=pylstm.Adam(0.01), epochs=1, verbose=0, seed=0)
    assert np.isfinite(history["loss"][-1])
    hits = [(one.argmax(-1) == of_one).mean() * len(of_one) for one, of_one in zip(model.predict(x), y, strict=True)]
    assert model.evaluate(x, y)["accuracy"] == pytest.approx(sum(hits) / sum(map(len, y)))
