"""GaussianNoise, GaussianDropout and AlphaDropout of Keras in training, without Keras."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import pylstm
from support.keras_files import file_of, layer, tensor

X = np.random.default_rng(0).normal(size=(200, 30, 10))


def model(kind, **values):
    layers = [layer("InputLayer", "x"), layer(kind, "noise", tensor("x"), dtype="float64", **values)]
    ends = {"input_layers": ["x", 0, 0], "output_layers": ["noise", 0, 0]}
    return pylstm.from_keras(file_of(layers, {}, **ends))


CASES = [("GaussianNoise", {"stddev": 0.3}), ("GaussianDropout", {"rate": 0.2}), ("AlphaDropout", {"rate": 0.2})]


@pytest.mark.parametrize(("kind", "values"), CASES)
def test_in_training_alone(kind, values):
    made = model(kind, **values)
    assert type(made) is pylstm.KerasModel
    np.testing.assert_array_equal(made(X), X)
    np.testing.assert_array_equal(made.predict(X), X)
    first, second = made.forward(X)[0], made.forward(X)[0]
    assert not np.array_equal(first, second)
    state = made._dropout_state()
    again = pickle.loads(pickle.dumps(made))
    np.testing.assert_array_equal(again.forward(X)[0], made.forward(X)[0])
    made._set_dropout_state(state)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(made)).forward(X)[0], made.forward(X)[0])


def test_noise_is_added():
    off = model("GaussianNoise", stddev=0.3).forward(X)[0] - X
    assert abs(off.mean()) < 0.005
    assert abs(off.std() - 0.3) < 0.005
    assert abs(np.corrcoef(off.ravel(), X.ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(off[:, 1:].ravel(), off[:, :-1].ravel())[0, 1]) < 0.02


def test_noise_is_multiplied():
    factor = model("GaussianDropout", rate=0.2).forward(X)[0] / X
    assert abs(factor.mean() - 1) < 0.01
    assert abs(factor.std() - np.sqrt(0.2 / 0.8)) < 0.01


def test_alpha_dropout_keeps_mean_and_variance():
    y = model("AlphaDropout", rate=0.2).forward(X)[0]
    a = (0.8 * (1 + 0.2 * 1.7580993408473766**2)) ** -0.5
    floor = a * -1.7580993408473766 * 0.8  # a f - a f 0.2
    dropped = np.isclose(y, floor)
    assert abs(dropped.mean() - 0.2) < 0.01
    np.testing.assert_allclose(y[~dropped], (a * X + a * 1.7580993408473766 * 0.2)[~dropped], atol=1e-12)
    assert abs(y.mean()) < 0.02
    assert abs(y.var() - 1) < 0.02


@pytest.mark.parametrize(("kind", "values"), CASES)
def test_gradients(kind, values):
    made, x = model(kind, **values), X[:2, :3, :4]
    state = made._dropout_state()
    weight = np.random.default_rng(1).normal(size=x.shape)

    def loss(x):
        made._set_dropout_state(state)
        return float((made.forward(x)[0] * weight).sum())

    made._set_dropout_state(state)
    found = made.forward(x)[1](weight)[0]
    for at in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[at] = 1e-6
        assert (loss(x + step) - loss(x - step)) / 2e-6 == pytest.approx(found[at], abs=1e-7)


@pytest.mark.parametrize(("kind", "values"), CASES)
def test_none_is_nothing(kind, values):
    made = model(kind, **dict.fromkeys(values, 0))
    np.testing.assert_array_equal(made.forward(X)[0], X)


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [("GaussianNoise", {"stddev": -1}, "stddev must be at least 0"),
     ("GaussianDropout", {"rate": 1.0}, "rate must be at least 0 and less than 1"),
     ("AlphaDropout", {"rate": 0.5, "noise_shape": [None, 1, None]}, "noise_shape")],
)  # fmt: skip
def test_wrong(kind, values, said):
    with pytest.raises(pylstm.ModelFileError, match=said):
        model(kind, **values)
