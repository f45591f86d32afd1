"""recurrent_dropout of Keras' recurrent layers, in training, without Keras."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import pylstm
from support.keras_files import file_of, layer, tensor

F, H, N, T = 3, 4, 5, 6
X = np.random.default_rng(0).normal(size=(N, T, F))
LENGTHS = np.array([6, 3, 1, 0, 5])
GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}


def weights(kind, rng, after=True, inputs=F):
    gates = GATES[kind]
    bias = (2, gates * H) if kind == "GRU" and after else (gates * H,)
    return [rng.normal(size=(inputs, gates * H)) * 0.5, rng.normal(size=(H, gates * H)) * 0.5, rng.normal(size=bias)]


def one(kind, dtype="float64", units=H, **values):
    rng = np.random.default_rng(1)
    values = {"units": units, "return_sequences": True, "dtype": dtype, **values}
    arrays = weights(kind, rng, values.get("reset_after", True))
    layers = [layer("InputLayer", "x"), layer(kind, "rnn", tensor("x"), **values)]
    group = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "simple_rnn"}[kind]
    made = file_of(layers, {f"{group}/cell": arrays}, input_layers=["x", 0, 0], output_layers=["rnn", 0, 0])
    return pylstm.from_keras(made)


def both(dtype="float64", mode="concat", **values):
    rng = np.random.default_rng(2)
    inner = layer("LSTM", "lstm", units=H, return_sequences=True, dtype=dtype, **values)
    layers = [layer("InputLayer", "x"),
              layer("Bidirectional", "both", tensor("x"), layer=inner, merge_mode=mode, dtype=dtype)]  # fmt: skip
    arrays = {f"bidirectional/{way}_layer/cell": weights("LSTM", rng) for way in ("forward", "backward")}
    return pylstm.from_keras(file_of(layers, arrays, input_layers=["x", 0, 0], output_layers=["both", 0, 0]))


def stacked(**values):
    rng = np.random.default_rng(3)
    cells = [layer(f"{kind}Cell", kind.lower(), units=H, **values) for kind in ("LSTM", "GRU")]
    cell = {"module": "keras.layers", "class_name": "StackedRNNCells", "config": {"name": "s", "cells": cells}}
    layers = [layer("InputLayer", "x"), layer("RNN", "rnn", tensor("x"), cell=cell, dtype="float64")]
    arrays = {
        "rnn/cell/cells/lstm_cell": weights("LSTM", rng),
        "rnn/cell/cells/gru_cell": weights("GRU", rng, inputs=H),
    }
    return pylstm.from_keras(file_of(layers, arrays, input_layers=["x", 0, 0], output_layers=["rnn", 0, 0]))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(kind, params, x, lengths, x_mask, h_mask, after=True, backwards=False):
    """A loop over sequences and steps, gate by gate. Masks: (gates, N, F) and (gates, N, H)."""
    gates = GATES[kind]
    W, R = (np.split(params[name], gates) for name in ("weight_ih", "weight_hh"))
    b = np.split(params["bias_ih"], gates)
    b_h = np.split(params.get("bias_hh", np.zeros(gates * H)), gates)
    y = np.zeros((*x.shape[:2], H))
    for n in range(len(x)):
        h, c = np.zeros(H), np.zeros(H)
        for t in reversed(range(lengths[n])) if backwards else range(lengths[n]):
            a = [W[k] @ (x_mask[k, n] * x[n, t]) + b[k] for k in range(gates)]
            u = [R[k] @ (h_mask[k, n] * h) + b_h[k] for k in range(gates)]
            if kind == "SimpleRNN":
                h = np.tanh(a[0] + u[0])
            elif kind == "LSTM":
                i, f, o = (sigmoid(a[k] + u[k]) for k in (0, 1, 3))
                c = f * c + i * np.tanh(a[2] + u[2])
                h = o * np.tanh(c)
            else:
                r, z = sigmoid(a[0] + u[0]), sigmoid(a[1] + u[1])
                inner = r * u[2] if after else R[2] @ (r * h_mask[2, n] * h) + b_h[2]
                h = z * h + (1 - z) * np.tanh(a[2] + inner)
            y[n, t] = h
    return y


def masks_of(model, kind, dropout):
    """Those of the next call, and the model as it was before."""
    inner, gates = model.layers["rnn"], GATES[kind]
    state = model._dropout_state()
    x_mask = np.ones((gates, N, F))
    if dropout:
        x_mask = inner["dropout"][0].forward(np.ones((gates, N, 1, F)))[0][:, :, 0]
    h_mask = inner["recurrent_dropout"][0].forward(np.ones((gates, N, H)))[0]
    model._set_dropout_state(state)
    return x_mask, h_mask


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(("kind", "after"), [("LSTM", True), ("GRU", True), ("GRU", False), ("SimpleRNN", True)])
def test_outputs_are_those_of_a_plain_loop(kind, after, dropout, lengths):
    options = {"reset_after": after} if kind == "GRU" else {}
    model = one(kind, recurrent_dropout=0.5, dropout=dropout, **options)
    assert type(model) is pylstm.KerasModel
    x_mask, h_mask = masks_of(model, kind, dropout)
    assert set(np.unique(h_mask)) == {0.0, 2.0}
    params = {name.removesuffix("_l0"): value for name, value in model.layers["rnn"]["cell"].params.items()}
    counts = np.full(N, T) if lengths is None else lengths
    wanted = by_hand(kind, params, X, counts, x_mask, h_mask, after)
    found, _ = model.forward(X, lengths=lengths)
    for n, count in enumerate(counts):
        np.testing.assert_allclose(found[n, :count], wanted[n, :count], atol=1e-12)
    plain = by_hand(kind, params, X, counts, np.ones_like(x_mask), np.ones_like(h_mask), after)
    for n, count in enumerate(counts):
        np.testing.assert_allclose(model(X, lengths=lengths)[n, :count], plain[n, :count], atol=1e-6)


def test_both_directions_have_masks_of_their_own():
    model = both(recurrent_dropout=0.5)
    state = model._dropout_state()
    masks = [drop.forward(np.ones((4, N, H)))[0] for drop in model.layers["both"]["recurrent_dropout"]]
    assert not np.array_equal(*masks)
    model._set_dropout_state(state)
    params, ones = model.layers["both"]["cell"].params, np.ones((4, N, F))
    found, _ = model.forward(X, lengths=LENGTHS)
    for at, end in enumerate(("_l0", "_l0_reverse")):
        own = {name.removesuffix(end): value for name, value in params.items() if name.endswith(end)}
        wanted = by_hand("LSTM", own, X, LENGTHS, ones, masks[at], backwards=bool(at))
        np.testing.assert_allclose(found[:, :, at * H : (at + 1) * H], wanted, atol=1e-12)


MODELS = {
    "lstm": lambda: one("LSTM", recurrent_dropout=0.5, dropout=0.2),
    "gru": lambda: one("GRU", recurrent_dropout=0.5),
    "gru_before": lambda: one("GRU", recurrent_dropout=0.5, dropout=0.2, reset_after=False),
    "rnn": lambda: one("SimpleRNN", recurrent_dropout=0.5, activation="elu"),
    "both": lambda: both(recurrent_dropout=0.5, mode="mul"),
    "stacked": lambda: stacked(recurrent_dropout=0.5),
}


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_differences(name, lengths):
    model, rng = MODELS[name](), np.random.default_rng(4)
    state = model._dropout_state()

    def output(x):
        model._set_dropout_state(state)  # the same masks each time
        return model.forward(x, lengths=lengths)

    y, backward = output(X)
    dy = rng.normal(size=y.shape)
    dx, grads = backward(dy)
    assert grads.keys() == model.params.keys()
    step = 1e-6
    for key, value in [("x", X), *model.state_dict().items()]:
        for _ in range(4):
            at = tuple(int(rng.integers(n)) for n in value.shape)
            sides = []
            for sign in (1, -1):
                changed = value.copy()
                changed[at] += sign * step
                if key != "x":
                    model.load_state_dict({**model.state_dict(), key: changed})
                sides.append(float((output(changed if key == "x" else X)[0] * dy).sum()))
            if key != "x":
                model.load_state_dict({**model.state_dict(), key: value})
            found = (dx if key == "x" else grads[key])[at]
            np.testing.assert_allclose(found, (sides[0] - sides[1]) / (2 * step), rtol=1e-5, atol=1e-7, err_msg=key)


def test_a_mask_drops_the_share_that_is_said_and_makes_up_for_it():
    """With the identity for weights, what comes out at the second step is the mask."""
    layers = [layer("InputLayer", "x"), layer("SimpleRNN", "rnn", tensor("x"), units=50, activation="linear",
                                              recurrent_dropout=0.3, use_bias=False)]  # fmt: skip
    arrays = {"simple_rnn/cell": [np.ones((1, 50)), np.eye(50)]}
    model = pylstm.from_keras(file_of(layers, arrays, input_layers=["x", 0, 0], output_layers=["rnn", 0, 0]))
    x = np.zeros((400, 2, 1), np.float32)
    x[:, 0] = 1
    masks = [model.forward(x)[0] for _ in range(2)]
    assert not np.array_equal(*masks)
    for mask in masks:
        assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / 0.7)}
        assert abs((mask == 0).mean() - 0.3) < 5 * np.sqrt(0.21 / mask.size)


def test_the_mask_is_one_for_all_steps():
    options = {"activation": "linear", "recurrent_dropout": 0.5, "use_bias": False, "return_sequences": True}
    layers = [layer("InputLayer", "x"), layer("SimpleRNN", "rnn", tensor("x"), units=8, **options)]
    arrays = {"simple_rnn/cell": [np.ones((1, 8)), np.eye(8)]}
    model = pylstm.from_keras(file_of(layers, arrays, input_layers=["x", 0, 0], output_layers=["rnn", 0, 0]))
    x = np.zeros((4, 5, 1), np.float32)
    x[:, 0] = 1
    y, _ = model.forward(x)
    for t in range(1, 5):
        np.testing.assert_allclose(y[:, t], y[:, 1] ** t)


def test_a_rate_of_one():
    """Keras' LSTM and GRU leave it out, its SimpleRNN drops everything."""
    lstm, rnn = one("LSTM", recurrent_dropout=1.0), one("SimpleRNN", recurrent_dropout=1.0)
    np.testing.assert_allclose(lstm.forward(X)[0], lstm(X), atol=1e-12)
    first = X.copy()
    first[:, :-1] = 0
    np.testing.assert_allclose(rnn.forward(X)[0][:, -1], rnn(first[:, -1:])[:, 0], atol=1e-6)


