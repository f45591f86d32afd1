"""Models with a run of their own as ONNX files: attention, indices, masks, sizes; and runs that a file would not be."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from support.onnx_files import as_tuple, compare

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 4)).astype("f4")
SYMBOLS = RNG.integers(0, 20, (3, 5))
LENGTHS = np.array([5, 2, 0])
SCORES = ("additive", "general", "dot", "scaled_dot")


def run_of(function, **layers):
    class Own(pylstm.Model):
        keeps_time = True

        def __init__(self):
            self.linear = pylstm.Linear(4, 4, seed=0)
            for name, layer in layers.items():
                setattr(self, name, layer)

        def run(self, x, lengths=None):
            return function(self, x) if lengths is None else function(self, x, lengths)

    return Own()


def check(tmp_path, model, x, *others, lengths=None, openvino=False, **options):
    """That the file computes what the model does, with the example, and with other sizes."""
    path = tmp_path / "model.onnx"
    pylstm.to_onnx(model, path, x, lengths=lengths is not None, **options)
    for one in (x, *others):
        given = one if isinstance(one, tuple) else (one,)
        more = () if lengths is None else (lengths[: len(given[0])],)
        expected = model(*given, **({"lengths": more[0]} if more else {}))
        file = compare(path, list(as_tuple(expected)), *given, *more, openvino=openvino)
    return file


# ---- attention -------------------------------------------------------------------------------------------------------


class Attending(pylstm.Model):
    def __init__(self, score, memory):
        self.gru, self.memory = pylstm.GRU(4, 4, batch_first=True, seed=1), memory
        self.attention = pylstm.Attention(4, 4, score=score, seed=2)

    def run(self, x, lengths=None):
        keys, h = self.gru(x, lengths=lengths)
        if not self.memory:
            return self.attention(x, keys, lengths=lengths)
        memory = self.attention.prepare(keys, lengths=lengths)
        context, weights = self.attention(h[-1], memory)
        return self.attention(context, memory)[0], weights


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("memory", [False, True])
def test_attention(tmp_path, score, memory):
    """To the bit, all queries at once and one by one with a memory, with open sizes, and with lengths."""
    model = Attending(score, memory)
    check(tmp_path, model, X, X[:2, :3], openvino=not memory)
    check(tmp_path, model, X, X[:1], lengths=LENGTHS, openvino=not memory)


@pytest.mark.parametrize("score", SCORES)
def test_attention_alone(tmp_path, score):
    """The layer itself takes a query and keys, of steps of their own."""
    layer = pylstm.Attention(4, 4, score=score, seed=0)
    file = check(tmp_path, layer, (X[:, :2], X), (X[:1], X[:1, :3]))
    assert [one.shape for one in file.inputs] == [("N", "T0", 4), ("N", "T1", 4)]
    with pytest.raises(TypeError, match="takes a query and keys"):
        pylstm.to_onnx(layer, tmp_path / "none.onnx", X)


def test_attention_that_nothing_is_in(tmp_path):
    """NaN past a length does not show, and a memory's lengths are values like others."""
    layer = pylstm.Attention(4, 4, seed=0)

    def masked(model, x, lengths=None):
        memory = model.attention.prepare(x, lengths=lengths)
        inside = np.arange(x.shape[1]) < memory.lengths[:, None]
        return pylstm.where(inside[:, :, None], model.linear(model.attention(x, memory)[0]), 0.0)

    hollow = X.copy()
    hollow[1, 2:] = np.nan
    check(tmp_path, run_of(masked, attention=layer), X, X[:2, :3])
    check(tmp_path, run_of(masked, attention=layer), X, lengths=LENGTHS)
    path = tmp_path / "model.onnx"
    pylstm.to_onnx(run_of(lambda m, x, lengths: m.attention(x[:, :2], x, lengths=lengths)[0], attention=layer), path, X,
                   lengths=True)  # fmt: skip
    found = pylstm.from_onnx(path)(hollow, LENGTHS)
    assert np.isfinite(found).all()
    assert not found[2].any()


