"""Files of Keras, read and written, without Keras: golden outputs of other programs, hostile files, wrong arguments."""

from __future__ import annotations

import io

import numpy as np
import pytest

import pylstm
from pylstm.files.keras.recurrent import from_cudnn, ours, theirs
from support.examples import DATA

real = pytest.mark.skipif(not (DATA / "formats").is_dir(), reason=f"there are no models of others in {DATA}")
X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)


# ---- golden ----------------------------------------------------------------------------------------------------------


@real
@pytest.mark.parametrize("end", [".keras", ".h5"])
@pytest.mark.parametrize("name", ["seq_text", "seq_unnamed_input", "fun_attention"])
def test_golden(name, end):
    folder = DATA / "formats" / "keras"
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
    folder = DATA / "pretrained" / "chars2vec_50"
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

    folder = DATA / "pretrained" / "textgenrnn"
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
