"""ONNX files of ours: what they say, that onnxruntime and OpenVINO compute the same, and that they come back."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import pylstm
from support.onnx_files import as_tuple, compare

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 4)).astype("f4")
IDS = RNG.integers(0, 20, (3, 5))
LENGTHS = np.array([5, 2, 0])


def layers():
    found = {}
    for kind in (pylstm.LSTM, pylstm.GRU, pylstm.RNN):
        for name, options in {
            "plain": {}, "two": {"num_layers": 2, "bias": False}, "both ways": {"bidirectional": True, "num_layers": 2},
            "one bias": {"recurrent_bias": False},
        }.items():  # fmt: skip
            found[f"{kind.__name__} {name}"] = functools.partial(kind, 4, 6, batch_first=True, seed=1, **options)
    found["GRU before"] = lambda: pylstm.GRU(4, 6, reset_after=False, batch_first=True, seed=1)
    found["LSTM other"] = lambda: pylstm.LSTM(
        4, 6, batch_first=True, activation="softsign", recurrent_activation=("hard_sigmoid", 0.3, 0.4), peephole=True,
        clip=0.7, seed=1,
    )  # fmt: skip
    found["LSTM coupled"] = lambda: pylstm.LSTM(
        4, 6, batch_first=True, coupled=True, peephole=True, bidirectional=True, output_activation="sigmoid", seed=1
    )
    found["GRU other"] = lambda: pylstm.GRU(4, 6, batch_first=True, activation=("elu", 0.5), clip=0.9, seed=1)
    found["RNN other"] = lambda: pylstm.RNN(4, 6, nonlinearity=("scaled_tanh", 0.8, 0.5), batch_first=True, seed=1)
    found["RNN relu"] = lambda: pylstm.RNN(4, 6, nonlinearity="relu", batch_first=True, seed=1)
    return found


LAYERS = layers()


def chains():
    s, l = pylstm.Sequential, pylstm
    found = {}
    for pool in (l.LastStep, l.BothEnds, l.MeanOverTime, l.MaxOverTime):
        found[pool.__name__] = (
            lambda pool=pool: s(
                [l.Embedding(20, 4), l.LSTM(4, 6, batch_first=True, bidirectional=True), pool(), l.Dropout(0.5),
                 l.Linear(12, 3), l.Activation("softmax")], seed=1,
            ),
            IDS,
        )  # fmt: skip
    for name, options in {
        "wide": {"padding": 1},
        "causal": {"causal": True, "dilation": 2},
        "stride": {"stride": 2},
    }.items():
        found[f"convolution {name}"] = (
            lambda options=options: s([l.Conv1d(4, 6, 3, **options), l.GRU(6, 3, batch_first=True)], seed=1), X,
        )  # fmt: skip
    found["columns"] = (
        lambda: s([l.Columns([l.Embedding(5, 2), l.Embedding(5, 3)]), l.Residual([l.GRU(5, 5, batch_first=True)]),
                   l.LayerNorm(5), l.Linear(5, 2, bias=False), l.Activation("tanh")], seed=1),
        RNG.integers(0, 5, (3, 5, 2)),
    )  # fmt: skip
    found["vectors"] = (
        lambda: s([l.Linear(4, 3), l.Activation("relu"), l.Linear(3, 1), l.Activation("sigmoid")]),
        X[0],
    )
    return found


CHAINS = chains()


@pytest.mark.parametrize("name", LAYERS)
def test_layers(tmp_path, name):
    """As it is, with lengths, with states, and with both."""
    layer, path = LAYERS[name](), tmp_path / "layer.onnx"
    some = not name.endswith(("two", "other", "coupled"))  # which OpenVINO takes long to make ready
    count = layer.num_layers * layer.num_directions
    state = [RNG.normal(size=(count, 3, 6)).astype("f4") for _ in range(2 if name.startswith("LSTM") else 1)]
    given = tuple(state) if len(state) == 2 else state[0]
    pylstm.to_onnx(layer, path)
    model = compare(path, [layer(X)[0]], X, openvino=some)
    assert [value.shape for value in model.inputs] == [("N", "T", 4)]
    pylstm.to_onnx(layer, path, lengths=True)
    compare(path, [layer(X, lengths=LENGTHS)[0]], X, LENGTHS, openvino=some)
    pylstm.to_onnx(layer, path, states=True)
    y, after = layer(X, given)
    compare(path, [y, *as_tuple(after)], X, *state, openvino=some)
    pylstm.to_onnx(layer, path, X, lengths=True, states=True, fixed_sizes=True)
    y, after = layer(X, given, lengths=LENGTHS)
    model = compare(path, [y, *as_tuple(after)], X, LENGTHS, *state, openvino=some)
    assert [value.name for value in model.outputs] == ["y", "h_out", "c_out"][: 1 + len(state)]


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("lengths", [False, True])
def test_chains(tmp_path, name, lengths):
    make, x = CHAINS[name]
    model, path = make(), tmp_path / "model.onnx"
    if not lengths:
        pylstm.to_onnx(model, path)
        compare(path, [model(x)], x)
    elif name != "vectors":
        pylstm.to_onnx(model, path, lengths=True)
        counts = LENGTHS if "convolution" not in name else np.array([5, 3, 4])
        compare(path, [model(x, lengths=counts)], x, counts)
    else:
        with pytest.raises(ValueError, match="lengths is for sequences"):
            pylstm.to_onnx(model, path, lengths=True)


BACK = [
    "LastStep",
    "BothEnds",
    "MaxOverTime",
    "convolution wide",
    "convolution causal",
    "convolution stride",
    "vectors",
]


@pytest.mark.parametrize("name", BACK)
def test_layers_come_back(tmp_path, name):
    """As layers: to be trained further."""
    make, x = CHAINS[name]
    model, path = make(), tmp_path / "model.onnx"
    pylstm.to_onnx(model, path)
    if name == "BothEnds":
        with pytest.raises(ValueError, match="no chain of layers"):
            pylstm.from_onnx(path).to_sequential()
        return
    again = pylstm.from_onnx(path).to_sequential()
    assert [type(layer) for layer in again] == [type(layer) for layer in model if not isinstance(layer, pylstm.Dropout)]
    assert np.array_equal(again(x), model(x))


def test_other_sizes(tmp_path):
    """Sizes of batches and steps are open."""
    make, _ = CHAINS["LastStep"]
    model, path = make(), tmp_path / "model.onnx"
    pylstm.to_onnx(model, path, lengths=True)
    for shape in ((1, 1), (7, 3), (2, 11)):
        x = RNG.integers(0, 20, shape)
        counts = np.full(shape[0], shape[1])
        compare(path, [model(x, lengths=counts)], x, counts)


def test_lengths_of_a_layer_with_time_first(tmp_path):
    layer, path = pylstm.GRU(4, 6, seed=0), tmp_path / "layer.onnx"
    pylstm.to_onnx(layer, path, lengths=True)
    x = X.swapaxes(0, 1).copy()
    model = compare(path, [layer(x, lengths=LENGTHS)[0]], x, LENGTHS)
    assert model.inputs[0].shape == ("T", "N", 4)


@pytest.mark.parametrize("states", [False, True])
def test_projection(tmp_path, states):
    layer, path = (
        pylstm.LSTM(4, 6, proj_size=2, num_layers=2, bidirectional=True, batch_first=True, seed=1),
        tmp_path / "p.onnx",
    )
    pylstm.to_onnx(layer, path, states=states)
    if not states:
        compare(path, [layer(X)[0]], X, bits=False)
        return
    state = RNG.normal(size=(4, 3, 2)).astype("f4"), RNG.normal(size=(4, 3, 6)).astype("f4")
    y, after = layer(X, state)
    compare(path, [y, *after], X, *state, bits=False)


def test_pieces_by_pieces(tmp_path):
    """States as inputs and outputs, under the names of their layers: what a stream of the model itself gives."""
    model = pylstm.Sequential(
        [pylstm.Linear(4, 3), pylstm.LSTM(3, 5, batch_first=True), pylstm.GRU(5, 2, num_layers=2, batch_first=True)],
        seed=0,
    )
    path = tmp_path / "model.onnx"
    pylstm.to_onnx(model, path, states=True)
    file = pylstm.from_onnx(path)
    assert [value.name for value in file.inputs] == ["x", "1.h", "1.c", "2.h"]
    assert [value.name for value in file.outputs] == ["y", "1.h_out", "1.c_out", "2.h_out"]
    stream, own = file.stream(batch_size=3), model.stream(batch_size=3)
    for t in range(5):
        assert np.array_equal(stream.step(X[:, t : t + 1])[:, 0], own.step(X[:, t]))


def test_metadata(tmp_path):
    model, path = pylstm.Linear(4, 3), tmp_path / "model.onnx"
    pylstm.to_onnx(model, path, metadata={"trained on": "nothing", "größe": "4"})
    assert pylstm.from_onnx(path).metadata == {"trained on": "nothing", "größe": "4"}
    with pytest.raises(TypeError, match="metadata must be a dict of texts, got 'a': int"):
        pylstm.to_onnx(model, path, metadata={"a": 1})


def test_float64_is_rounded(tmp_path):
    model, path = pylstm.Linear(4, 3, dtype="f8", seed=0), tmp_path / "model.onnx"
    pylstm.to_onnx(model, path)
    compare(path, [model(X[0])], X[0], bits=False)
    with pytest.raises(TypeError, match="dtype must be float32 or float64"):
        pylstm.to_onnx(model, path, dtype="f2")


DOUBLE = {
    "LSTM": lambda: pylstm.LSTM(4, 6, batch_first=True, bidirectional=True, num_layers=2, dtype="f8", seed=0),
    "functions": lambda: pylstm.LSTM(
        4, 6, batch_first=True, recurrent_activation=("hard_sigmoid", 0.3, 0.4), peephole=True, clip=0.7, dtype="f8",
    ),
    "chain": lambda: pylstm.Sequential([
        pylstm.Conv1d(4, 6, 3, padding=1, dtype="f8"), pylstm.LayerNorm(6, dtype="f8"),
        pylstm.GRU(6, 6, batch_first=True, dtype="f8"), pylstm.MeanOverTime(), pylstm.Linear(6, 3, dtype="f8"),
    ], seed=0),
}  # fmt: skip


@pytest.mark.parametrize("name", DOUBLE)
def test_float64_comes_back(tmp_path, name):
    """To the bit: numbers of functions and of clips, which ONNX has as float32, are read as what was written."""
    model, path = DOUBLE[name](), tmp_path / "model.onnx"
    pylstm.to_onnx(model, path, lengths=True, dtype="f8")
    x = RNG.normal(size=(3, 5, 4))
    expected, found = as_tuple(model(x, lengths=LENGTHS))[0], pylstm.from_onnx(path)(x, LENGTHS)
    assert found.dtype == np.float64
    assert np.array_equal(found, expected)
    onnx = pytest.importorskip("onnx")
    onnx.checker.check_model(str(path), full_check=True)


# ---- models with a run of their own ----------------------------------------------------------------------------------


class Captioner(pylstm.Model):
    def __init__(self, image_size=6, words=10, size=4):
        self.start, self.embed = pylstm.Linear(image_size, size), pylstm.Embedding(words, size)
        self.lstm = pylstm.LSTM(size, size, batch_first=True)
        self.head = pylstm.Linear(size, words)

    def run(self, image, words, lengths=None):
        h = self.start(image).tanh()
        y, _ = self.lstm(self.embed(words), (h[None], h[None] * 0), lengths=lengths)
        return self.head(y)


class Attending(pylstm.Model):
    def __init__(self, size=4):
        self.query, self.out = pylstm.Linear(size, size), pylstm.Linear(2 * size, size)
        self.gru = pylstm.GRU(size, size, batch_first=True, bidirectional=True)

    def run(self, x):
        y, h = self.gru(x)
        keys = self.out(y)
        weights = (self.query(x) @ keys.swapaxes(1, 2) / 2.0).softmax()
        z = pylstm.concatenate([weights @ keys, x], axis=-1)
        n, t, f = z.shape
        z = (z.reshape(n * t, f) * 2.0).reshape(n, t, f)
        return {
            "last": z[:, -1], "mean": z.mean(axis=1), "steps": (z[:, 1:] - z[:, :-1]).abs().max(axis=(1, 2)),
            "ends": h.swapaxes(0, 1).reshape(n, -1), "even": z[:, ::2, :3].relu() ** 2 - 1,
        }  # fmt: skip


class Looping(pylstm.Model):
    def __init__(self):
        self.step = pylstm.Linear(4, 4)

    def run(self, x):
        h = x[:, 0] * 0
        for t in range(x.shape[1]):
            h = (self.step(h) + x[:, t]).tanh()
        return h


def test_models(tmp_path):
    path = tmp_path / "model.onnx"
    captioner, image = Captioner(), RNG.normal(size=(3, 6)).astype("f4")
    words = IDS % 10
    pylstm.to_onnx(captioner, path, (image, words))
    model = compare(path, [captioner(image, words)], image, words)
    assert [(value.name, value.shape) for value in model.inputs] == [("x0", ("N", 6)), ("x1", ("N", "T"))]
    compare(path, [captioner(image[:1], words[:1, :2])], image[:1], words[:1, :2])
    pylstm.to_onnx(captioner, path, (image, words), lengths=True)
    compare(path, [captioner(image, words, lengths=LENGTHS)], image, words, LENGTHS)
    attending = Attending()
    pylstm.to_onnx(attending, path, X)
    compare(path, list(attending(X).values()), X)
    compare(path, list(attending(X[:1, :2]).values()), X[:1, :2])


def test_runs_that_depend_on_sizes(tmp_path):
    model, path = Looping(), tmp_path / "model.onnx"
    with pytest.raises(ValueError, match=r"the run of Looping depends on the sizes .* fixed_sizes=True"):
        pylstm.to_onnx(model, path, X)
    assert not path.exists()
    pylstm.to_onnx(model, path, X, fixed_sizes=True)
    compare(path, [model(X)], X)
    with pytest.raises(ValueError, match=r"input 'x' must have shape \(3, 5, 4\)"):
        pylstm.from_onnx(path)(X[:2])


class Strange(pylstm.Model):
    def __init__(self, how):
        self.how, self.linear = how, pylstm.Linear(4, 4)

    def run(self, x):
        if self.how == "plain":
            return self.linear(x).numpy() * 2
        if self.how == "constant":  # computed of the numbers of an input, which a graph would keep for ever
            return self.linear(x) + np.asarray(x.numpy())
        return self.linear(x)


def test_what_cannot_be_written(tmp_path):
    path = tmp_path / "model.onnx"

    class Own(pylstm.Layer):
        def __call__(self, x, *, lengths=None):  # noqa: ARG002
            return x

        def forward(self, x, *, lengths=None, need_dx=True):  # noqa: ARG002
            return x, lambda dy: (dy, {})

    for model, options, error, message in (
        (3, {}, TypeError, "model must be a layer"),
        (Own(), {"x": X}, ValueError, "Own is not written to ONNX files"),
        (pylstm.Activation("tanh"), {}, ValueError, "how many features go in is not known"),
        (pylstm.Linear(2, 3), {"states": True}, ValueError, "states=True is for models with recurrent layers"),
        (pylstm.Linear(2, 3), {"fixed_sizes": True}, ValueError, "needs an example"),
        (Captioner(), {}, ValueError, "give an example of its input"),
        (Captioner(), {"x": (X[0], IDS), "states": True}, ValueError, "states=True is for layers and chains"),
        (Strange("plain"), {"x": X}, ValueError, "returns something that is not computed"),
        (Strange("constant"), {"x": X}, ValueError, "depends on the numbers of its input"),
    ):
        options = dict(options)
        with pytest.raises(error, match=message):
            pylstm.to_onnx(model, path, options.pop("x", None), **options)
        assert not path.exists()