# ---- operations ------------------------------------------------------------------------------------------------------

INDICES = {
    "several": lambda m, x: m.linear(x)[:, [0, 2]],
    "bools": lambda m, x: m.linear(x)[:, :, np.array([True, False, True, False])],
    "two": lambda m, x: m.linear(x)[:, [0, 1], [1, -2]],
    "apart": lambda m, x: m.linear(x)[[0, 1], :, [1, 2]],
    "number apart": lambda m, x: m.linear(x)[0, :, [1, 2]],
    "number beside": lambda m, x: m.linear(x)[:, -1, [1, 2]],
    "matrix": lambda m, x: m.linear(x)[..., np.array([[0, 1], [2, 3]])],
    "new axes": lambda m, x: m.linear(x)[None, :, [0, 1], :, None][:, :, 0],
}


@pytest.mark.parametrize("name", INDICES)
def test_indices(tmp_path, name):
    check(tmp_path, run_of(INDICES[name]), X, X[:2, :3])


OF_SIZES = {
    "mean": lambda m, x: m.linear(x).sum(axis=1) / x.shape[1],
    "count": lambda m, x: m.linear(x) * len(x),
    "places": lambda m, x: m.linear(x) * (np.arange(x.shape[1])[:, None] * 1.0),
    "detached": lambda m, x: pylstm.stop_gradient(m.linear(x)) * 2,
    "negative": lambda m, x: m.linear(x)[:, -3:-1] - 1 / (x[:, ::-1][:, :2].abs() + 1),
}
OF_LENGTHS = {
    "last": lambda m, x, lengths: m.linear(x)[np.arange(len(x)), np.maximum(lengths - 1, 0)],
    "mask": lambda m, x, lengths: pylstm.where(
        (np.arange(x.shape[1]) < lengths[:, None])[:, :, None], m.linear(x), 0.0
    ).sum(axis=1),
    "softmax": lambda m, x, lengths: pylstm.where(
        lengths[:, None] > np.arange(x.shape[1])[None], m.linear(x) @ np.ones(4, "f4"), -1e9
    ).softmax(),
}
OF_SYMBOLS = {
    "mask": lambda m, x: pylstm.where(((x != 0) & (x < 9))[:, :, None], m.embedding(x), 0.0).max(axis=1),
    "shifted": lambda m, x: m.embedding(x[:, 1:]) - m.embedding(x[:, :-1]),
    "first": lambda m, x: m.embedding(x[:, 0]) * 2,
    "looked up": lambda m, x: m.embedding(np.arange(20))[x],
}


@pytest.mark.parametrize("name", OF_SIZES)
def test_what_is_computed_of_sizes(tmp_path, name):
    check(tmp_path, run_of(OF_SIZES[name]), X, X[:2, :4])


@pytest.mark.parametrize("name", OF_LENGTHS)
@pytest.mark.parametrize("fixed", [False, True])
def test_what_is_computed_of_lengths(tmp_path, name, fixed):
    check(tmp_path, run_of(OF_LENGTHS[name]), X, *([] if fixed else [X[:2]]), lengths=LENGTHS, fixed_sizes=fixed)


@pytest.mark.parametrize("name", OF_SYMBOLS)
def test_what_is_computed_of_symbols(tmp_path, name):
    embedding = pylstm.Embedding(20, 4, seed=0)
    check(tmp_path, run_of(OF_SYMBOLS[name], embedding=embedding), SYMBOLS, np.zeros((1, 3), int), SYMBOLS[:2, :2])


def test_models_in_chains(tmp_path):
    inner = run_of(lambda m, x: m.linear(x).tanh())
    check(tmp_path, pylstm.Sequential([pylstm.Linear(4, 4), inner, pylstm.LastStep()], seed=0), X, X[:1, :2])
    check(tmp_path, pylstm.Residual([inner]), X, X[:2, :3])
    with pytest.raises(ValueError, match="give an example of its input"):
        pylstm.to_onnx(pylstm.Residual([inner]), tmp_path / "none.onnx")


