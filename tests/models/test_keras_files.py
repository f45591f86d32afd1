"""Files of Keras, read and written, without Keras: golden outputs of other programs, hostile files, wrong arguments."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

import pylstm
from pylstm.files.hdf5.writing import Tree, written
from pylstm.files.keras.recurrent import from_cudnn, ours, theirs

REAL = os.environ.get("PYLSTM_DATA")  # a folder of real models
real = pytest.mark.skipif(not REAL, reason="PYLSTM_DATA names no folder of real models")
X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)


# ---- golden ----------------------------------------------------------------------------------------------------------


@real
@pytest.mark.parametrize("end", [".keras", ".h5"])
@pytest.mark.parametrize("name", ["seq_text", "seq_unnamed_input", "fun_attention"])
def test_golden(name, end):
    folder = Path(REAL) / "formats" / "keras"
    with np.load(folder / f"{name}_golden.npz") as golden:
        x, y = golden["x"], golden["y"]
    model = pylstm.from_keras(folder / f"{name}{end}")
    np.testing.assert_allclose(model.predict(x), y, atol=1e-6)
    model.load_state_dict({key: np.zeros_like(value) for key, value in model.params.items()})
    assert not np.allclose(model.predict(x), y)
    pylstm.from_keras(folder / f"{name}.weights.h5", model)
    np.testing.assert_allclose(model.predict(x), y, atol=1e-6)


@real
def test_golden_of_keras_2():
    folder = Path(REAL) / "pretrained" / "chars2vec_50"
    model = pylstm.Sequential([
        pylstm.LSTM(59, 50, batch_first=True, recurrent_bias=False), pylstm.LSTM(50, 50, batch_first=True),
        pylstm.LastStep(),
    ])  # fmt: skip
    pylstm.from_keras(folder / "weights.h5", model)
    with np.load(folder / "golden.npz") as golden:
        np.testing.assert_allclose(model.predict(golden["x"]), golden["sigmoid"], atol=1e-5)
        sizes, options = (59, 50), {"recurrent_activation": "hard_sigmoid", "recurrent_bias": False}
        trained = pylstm.Sequential([pylstm.LSTM(size, 50, batch_first=True, **options) for size in sizes])
        pylstm.from_keras(folder / "weights.h5", trained)
        np.testing.assert_allclose(trained.predict(golden["x"])[:, -1], golden["hard_sigmoid_keras2"], atol=1e-5)
    one = pylstm.Sequential([pylstm.LSTM(59, 50, batch_first=True)])
    with pytest.raises(ValueError, match="the file has 1 layers that the model does not: lstm_2"):
        pylstm.from_keras(folder / "weights.h5", one)
    pylstm.from_keras(folder / "weights.h5", one, {"0": "lstm_1"})
    assert np.array_equal(one.params["0.weight_ih_l0"], model.params["0.weight_ih_l0"])


@real
def test_golden_of_layers_for_cudnn():
    class Textgenrnn(pylstm.Model):
        def __init__(self):
            self.embedding = pylstm.Embedding(465, 100)
            self.rnn_1 = pylstm.LSTM(100, 128, batch_first=True)
            self.rnn_2 = pylstm.LSTM(128, 128, batch_first=True)
            self.attention, self.output = pylstm.Linear(356, 1, bias=False), pylstm.Linear(356, 465)

        def run(self, ids):
            first = self.embedding(ids)
            second, _ = self.rnn_1(first)
            joined = pylstm.concatenate([first, second, self.rnn_2(second)[0]], axis=-1)
            weights = self.attention(joined).softmax(axis=1)
            return self.output((joined * weights).sum(axis=1)).softmax()

    folder = Path(REAL) / "pretrained" / "textgenrnn"
    model = pylstm.from_keras(folder / "textgenrnn_weights.hdf5", Textgenrnn())
    with np.load(folder / "golden_states.npz") as golden:
        np.testing.assert_allclose(model(golden["ids"]), golden["probabilities"], atol=1e-5)


# ---- layouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("biases", [0, 1, 2])
def test_weights_go_there_and_back(kind, gates, biases):
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=(2, gates * 3)), rng.normal(size=(3, gates * 3))]
    if biases:
        arrays.append(rng.normal(size=(gates * 3,) if biases == 1 else (2, gates * 3)))
    made = ours(kind, arrays)
    assert made["weight_ih"].shape == (gates * 3, 2)
    if biases == 2 and kind != "GRU":
        return
    back = theirs(kind, {f"{name}_l0": value for name, value in made.items()}, "_l0", after=biases == 2)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, back, strict=True))


def test_gates_of_keras_1():
    """Gate by gate, i, c, f, o and z, r, h."""
    rng = np.random.default_rng(2)
    for kind, order, places in (("LSTM", "ifco", "icfo"), ("GRU", "zrh", "zrh")):
        gates = {one: [rng.normal(size=(2, 3)), rng.normal(size=(3, 3)), rng.normal(size=3)] for one in order}
        whole = [np.concatenate([gates[one][k] for one in order], axis=-1) for k in range(3)]
        first = ours(kind, [array for one in places for array in gates[one]])
        assert all(np.array_equal(first[name], value) for name, value in ours(kind, whole).items())


def test_layers_for_cudnn_have_their_kernels_turned():
    rng = np.random.default_rng(3)
    kernel, recurrent = rng.normal(size=(2, 12)), rng.normal(size=(3, 12))
    blocks = [one.reshape(one.shape[::-1], order="F").T for one in np.hsplit(kernel, 4)]  # the way back
    flat = [kernel, recurrent, np.arange(24.0)]
    turned = from_cudnn("LSTM", flat)
    assert np.array_equal(turned[2], np.arange(12.0) + np.arange(12.0, 24))
    assert np.array_equal(turned[1][:, :3], recurrent[:, :3].T)
    assert turned[0].shape == kernel.shape
    assert len(blocks) == 4
    assert from_cudnn("GRU", [kernel[:, :9], recurrent[:, :9], np.arange(18.0)])[2].shape == (2, 9)


# ---- what is written is read -----------------------------------------------------------------------------------------


def chain(**options):
    return pylstm.Sequential([
        pylstm.Conv1d(4, 6, 3, padding=1), pylstm.Activation("relu"), pylstm.LayerNorm(6),
        pylstm.LSTM(6, 5, num_layers=2, batch_first=True, bidirectional=True, dropout=0.2),
        pylstm.GRU(10, 3, batch_first=True, **options), pylstm.Dropout(0.1, same_for_all_steps=True),
        pylstm.RNN(3, 4, batch_first=True, nonlinearity="relu", bidirectional=True, recurrent_bias=False),
        pylstm.BothEnds(), pylstm.Dropout(0.1), pylstm.Linear(8, 2), pylstm.Activation("softmax"),
    ], seed=4)  # fmt: skip


@pytest.mark.parametrize("end", [".keras", ".h5"])
@pytest.mark.parametrize("options", [
    {}, {"bias": False}, {"reset_after": False}, {"recurrent_bias": False},
    {"reset_after": False, "recurrent_bias": False}, {"num_layers": 3},
    {"activation": "softsign", "recurrent_activation": ("hard_sigmoid", 1 / 6, 0.5)},
])  # fmt: skip
def test_back_and_forth(tmp_path, end, options):
    model = chain(**options)
    pylstm.to_keras(model, tmp_path / f"model{end}")
    again = pylstm.from_keras(tmp_path / f"model{end}")
    np.testing.assert_allclose(again(X), model(X), atol=1e-6)
    with open(tmp_path / f"model{end}", "rb") as file:
        np.testing.assert_allclose(pylstm.from_keras(file)(X), model(X), atol=1e-6)
    pylstm.to_keras(again, tmp_path / f"again{end}")
    np.testing.assert_allclose(pylstm.from_keras(tmp_path / f"again{end}")(X), model(X), atol=1e-6)


def test_the_same_model_is_the_same_file(tmp_path):
    for name in "ab":
        pylstm.to_keras(chain(), tmp_path / f"{name}.keras")
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()


def test_an_embedding_takes_integers(tmp_path):
    model = pylstm.Sequential([pylstm.Embedding(9, 3), pylstm.LSTM(3, 4, batch_first=True), pylstm.LastStep()])
    pylstm.to_keras(model, tmp_path / "m.keras")
    again = pylstm.from_keras(tmp_path / "m.keras")
    assert type(again) is pylstm.Sequential
    assert again.metadata["layers"][0] == ("input_layer", "InputLayer")
    np.testing.assert_allclose(again([[1, 2, 8]]), model([[1, 2, 8]]), atol=1e-6)
    again.fit(np.array([[1, 2], [3, 4]]), np.zeros((2, 4), np.float32), loss="mse", epochs=1, verbose=0)


def test_what_is_frozen_stays_so(tmp_path):
    model = chain()
    model.freeze(0, 3)
    for end in (".keras", ".h5"):
        pylstm.to_keras(model, tmp_path / f"m{end}")
        again = pylstm.from_keras(tmp_path / f"m{end}")
        frozen = [name for name, one in again.layers.items() if one.params and not one.trainable]
        assert frozen == ["conv1d", "bidirectional", "bidirectional_1"]
        np.testing.assert_allclose(again(X), model(X), atol=1e-6)


def test_float64(tmp_path):
    model = pylstm.Sequential([pylstm.GRU(4, 3, batch_first=True, dtype=np.float64)])
    pylstm.to_keras(model, tmp_path / "m.h5")
    again = pylstm.from_keras(tmp_path / "m.h5")
    assert again.dtype == np.float64
    np.testing.assert_allclose(again(X), model(X), atol=1e-14)


@pytest.mark.parametrize(("layer", "words"), [
    (lambda: pylstm.LSTM(3, 4, batch_first=True, proj_size=2), "projection"),
    (lambda: pylstm.LSTM(3, 4, batch_first=True, peephole=True), "peepholes"),
    (lambda: pylstm.LSTM(3, 4, batch_first=True, recurrent_activation="hard_sigmoid"), "today's Keras"),
    (lambda: pylstm.Residual([pylstm.Linear(3, 3)]), "no counterpart"),
    (lambda: pylstm.Sequential([pylstm.LSTM(3, 4, batch_first=True, bidirectional=True), pylstm.LastStep()]),
     "BothEnds"),
    (lambda: pylstm.Activation("relu"), "how many features"),
])  # fmt: skip
def test_what_keras_does_not_have(tmp_path, layer, words):
    with pytest.raises(ValueError, match=words):
        pylstm.to_keras(layer(), tmp_path / "m.keras")
    assert not list(tmp_path.iterdir())


def test_wrong_arguments(tmp_path):
    model = pylstm.Sequential([pylstm.Linear(2, 3)])
    with pytest.raises(ValueError, match=r"must end in \.keras"):
        pylstm.to_keras(model, tmp_path / "m.npz")
    with pytest.raises(TypeError, match="model must be"):
        pylstm.to_keras({}, tmp_path / "m.keras")
    with pytest.raises(TypeError, match="path must be"):
        pylstm.from_keras(3)
    with pytest.raises(FileNotFoundError):
        pylstm.from_keras(tmp_path / "none.keras")
    with pytest.raises(IsADirectoryError, match="SavedModel"):
        pylstm.from_keras(tmp_path)
    pylstm.to_keras(model, tmp_path / "m.keras")
    with pytest.raises(TypeError, match="model must be"):
        pylstm.from_keras(tmp_path / "m.keras", {})
    with pytest.raises(ValueError, match="mapping is for a model"):
        pylstm.from_keras(tmp_path / "m.keras", mapping={"0": "dense"})
    with pytest.raises(ValueError, match="mapping names '1'"):
        pylstm.from_keras(tmp_path / "m.keras", model, {"1": "dense"})
    with pytest.raises(ValueError, match="the file has no layer 'other'"):
        pylstm.from_keras(tmp_path / "m.keras", model, {"0": "other"})
    with pytest.raises(ValueError, match=r"no layer for '0'.*\(5, 3\)"):
        pylstm.from_keras(tmp_path / "m.keras", pylstm.Sequential([pylstm.Linear(5, 3)]))
    model.save(tmp_path / "m.npz")
    with pytest.raises(pylstm.ModelFileError, match=r"pylstm\.load"):
        pylstm.from_keras(tmp_path / "m.npz")
    with pytest.raises(pylstm.ModelFileError, match="begins with"):
        pylstm.from_keras(io.BytesIO(b"text, and no model"))


# ---- graphs ----------------------------------------------------------------------------------------------------------


def file_of(layers, weights, kind="Functional", **ends):
    """A .keras file of layers as Keras 3 describes them; weights: group -> list of arrays."""
    root = Tree()
    for way, arrays in weights.items():
        for at, array in enumerate(arrays):
            root.at(f"layers/{way}/vars").items[str(at)] = np.asarray(array, np.float32)
    config = {"module": "keras", "class_name": kind, "config": {"name": "m", "layers": layers, **ends}}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr("config.json", config if isinstance(config, bytes) else json.dumps(config))
        archive.writestr("model.weights.h5", written(root))
    return io.BytesIO(buffer.getvalue())


def tensor(name, call=0, output=0):
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, call, output]}}


def layer(kind, name, *inputs, **values):
    nodes = [{"args": list(inputs), "kwargs": {}}] if inputs else []
    return {"module": "keras.layers", "class_name": kind, "config": {"name": name, **values}, "name": name,
            "inbound_nodes": nodes}  # fmt: skip


def masked_model():
    rng = np.random.default_rng(7)
    layers = [
        layer("InputLayer", "x", dtype="int32", batch_shape=[None, None]),
        layer("Embedding", "words", tensor("x"), input_dim=6, output_dim=3, mask_zero=True),
        layer("LSTM", "lstm", tensor("words"), units=2, return_sequences=True),
        layer("BatchNormalization", "norm", tensor("lstm")),
        layer("GlobalAveragePooling1D", "mean", tensor("norm")),
        layer("Dense", "out", tensor("mean"), units=2),
    ]
    weights = {
        "embedding": [rng.normal(size=(6, 3))],
        "lstm/cell": [rng.normal(size=(3, 8)), rng.normal(size=(2, 8)), rng.normal(size=8)],
        "batch_normalization": [rng.normal(size=2), rng.normal(size=2), rng.normal(size=2), rng.uniform(size=2)],
        "dense": [rng.normal(size=(2, 2)), rng.normal(size=2)],
    }
    return file_of(layers, weights, input_layers=[["x", 0, 0]], output_layers=[["out", 0, 0]])


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
            sides.append(float((model(x) * dy).sum()))
        model.load_state_dict(value)
        np.testing.assert_allclose(grads[name][at], (sides[0] - sides[1]) / (2 * step), rtol=2e-2, atol=1e-3)


def test_recurrent_dropout_is_told_of():
    layers = [layer("InputLayer", "x"), layer("GRU", "gru", tensor("x"), units=1, recurrent_dropout=0.5)]
    weights = {"gru/cell": [np.ones((4, 3)), np.ones((1, 3)), np.ones((2, 3))]}
    with pytest.warns(UserWarning, match="recurrent_dropout"):
        pylstm.from_keras(file_of(layers, weights, input_layers=[["x", 0, 0]], output_layers=[["gru", 0, 0]]))


# ---- what is refused -------------------------------------------------------------------------------------------------

CELL = {"lstm/cell": [np.ones((4, 4)), np.ones((1, 4)), np.ones(4)]}


def one(kind, name="lstm", weights=None, **values):
    layers = [layer("InputLayer", "x"), layer(kind, name, tensor("x"), **values)]
    return file_of(layers, CELL if weights is None else weights, input_layers=["x", 0, 0], output_layers=[name, 0, 0])


@pytest.mark.parametrize(("make", "words"), [
    (lambda: one("Lambda"), "a function of a program, which reading does not run"),
    (lambda: one("Wonderful"), "'lstm'.*Read are"),
    (lambda: one("LSTM", units=1, recurrent_activation="gelu"), "recurrent_activation is 'gelu', and cells here have"),
    (lambda: one("LSTM", units=1, activation="mine"), "'mine'.*known are"),
    (lambda: one("LSTM", units=2), r"must have the shape"),
    (lambda: one("LSTM", units=2**60), "whole number"),
    (lambda: one("LSTM", units=1, use_bias=False), "must have 2 arrays in cell, and the file has 3"),
    (lambda: one("LSTM", units=1, weights={}), "must have 3 arrays in cell, and the file has 0"),
    (lambda: one("Dense", units=1), "must have 2 arrays"),
    (lambda: one("LSTM", units="1"), "units must be a whole number"),
    (lambda: one("LSTM", units=1, dropout=3.0), "dropout must be in"),
    (lambda: one("Flatten", weights={"flatten": [np.ones(3)]}), "that its config does not tell of"),
    (lambda: one("Bidirectional", layer=layer("Dense", "d")), "only recurrent layers are read"),
    (lambda: one("Permute", weights={}, dims=[2, 2]), "dims"),
    (lambda: one("LayerNormalization", weights={}, axis=1), "the last one"),
    (lambda: one("Attention", weights={}, score_mode="concat"), "score_mode"),
    (lambda: file_of([], {}), "no list of layers"),
    (lambda: file_of([layer("InputLayer", "x")] * 2, {}, input_layers=[], output_layers=[]), "have the name 'x'"),
    (lambda: file_of([layer("InputLayer", "x")], {}, "Mine"), "from_keras\\(path, model\\)"),
    (lambda: file_of([layer("InputLayer", "x")], {}, input_layers=["x", 0, 0], output_layers=["y", 0, 0]), "'y'"),
    (lambda: file_of([layer("InputLayer", "x")], {}, input_layers=["x", 0, 0], output_layers=["x", 3, 0]), "call 3"),
    (lambda: file_of([layer("InputLayer", "x"), layer("Add", "a", [tensor("x"), tensor("b")]),
                      layer("Flatten", "b", tensor("a"))], {}, input_layers=["x", 0, 0], output_layers=["b", 0, 0]),
     "needs its own output"),
])  # fmt: skip
def test_what_is_refused_says_why(make, words):
    with pytest.raises(pylstm.ModelFileError, match=words):
        pylstm.from_keras(make())


def test_weights_alone_need_a_model(tmp_path):
    pylstm.to_keras(chain(), tmp_path / "m.weights.h5")
    with pytest.raises(pylstm.ModelFileError, match="no config"):
        pylstm.from_keras(tmp_path / "m.weights.h5")


@pytest.mark.parametrize("end", [".keras", ".h5"])
def test_damaged_files(tmp_path, end):
    """Cut anywhere or with changed bytes, a file is refused, or read as a model: there is no other exception."""
    path = tmp_path / f"m{end}"
    pylstm.to_keras(pylstm.Sequential([pylstm.LSTM(3, 2, batch_first=True), pylstm.Linear(2, 1)]), path)
    data, rng = path.read_bytes(), np.random.default_rng(0)
    for cut in range(0, len(data), len(data) // 40):
        with pytest.raises(pylstm.ModelFileError):
            pylstm.from_keras(io.BytesIO(data[:cut]))
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            changed[int(rng.integers(len(data)))] = int(rng.integers(256))
        try:
            pylstm.from_keras(io.BytesIO(changed))
        except pylstm.ModelFileError as error:
            words(error)


def words(error):
    assert len(str(error)) > 15


def test_a_refused_file_leaves_the_model_as_it_was():
    model = pylstm.Sequential([pylstm.LSTM(4, 1, batch_first=True), pylstm.Linear(1, 2)])
    before = model.state_dict()
    with pytest.raises(ValueError, match="no layer for '1'"):
        pylstm.from_keras(one("LSTM", units=1), model)
    assert all(np.array_equal(model.params[name], value) for name, value in before.items())


def test_a_compressed_archive_is_refused():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", " " * 10**6)
        archive.writestr("model.weights.h5", bytes(10**6))
    with pytest.raises(pylstm.ModelFileError, match="compressed"):
        pylstm.from_keras(io.BytesIO(buffer.getvalue()))


def test_weights_of_another_model_are_found():
    layers = [layer("InputLayer", "x"), layer("Dense", "mine", tensor("x"), units=1)]
    file = file_of(
        layers, {"dense": [np.ones((2, 1)), np.ones(1)]}, input_layers=["x", 0, 0], output_layers=["mine", 0, 0]
    )
    assert pylstm.from_keras(file)(np.ones((1, 2), np.float32)).shape == (1, 1)
    root = Tree()
    root.at("layers/dense/vars").attributes["name"] = "other"
    for at, array in enumerate((np.ones((2, 1)), np.ones(1))):
        root.at("layers/dense/vars").items[str(at)] = array
    with zipfile.ZipFile(file) as archive:
        config = archive.read("config.json")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", written(root))
    with pytest.raises(pylstm.ModelFileError, match="two models"):
        pylstm.from_keras(io.BytesIO(buffer.getvalue()))


# ---- Keras 1 and 2 ---------------------------------------------------------------------------------------------------


def h5_of(version, config, weights):
    root = Tree({"keras_version": version, "model_config": json.dumps(config)})
    own = root.at("model_weights")
    own.attributes["layer_names"] = list(weights)
    for name, arrays in weights.items():
        own.at(name).attributes["weight_names"] = [f"{name}/{k}:0" for k in range(len(arrays))]
        for k, array in enumerate(arrays):
            own.at(f"{name}/{name}").items[f"{k}:0"] = np.asarray(array, np.float32)
    return io.BytesIO(written(root))


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
