"""`predict_classes`: labels in the place of outputs."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
import pytest

import pylstm
from pylstm import GRU, Embedding, LastStep, Linear, Model, Sequential

RNG = np.random.default_rng(3)
X = RNG.integers(0, 9, (40, 6))
RAGGED = [RNG.integers(0, 9, n) for n in RNG.integers(1, 9, 30)]


def model(outputs, per_step=False, dtype="float32"):
    pool = [] if per_step else [LastStep()]
    layers = [Embedding(9, 5, dtype=dtype), GRU(5, 6, batch_first=True, dtype=dtype), *pool]
    return Sequential([*layers, Linear(6, outputs, dtype=dtype)], seed=1)


def trained(outputs, loss, y, per_step=False, x=X, **options):
    net = model(outputs, per_step)
    net.fit(x, y, loss=loss, optimizer=pylstm.Adam(0.05), epochs=5, verbose=0, seed=0, **options)
    return net


SMOOTHED = partial(pylstm.cross_entropy, label_smoothing=0.1)


@pytest.mark.parametrize("loss", ["cross_entropy", pylstm.cross_entropy, SMOOTHED], ids=["name", "function", "partial"])
def test_one_of_many(loss):
    y = X[:, 0] % 3
    net = trained(3, loss, y)
    found = net.predict_classes(X)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, net.predict(X).argmax(-1))
    assert len(set(found.tolist())) > 1
    if isinstance(loss, str):
        assert net.evaluate(X, y)["accuracy"] == (found == y).mean()
    with pytest.raises(ValueError, match="was trained with cross_entropy, and its class is the largest output"):
        net.predict_classes(X, threshold=0.5)


@pytest.mark.parametrize("threshold", [None, 0.5, 0.3, 0.71, 0, 1, 1e-300])
def test_on_and_off(threshold):
    y = (X == 4).any(axis=1).astype(int)
    net = trained(1, "binary_cross_entropy", y)
    found = net.predict_classes(X, threshold=threshold)
    p = net.predict(X.astype(np.int64), activation="sigmoid")[:, 0]
    assert found.shape == (40,)
    np.testing.assert_array_equal(found, p > (0.5 if threshold is None else threshold))
    if threshold in (None, 0.5):
        assert net.evaluate(X, y)["accuracy"] == pytest.approx((found == y).mean())


def test_several_that_are_decided_each_alone():
    y = np.stack([np.equal(X, k).any(axis=1) for k in range(3)], axis=1).astype(int)
    net = trained(3, "binary_cross_entropy", y)
    found = net.predict_classes(X, threshold=0.4)
    np.testing.assert_array_equal(found, net.predict(X, activation="sigmoid") > 0.4)
    assert net.evaluate(X, y)["accuracy"] == pytest.approx((net.predict_classes(X) == y).mean())


@pytest.mark.parametrize("size", [None, 1, 7])
@pytest.mark.parametrize(("outputs", "loss"), [(4, "cross_entropy"), (1, "binary_cross_entropy")])
def test_per_step(outputs, loss, size):
    most = 4 if outputs == 4 else 2
    net = trained(outputs, loss, [one % most for one in RAGGED], per_step=True, x=RAGGED)
    found = net.predict_classes(RAGGED, batch_size=size)
    assert [one.shape for one in found] == [(len(one),) for one in RAGGED]
    for mine, y in zip(found, net.predict(RAGGED), strict=True):
        np.testing.assert_array_equal(mine, y.argmax(-1) if outputs == 4 else y[:, 0] > 0)
    lengths = np.array([len(one) for one in RAGGED])
    padded = np.zeros((30, 11), int)
    for row, one in zip(padded, RAGGED, strict=True):
        row[: len(one)] = one
    whole = net.predict_classes(padded, lengths=lengths, batch_size=size)
    assert whole.shape == (30, 11)
    for row, one in zip(whole, found, strict=True):
        np.testing.assert_array_equal(row[: len(one)], one)
        assert not row[len(one) :].any()
    np.testing.assert_array_equal(net.predict_classes(X), net.predict(X).argmax(-1) if outputs == 4
                                  else net.predict(X)[..., 0] > 0)  # fmt: skip


def test_a_loss_that_nobody_knows():
    def own(y, targets, lengths=None):
        return pylstm.cross_entropy(y, targets, lengths=lengths)

    many, one = trained(3, own, X[:, 0] % 3), model(1)
    np.testing.assert_array_equal(many.predict_classes(X), many.predict(X).argmax(-1))
    np.testing.assert_array_equal(many.predict_classes(X, threshold=0.6), many.predict(X, activation="sigmoid") > 0.6)
    np.testing.assert_array_equal(one.predict_classes(X), one.predict(X)[:, 0] > 0)


def test_numbers_are_no_classes():
    net = trained(1, "mse", X.mean(axis=1))
    for loss in ("mse", pylstm.mse, partial(pylstm.mse)):
        net._loss = loss
        with pytest.raises(ValueError, match="was trained with mse, which is not of classes: predict gives"):
            net.predict_classes(X)
    for loss in ("mae", "huber", pylstm.Huber(2.0), pylstm.QuantileLoss(0.9)):
        with pytest.raises(ValueError, match="which is not of classes"):
            trained(1, loss, X.mean(axis=1)).predict_classes(X)
    smoothed = trained(3, pylstm.CrossEntropy(label_smoothing=0.1), X[:, 0] % 3)
    np.testing.assert_array_equal(smoothed.predict_classes(X), smoothed.predict(X).argmax(-1))
    net._loss = "mse"
    buffer = io.BytesIO()
    net.save(buffer)
    buffer.seek(0)
    with pytest.raises(ValueError, match="was trained with mse"):
        pylstm.load(buffer).predict_classes(X)


def test_nan_is_no_class_and_past_the_lengths_it_does_not_count():
    class Odd(Model):
        keeps_time = True

        def run(self, x, lengths=None):  # noqa: ARG002
            return x * 1.0

    x = RNG.standard_normal((3, 4, 2))
    x[1, 3] = np.nan
    with pytest.raises(FloatingPointError, match="the outputs hold NaN, which is no class"):
        Odd().predict_classes(x)
    found = Odd().predict_classes(x, lengths=[4, 3, 4])
    np.testing.assert_array_equal(found[1, :3], x[1, :3].argmax(-1))
    with pytest.raises(FloatingPointError):
        Odd().predict_classes(x, lengths=[4, 4, 4])


def test_several_outputs():
    class Two(Model):
        keeps_time = False

        def __init__(self):
            self.a, self.b = Linear(3, 4, seed=0), Linear(3, 1, seed=1)

        def run(self, x):
            return {"kind": self.a(x), "on": self.b(x)}

    x = RNG.standard_normal((9, 3)).astype(np.float32)
    net = Two()
    found, outputs = net.predict_classes(x, batch_size=4), net(x)
    np.testing.assert_array_equal(found["kind"], outputs["kind"].argmax(-1))
    np.testing.assert_array_equal(found["on"], outputs["on"][:, 0] > 0)


@pytest.mark.parametrize(("options", "error", "text"), [
    ({"threshold": 1.5}, ValueError, "threshold"), ({"threshold": "x"}, TypeError, "threshold"),
    ({"threshold": True}, TypeError, "threshold"), ({"threshold": np.nan}, ValueError, "threshold"),
    ({"batch_size": 0}, ValueError, "batch_size"), ({"lengths": [1]}, ValueError, "lengths"),
])  # fmt: skip
def test_wrong_arguments(options, error, text):
    with pytest.raises(error, match=text):
        model(1).predict_classes(X, **options)


def test_of_nothing():
    assert model(3).predict_classes(X[:0]).shape == (0,)
    assert model(3, per_step=True).predict_classes([]) == []


def test_outputs_that_are_probabilities():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 4, 3)).astype(np.float32)
    lstm, last, linear = pylstm.LSTM(3, 4, batch_first=True), pylstm.LastStep(), pylstm.Linear(4, 1)
    logits = pylstm.Sequential([lstm, last, linear], seed=0)
    middle = np.median(logits.predict(x), axis=0)
    linear.load_state_dict({"weight": 9 * linear.params["weight"], "bias": 9 * (linear.params["bias"] - middle)})
    probabilities = pylstm.Sequential([lstm, pylstm.Sequential([last, linear, pylstm.Activation("sigmoid")])])
    for threshold in (None, 0.45, 0.5):
        want = logits.predict_classes(x, threshold=threshold)
        assert 0 < want.mean() < 1
        np.testing.assert_array_equal(probabilities.predict_classes(x, threshold=threshold), want)