def test_it_is_trained_with_and_not_predicted_with():
    model, x = one("LSTM", "float32", recurrent_dropout=0.5), X.astype(np.float32)
    y = np.random.default_rng(6).normal(size=(N, T, H)).astype(np.float32) * 0.3
    before = model.evaluate(x, y, loss="mse")["loss"]
    assert np.array_equal(model.predict(x), model(x))
    other = copy.deepcopy(model)
    for each in (model, other):
        each.fit(x, y, loss="mse", epochs=20, optimizer=pylstm.Adam(0.02), verbose=0, seed=7)
    assert np.array_equal(model(x), other(x))
    assert model.evaluate(x, y, loss="mse")["loss"] < before


def test_frozen_layers_drop_and_learn_nothing():
    model = one("GRU", recurrent_dropout=0.5)
    model.freeze()
    y, backward = model.forward(X)
    assert not np.allclose(y, model(X))
    dx, grads = backward(np.ones_like(y))
    assert grads == {}
    assert np.abs(dx).sum() > 0


def test_no_time_at_all_and_no_sequences():
    model = one("LSTM", recurrent_dropout=0.5)
    assert model.forward(X[:0])[0].shape == (0, T, H)


@pytest.mark.parametrize("rate", [-0.1, 1.5, "0.5", True])
def test_a_rate_that_is_none(rate):
    with pytest.raises(pylstm.ModelFileError, match="recurrent_dropout must be"):
        one("LSTM", recurrent_dropout=rate)
