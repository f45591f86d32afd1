"""Training beside an installed Keras: normalisation by the batch, states that go on, masks of recurrent dropout."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest

import pylstm

if "KERAS_BACKEND" not in os.environ:
    os.environ["KERAS_BACKEND"] = "torch"
pytest.importorskip("h5py")
keras = pytest.importorskip("keras")
from support.keras_models import VOCABULARY, F, N, T, drawn, sequences, symbols  # noqa: E402

L = keras.layers


def saved(model, tmp_path, end=".keras"):
    path = str(tmp_path / f"model{end}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    return pylstm.from_keras(path)


def compare_a_step(model, x, tmp_path, atol=1e-5, steps=1):
    """Plain gradient descent on all of x, here and there: the same outputs, and the same weights with to_keras."""
    mine = saved(model, tmp_path)
    y = np.random.default_rng(5).normal(size=tuple(model(x).shape)).astype(np.float32)
    mine.fit(x, y, loss="mse", optimizer=pylstm.SGD(0.3), epochs=steps, batch_size=len(x), shuffle=False, verbose=0)
    model.compile(keras.optimizers.SGD(0.3), "mse")
    model.fit(x, y, batch_size=len(x), epochs=steps, shuffle=False, verbose=0)
    np.testing.assert_allclose(mine(x), model.predict(x, verbose=0), atol=atol)
    pylstm.to_keras(mine, tmp_path / "trained.keras")
    back = keras.models.load_model(tmp_path / "trained.keras", compile=False)
    for a, b in zip(back.weights, model.weights, strict=True):
        if "seed" not in a.path:
            np.testing.assert_allclose(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b), atol=atol)
    return mine


NORMS = {
    "sequences": lambda: [L.BatchNormalization(), L.LSTM(3, return_sequences=True), L.BatchNormalization(momentum=0.6)],
    "vectors": lambda: [L.LSTM(3), L.BatchNormalization(scale=False), L.Dense(2)],
    "plain": lambda: [L.Dense(3), L.BatchNormalization(scale=False, center=False), L.Dense(2)],
    "masked": lambda: [L.Masking(), L.BatchNormalization(epsilon=0.1), L.GRU(3)],
    "frozen": lambda: [L.Dense(3), L.BatchNormalization(trainable=False), L.LSTM(3)],
    "every_step": lambda: [L.TimeDistributed(L.BatchNormalization(center=False)), L.GRU(3)],
    "inside": lambda: [keras.Sequential([L.Dense(3), L.BatchNormalization()]), L.LSTM(3)],
}


@pytest.mark.parametrize("name", NORMS)
def test_batch_normalization(tmp_path, name):
    model = drawn(keras.Sequential([keras.Input((T, F)), *NORMS[name]()]))
    compare_a_step(model, sequences("holes" if name == "masked" else None), tmp_path, steps=2)


def test_batch_normalization_behind_an_embedding(tmp_path):
    model = drawn(keras.Sequential([
        keras.Input((T,), dtype="int32"), L.Embedding(VOCABULARY, 4, mask_zero=True), L.BatchNormalization(),
        L.Bidirectional(L.GRU(3, return_sequences=True)), L.BatchNormalization(), L.LSTM(2),
    ]))  # fmt: skip
    compare_a_step(model, symbols("holes"), tmp_path)


# ---- states that go on -----------------------------------------------------------------------------------------------

STATEFUL = {
    "lstm": lambda: [L.LSTM(3, stateful=True)],
    "stacked": lambda: [L.LSTM(3, stateful=True, return_sequences=True), L.GRU(2, stateful=True)],
    "backwards": lambda: [L.SimpleRNN(3, stateful=True, go_backwards=True)],
    "cells": lambda: [L.RNN([L.LSTMCell(2), L.GRUCell(3)], stateful=True)],
    "both": lambda: [L.Bidirectional(L.LSTM(2, stateful=True, return_sequences=True)), L.GRU(2)],
    "masked": lambda: [L.Masking(), L.LSTM(3, stateful=True, return_sequences=True)],
    "inside": lambda: [keras.Sequential([L.LSTM(3, stateful=True)]), L.Dense(2)],
}


@pytest.mark.parametrize("name", STATEFUL)
@pytest.mark.parametrize("end", [".keras", ".h5"])
def test_states_go_on_as_in_keras(tmp_path, name, end):
    if name == "inside" and end == ".h5":
        pytest.skip("Keras does not write it")
    model = drawn(keras.Sequential([keras.Input(batch_shape=(N, T, F)), *STATEFUL[name]()]))
    x = sequences("holes" if name == "masked" else None)
    mine = saved(model, tmp_path, end)
    assert type(mine) is pylstm.KerasModel
    assert mine.stateful
    wanted = [model.predict(one, batch_size=N, verbose=0) for one in (x, x[::-1].copy(), x * 2)]
    assert not np.allclose(wanted[0], model.predict(x, batch_size=N, verbose=0))
    for found, one in zip((mine.predict(x), mine(x[::-1].copy()), mine.predict(x * 2)), wanted, strict=True):
        np.testing.assert_allclose(found, one, atol=1e-5)
    mine.reset_states()
    np.testing.assert_allclose(mine.predict(np.concatenate([x, x[::-1]])), np.concatenate(wanted[:2]), atol=1e-5)
    with pytest.raises(ValueError, match=f"those of {N} sequences, and the batch has 2"):
        mine(x[:2])


def test_a_stateful_model_trains_as_in_keras(tmp_path):
    """Two epochs of two batches, the states going on all the way, and into the predictions behind them."""
    model = drawn(keras.Sequential([
        keras.Input(batch_shape=(N, T, F)), L.LSTM(3, stateful=True, return_sequences=True, use_cudnn=False),
        L.GRU(2, stateful=True, use_cudnn=False),  # with PyTorch's own layers Keras fails: it writes to what it needs
    ]))  # fmt: skip
    mine = saved(model, tmp_path)
    x = np.concatenate([sequences(), -sequences()])
    y = np.random.default_rng(5).normal(size=(2 * N, 2)).astype(np.float32)
    mine.fit(x, y, loss="mse", optimizer=pylstm.SGD(0.3), epochs=2, batch_size=N, verbose=0)
    model.compile(keras.optimizers.SGD(0.3), "mse")
    model.fit(x, y, batch_size=N, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_allclose(mine(x[:N]), model.predict(x[:N], batch_size=N, verbose=0), atol=1e-5)


# ---- recurrent dropout -----------------------------------------------------------------------------------------------

DROPPED = {
    "lstm": lambda **k: L.LSTM(3, recurrent_dropout=0.4, **k),
    "gru": lambda **k: L.GRU(3, recurrent_dropout=0.4, **k),
    "gru_before": lambda **k: L.GRU(3, recurrent_dropout=0.4, reset_after=False, activation="elu", **k),
    "rnn": lambda **k: L.SimpleRNN(3, recurrent_dropout=0.4, **k),
    "no_bias": lambda **k: L.GRU(3, recurrent_dropout=0.4, use_bias=False, recurrent_activation="hard_sigmoid", **k),
    "both_dropped": lambda **k: L.LSTM(3, dropout=0.3, recurrent_dropout=0.4, **k),
}


@pytest.mark.parametrize("name", DROPPED)
@pytest.mark.parametrize("mask", [None, "holes"])
def test_recurrent_dropout(tmp_path, monkeypatch, name, mask):
    """With the masks of Keras' cell, training gives what Keras gives in training."""
    layer = DROPPED[name](return_sequences=True)
    model = drawn(keras.Sequential([keras.Input((T, F)), *([L.Masking()] if mask else []), layer]))
    x = sequences(mask)
    mine = saved(model, tmp_path)
    np.testing.assert_allclose(mine(x), model.predict(x, verbose=0), atol=1e-5)  # which drops nothing
    inner = mine.layers[layer.name]
    drops = [*inner.get("dropout", []), *inner["recurrent_dropout"]]
    masks = []
    for drop, size in zip(drops, ([F] if "dropout" in inner else []) + [3], strict=True):
        gates = 1 if name == "rnn" else 4 if "lstm" in name or "both" in name else 3
        found = np.random.default_rng(size).integers(0, 2, (gates, N, size)).astype(np.float32) / 0.6
        masks.append(found)
        ours = found[[1, 0, 2]] if gates == 3 else found  # r, z, n here, z, r, h there
        if size == F:
            ours = ours[:, :, None]
        monkeypatch.setattr(drop, "_factors", lambda shape, dtype, ours=ours: ours.reshape(shape).astype(dtype))
    cell = layer.cell
    theirs = [[keras.ops.convert_to_tensor(one) for one in found] for found in masks]
    theirs = [one[0] if name == "rnn" else one for one in theirs]
    if len(masks) == 2:
        monkeypatch.setattr(cell, "get_dropout_mask", lambda _: theirs[0])
    monkeypatch.setattr(cell, "get_recurrent_dropout_mask", lambda _: theirs[-1])
    wanted = keras.ops.convert_to_numpy(keras.ops.stop_gradient(model(x, training=True)))
    found, _ = mine.forward(x)
    assert not np.allclose(found, mine(x))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
