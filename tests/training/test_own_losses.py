"""Losses of one's own that only say the value: the graph has the gradient."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np
import pytest

import pylstm

RNG = np.random.default_rng(2)
X, Y = RNG.standard_normal((20, 6, 3)).astype("f"), RNG.standard_normal((20, 1)).astype("f")
LENGTHS = RNG.integers(1, 7, 20)
LENGTHS[3] = 6


def net(out=1, per_step=False, dtype=np.float32):
    end = [] if per_step else [pylstm.LastStep()]
    lstm = pylstm.LSTM(3, 5, batch_first=True, dtype=dtype)
    return pylstm.Sequential([lstm, pylstm.Dropout(0.2), *end, pylstm.Linear(5, out, dtype=dtype)], seed=0)


def trained(loss, model=None, x=X, y=Y, **options):
    model = model or net()
    history = model.fit(x, y, loss=loss, optimizer=pylstm.SGD(0.1), batch_size=6, epochs=2, seed=1, verbose=0,
                        validation_data=(x, y, options.get("lengths")), **options)  # fmt: skip
    return history, model


def by_hand(y, targets, lengths=None):  # noqa: ARG001
    d = y - targets
    return (d * d).mean(), 2 * d / d.size


def by_graph(y, targets, lengths=None):  # noqa: ARG001
    return ((y - targets) ** 2).mean()


def of_values_only(y, targets, lengths=None):  # noqa: ARG001
    d = y - targets
    return ((d.relu() + (-d).relu()) ** 2).mean()


def of_functions(y, targets, lengths=None):  # noqa: ARG001
    return pylstm.exp(pylstm.log((y - targets) ** 2)).mean()


def of_absolutes(y, targets, lengths=None):  # noqa: ARG001
    return (abs(y - targets) * np.abs(y - targets)).mean()


def by_numpy(y, targets, lengths=None):  # noqa: ARG001
    return np.square(y - targets).mean() if isinstance(y, np.ndarray) else ((y - targets) ** 2).mean()


@pytest.mark.parametrize("loss", [by_graph, of_values_only, of_functions, by_numpy, of_absolutes])
def test_as_by_hand(loss):
    expected, other = trained(by_hand)
    history, model = trained(loss)
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(history[name], expected[name], rtol=1e-5)
    for name, value in other.params.items():
        np.testing.assert_allclose(model.params[name], value, atol=1e-6)
    np.testing.assert_allclose(model.evaluate(X, Y)["loss"], history["val_loss"][-1], rtol=1e-6)


def test_gradients_by_differences():
    """Of a loss that nobody has a formula for, in float64, with lengths and a weight of its own."""
    model = net(3, per_step=True, dtype=np.float64)
    labels = RNG.integers(0, 3, (20, 6))

    def focal(y, targets, lengths=None):
        log_p = y.log_softmax()[np.arange(len(targets))[:, None], np.arange(targets.shape[1]), targets]
        inside = (np.arange(targets.shape[1]) < lengths[:, None]) * 1.0
        return -((1 - log_p.exp()) ** 2 * log_p * inside).sum() / inside.sum(), inside.sum()

    class Kept(pylstm.SGD):
        def step(self, layers, grads, **options):
            self.grads = copy.deepcopy(grads)
            super().step(layers, grads, **options)

    optimizer = Kept(0.0)
    for layer in model.layers:
        if isinstance(layer, pylstm.Dropout):
            layer.p = 0.0
    plain = pylstm.Sequential([layer for layer in model.layers if not isinstance(layer, pylstm.Dropout)])
    history = plain.fit(X, labels, loss=focal, optimizer=optimizer, batch_size=20, lengths=LENGTHS, verbose=0)
    figure = plain.evaluate(X, labels, lengths=LENGTHS, batch_size=7)["loss"]  # a mean over steps, however cut
    np.testing.assert_allclose(figure, history["loss"][0], rtol=1e-12)
    for name, at in (("1.bias", (1,)), ("1.weight", (2, 3)), ("0.weight_ih_l0", (7, 1)), ("0.bias_ih_l0", (3,))):
        values = []
        for step in (1e-6, -1e-6):
            state = copy.deepcopy(plain.state_dict())
            state[name][at] += step
            moved = copy.deepcopy(plain)
            moved.load_state_dict(state)
            values.append(moved.evaluate(X, labels, loss=focal, lengths=LENGTHS)["loss"])
        np.testing.assert_allclose(optimizer.grads[name][at], (values[0] - values[1]) / 2e-6, rtol=1e-5, atol=1e-9)


class Two(pylstm.Model):
    keeps_time = False

    def __init__(self):
        self.lstm = pylstm.LSTM(3, 4, batch_first=True, seed=0)
        self.a, self.b = pylstm.Linear(4, 1, seed=1), pylstm.Linear(4, 2, seed=2)

    def run(self, x):
        y, _ = self.lstm(x)
        return {"a": self.a(y[:, -1]), "b": self.b(y[:, -1])}


def test_several_outputs():
    y = {"a": Y, "b": np.hstack([Y, -Y])}

    def graph(out, targets, lengths=None):  # noqa: ARG001
        return ((out["a"] - targets["a"]) ** 2).mean() + ((out["b"] - targets["b"]) ** 2).mean()

    def hand(out, targets, lengths=None):  # noqa: ARG001
        a, b = out["a"] - targets["a"], out["b"] - targets["b"]
        return (a * a).mean() + (b * b).mean(), {"a": 2 * a / a.size, "b": 2 * b / b.size}

    models = []
    for loss in (graph, hand):
        model = Two()
        model.fit(X, y, loss=loss, optimizer=pylstm.SGD(0.1), epochs=2, seed=0, verbose=0)
        models.append(model)
    for name, value in models[0].params.items():
        np.testing.assert_allclose(models[1].params[name], value, atol=1e-6)

    def of_a(out, t, lengths=None):  # noqa: ARG001
        return ((out["a"] - t["a"]) ** 2).mean()

    only_a = Two()
    before = only_a.params["b.weight"].copy()
    only_a.fit(X, y, loss=of_a, optimizer="sgd", verbose=0)
    assert (only_a.params["b.weight"] == before).all()


def test_a_loss_with_its_gradient_is_called_as_before():
    calls = []

    def loss(y, targets, lengths=None):
        calls.append((type(y), type(targets), lengths))
        return by_hand(y, targets)

    net().fit(X, Y, loss=loss, optimizer=pylstm.SGD(0.1), batch_size=10, verbose=0)
    assert calls == [(np.ndarray, np.ndarray, None)] * 2


def in_place(y, targets, lengths=None):  # noqa: ARG001
    y -= targets
    return (y**2).mean()


def in_place_of_values(y, targets, lengths=None):  # noqa: ARG001
    targets *= -1
    y += targets
    return (y.relu() - (-y).relu()).abs().mean()


@pytest.mark.parametrize("loss", [in_place, in_place_of_values])
def test_finding_out_what_a_loss_is_changes_nothing(loss):
    """It is called with arrays first, which it may write to."""

    def plain(y, targets, lengths=None):  # noqa: ARG001
        return ((y - targets) ** 2).mean() if loss is in_place else (y - targets).abs().mean()

    models, y = [net(), net()], Y.copy()
    for model, function in zip(models, (loss, plain), strict=True):
        model.fit(X, y, loss=function, optimizer=pylstm.SGD(0.1), batch_size=7, epochs=2, seed=1, verbose=0)
    assert (y == Y).all()
    for name, value in models[0].params.items():
        np.testing.assert_allclose(models[1].params[name], value, atol=1e-6)


OTHER = pylstm.Linear(1, 1)


ODD: list[Any] = [
    (lambda y, t, lengths: y - t, TypeError, "value, gradient|one number"),
    (lambda y, t, lengths: (y.relu() - t), TypeError, "one number"),
    (lambda y, t, lengths: 1.0, TypeError, "value, gradient.*got float"),
    (lambda y, t, lengths: "x", TypeError, "value, gradient"),
    (lambda y, t, lengths: None, TypeError, "value, gradient.*None"),
    (lambda y, t, lengths: y.relu().detach().mean(), ValueError, "does not depend"),
    (lambda y, t, lengths: OTHER(y).relu().mean(), ValueError, "gradients would be lost"),
    (lambda y, t, lengths: (y.relu().mean(), -1.0), ValueError, "weight"),
    (lambda y, t, lengths: (y.relu().mean(), "x"), TypeError, "weight"),
    (lambda y, t, lengths: np.median(y - t), TypeError, "median of a value is not recorded"),
    (lambda y, t, lengths: y.no_such_thing(), AttributeError, "no_such_thing"),
    (lambda y, t, lengths: (y - t).log().mean() * np.nan, FloatingPointError, "nan"),
]  # fmt: skip
# ruff: noqa: ARG005 - a loss function has these parameters


@pytest.mark.parametrize(("loss", "error", "text"), ODD)
def test_errors_leave_all_as_it_was(loss, error, text):
    model, optimizer = net(), pylstm.Adam(1e-2)
    before, masks = copy.deepcopy(model.state_dict()), model._dropout_state()
    with pytest.raises(error, match=text), np.errstate(all="ignore"):
        model.fit(X, Y, loss=loss, optimizer=optimizer, verbose=0)
    assert all((model.params[name] == value).all() for name, value in before.items())
    assert (model._dropout_state(), model._loss) == (masks, None)


def test_reduce_and_truncate():
    y = RNG.standard_normal((20, 6, 1)).astype("f")
    states = [
        trained(loss, net(1, per_step=True), y=y, **options)[1].params
        for loss in (by_hand, by_graph)
        for options in ({"truncate": 2}, {"reduce": lambda grads, weight: (grads, weight)})
    ]
    for name in states[0]:
        for k in (0, 1):
            np.testing.assert_allclose(states[k + 2][name], states[k][name], atol=1e-6)


def test_going_on_from_a_checkpoint(tmp_path):
    straight = trained(by_graph)[1]
    keep = {"optimizer": pylstm.SGD(0.1), "batch_size": 6, "seed": 1, "verbose": 0}
    net().fit(X, Y, loss=by_graph, epochs=1, callbacks=[pylstm.ModelCheckpoint(tmp_path / "m.npz")], **keep)
    resumed = net()
    resumed.fit(X, Y, loss=by_graph, epochs=2, resume=tmp_path / "m.npz", **keep)
    for name, value in straight.params.items():
        assert value.tobytes() == resumed.params[name].tobytes()
    loaded = pylstm.load(tmp_path / "m.npz")
    assert loaded._loss is None  # a function is no part of a file
    assert loaded.evaluate(X, Y, loss=by_graph)["loss"] > 0


def test_a_partial_of_what_has_no_hash():
    class Scaled(list):  # lists have none
        def __call__(self, y, targets, lengths=None):
            return by_graph(y, targets, lengths)

    assert trained(partial(Scaled()))[0]["loss"] == trained(by_graph)[0]["loss"]