def test_encoder_and_decoder(tmp_path):
    model = pylstm.EncoderDecoder(
        [pylstm.Embedding(20, 4), pylstm.LSTM(4, 6, batch_first=True, bidirectional=True)],
        [pylstm.Embedding(15, 4), pylstm.LSTM(4, 12, batch_first=True), pylstm.Linear(12, 15)],
        attention="general", begin=13, end=14, seed=0,
    )  # fmt: skip
    check(tmp_path, model, (SYMBOLS, SYMBOLS[:, :3] % 15), (SYMBOLS[:1], SYMBOLS[:1, :2] % 15))


# ---- what a file would not be ----------------------------------------------------------------------------------------

OF_NUMBERS = {
    "a number": lambda m, x: m.linear(x) * float(x.numpy().mean()),
    "its own": lambda m, x: m.linear(x) + x.numpy(),
    "a choice": lambda m, x: m.linear(x) if x.numpy()[0, 0, 0] > X[0, 0, 0] - 1e-6 else m.linear(x).tanh(),
    "an index": lambda m, x: m.linear(x)[:, int(x.numpy()[:, :, 0].argmax()) % 3],
    "a mask": lambda m, x: pylstm.where(x.numpy() > 0, m.linear(x), 0.0),
}


@pytest.mark.parametrize("name", OF_NUMBERS)
@pytest.mark.parametrize("fixed", [False, True])
def test_runs_that_depend_on_the_numbers(tmp_path, name, fixed):
    """Which would be those of the example for ever."""
    with pytest.raises(ValueError, match="depends on the numbers of its input"):
        pylstm.to_onnx(run_of(OF_NUMBERS[name]), tmp_path / "none.onnx", X, fixed_sizes=fixed)
    assert not list(tmp_path.iterdir())


def test_lengths_as_numbers(tmp_path):
    longest = run_of(lambda m, x, lengths: m.linear(x) * float(lengths.max()))
    summed = run_of(lambda m, x, lengths: m.linear(x) * (lengths / 2)[:, None, None])
    for model in (longest, summed):
        with pytest.raises(ValueError, match="depends on the numbers of its input"):
            pylstm.to_onnx(model, tmp_path / "none.onnx", X, lengths=True, fixed_sizes=True)


def test_symbols_as_numbers(tmp_path):
    model = run_of(lambda m, x: m.embedding(x) * float(x.max()), embedding=pylstm.Embedding(20, 4, seed=0))
    with pytest.raises(ValueError, match="depends on the numbers of its input"):
        pylstm.to_onnx(model, tmp_path / "none.onnx", SYMBOLS)


def test_layers_of_ones_own(tmp_path):
    class Own(pylstm.Layer):
        def __call__(self, x, *, lengths=None):  # noqa: ARG002
            return np.asarray(x) * 2

        def forward(self, x, *, lengths=None, need_dx=True):  # noqa: ARG002
            return x, lambda dy: (dy, {})

    with pytest.raises(ValueError, match=r"Own is not written to ONNX files, which hold no Python: .* as a Model"):
        pylstm.to_onnx(pylstm.Sequential([pylstm.Linear(4, 4), Own()]), tmp_path / "none.onnx", X)


def test_indices_that_are_not_written(tmp_path):
    for index, match in (
        (np.ones((3, 5), bool), "an array of bools"), ((slice(None), [0, 1], None, [0, 1]), "None between"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=match):
            pylstm.to_onnx(run_of(lambda m, x, index=index: m.linear(x)[index]), tmp_path / "none.onnx", X)
    only = run_of(lambda m, x: m.linear(x) + np.zeros((3, 5, 4), "f4"))
    with pytest.raises(
        ValueError, match=r"with \[\(3, 5, 4\)\] it succeeds, and with \[\(4, 7, 4\)\] not: .*fixed_sizes"
    ):
        pylstm.to_onnx(only, tmp_path / "none.onnx", X)
    check(tmp_path, only, X, fixed_sizes=True)
