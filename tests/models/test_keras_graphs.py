"""Models of Keras that are no chains of our layers, without Keras: what they compute, and that they train."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import pylstm
from pylstm.files.keras.recurrent import ours
from support.keras_files import h5_of, masked_model

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)


def test_masks_are_left_out_wherever_they_are():
    """What is masked does not change what comes out; lengths and lists mask the steps behind."""
    model = pylstm.from_keras(masked_model())
    assert type(model) is pylstm.KerasModel
    wanted = model([[1, 4, 2, 5]])
    for other in ([0, 1, 4, 2, 5], [1, 4, 0, 0, 2, 5], [1, 4, 2, 5, 0, 0]):
        np.testing.assert_allclose(model([other]), wanted, atol=1e-6)
    np.testing.assert_allclose(model([[1, 4, 2, 5, 3]], lengths=[4]), wanted, atol=1e-6)
    found = model.predict([[1, 4, 2, 5], [3], [1, 4, 2, 5, 2]])
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-6)
    np.testing.assert_allclose(found[1], model([[3]])[0], atol=1e-6)


def test_a_graph_trains_is_copied_and_written(tmp_path):
    model = pylstm.from_keras(masked_model())
    x, y = np.array([[1, 0, 4, 2], [3, 5, 0, 0], [0, 2, 2, 1]]), np.ones((3, 2), np.float32)
    first = model.evaluate(x, y, loss="mse")["loss"]
    model.fit(x, y, loss="mse", optimizer=pylstm.Adam(0.05), epochs=30, verbose=0)
    assert model.evaluate(x, y, loss="mse")["loss"] < 0.1 * first
    assert "layers.lstm.weight_ih_l0" in model.params
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(other(x), model(x))
        other.load_state_dict({name: value * 0 for name, value in other.params.items()})
        assert not np.array_equal(other(x), model(x))
    pylstm.to_keras(model, tmp_path / "m.keras")
    again = pylstm.from_keras(tmp_path / "m.keras")
    assert np.array_equal(again(x), model(x))
    pylstm.to_keras(model, tmp_path / "m.weights.h5")
    fresh = pylstm.from_keras(masked_model())
    pylstm.from_keras(tmp_path / "m.weights.h5", fresh)
    assert np.array_equal(fresh(x), model(x))
    with pytest.raises(ValueError, match=r"must end in \.keras"):
        pylstm.to_keras(model, tmp_path / "m.h5")
    model.freeze("layers.lstm")
    before = model.state_dict()
    model.fit(x, y * 2, loss="mse", epochs=1, verbose=0)
    assert np.array_equal(before["layers.lstm.weight_ih_l0"], model.params["layers.lstm.weight_ih_l0"])
    assert not np.array_equal(before["layers.out.weight"], model.params["layers.out.weight"])


def test_gradients_are_those_of_differences():
    model = pylstm.from_keras(masked_model())
    x, dy = np.array([[1, 0, 4, 2], [3, 5, 0, 0]]), np.array([[1.0, -2], [0.5, 3]], np.float32)
    _, backward = model.forward(x)
    _, grads = backward(dy)
    for name in ("layers.norm.weight", "layers.norm.bias", "layers.lstm.weight_hh_l0"):
        value, step = model.state_dict(), 1e-2
        at = (0,) * value[name].ndim
        sides = []
        for sign in (1, -1):
            changed = {**value, name: value[name].copy()}
            changed[name][at] += sign * step
            model.load_state_dict(changed)
            sides.append(float((model.forward(x)[0] * dy).sum()))
        model.load_state_dict(value)
        np.testing.assert_allclose(grads[name][at], (sides[0] - sides[1]) / (2 * step), rtol=2e-2, atol=1e-3)


# ---- Keras 1 and 2 ---------------------------------------------------------------------------------------------------


def test_a_model_of_keras_1():
    rng = np.random.default_rng(8)
    cell = [rng.normal(size=shape) for _ in "icfo" for shape in ((4, 2), (2, 2), (2,))]
    dense = [rng.normal(size=(2, 3)), rng.normal(size=3)]
    config = {"class_name": "Sequential", "config": [
        {"class_name": "LSTM", "config": {"name": "lstm_1", "output_dim": 2, "activation": "tanh",
                                          "inner_activation": "sigmoid", "return_sequences": False, "dropout_W": 0.0}},
        {"class_name": "Dropout", "config": {"name": "dropout_1", "p": 0.2}},
        {"class_name": "Dense", "config": {"name": "dense_1", "output_dim": 3, "activation": "relu", "bias": True}},
    ]}  # fmt: skip
    model = pylstm.from_keras(h5_of("1.2.2", config, {"lstm_1": cell, "dropout_1": [], "dense_1": dense}))
    kernel, recurrent, bias = (np.concatenate([cell[at + k] for at in (0, 6, 3, 9)], axis=-1) for k in range(3))
    mine = pylstm.LSTM(4, 2, batch_first=True, recurrent_bias=False)
    mine.load_state_dict({"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent.T, "bias_ih_l0": bias})
    np.testing.assert_allclose(model(X), np.maximum(mine(X)[0][:, -1] @ dense[0] + dense[1], 0), atol=1e-5)
    assert model.layers[2].p == 0.2


def test_a_graph_of_keras_2():
    rng = np.random.default_rng(9)
    gru = [rng.normal(size=(4, 6)), rng.normal(size=(2, 6)), rng.normal(size=6)]
    config = {"class_name": "Model", "config": {
        "name": "m", "input_layers": [["x", 0, 0]], "output_layers": [["sum", 0, 0], ["decoder", 0, 0]],
        "layers": [
            {"class_name": "InputLayer", "name": "x", "config": {"name": "x"}, "inbound_nodes": []},
            {"class_name": "GRU", "name": "encoder", "inbound_nodes": [[["x", 0, 0, {}]]],
             "config": {"name": "encoder", "units": 2, "return_sequences": True, "return_state": True,
                        "recurrent_activation": "sigmoid"}},
            {"class_name": "GRU", "name": "decoder", "inbound_nodes": [[["x", 0, 0, {}], ["encoder", 0, 1, {}]]],
             "config": {"name": "decoder", "units": 2, "recurrent_activation": "sigmoid"}},
            {"class_name": "GlobalMaxPooling1D", "name": "max", "config": {"name": "max"},
             "inbound_nodes": [[["encoder", 0, 0, {}]]]},
            {"class_name": "Add", "name": "sum", "config": {"name": "sum"},
             "inbound_nodes": [[["max", 0, 0, {}], ["decoder", 0, 0, {}]]]},
        ]}}  # fmt: skip
    model = pylstm.from_keras(h5_of("2.2.4", config, {"x": [], "encoder": gru, "decoder": gru, "max": [], "sum": []}))
    mine = pylstm.GRU(4, 2, batch_first=True, reset_after=False, recurrent_bias=False)
    mine.load_state_dict({f"{name}_l0": value for name, value in ours("GRU", gru).items()})
    y, h = mine(X)
    again = mine(X, h)[1][0]
    found = model(X)
    np.testing.assert_allclose(found[0], y.max(axis=1) + again, atol=1e-6)
    np.testing.assert_allclose(found[1], again, atol=1e-6)
    config["config"]["layers"][2]["config"]["recurrent_activation"] = "hard_sigmoid"
    file = h5_of("2.2.4", config, {"x": [], "encoder": gru, "decoder": gru, "max": [], "sum": []})
    other = pylstm.from_keras(file)
    assert other.layers["decoder"].recurrent_activation == "hard_sigmoid"
    assert other.layers["encoder"].recurrent_activation == "sigmoid"
