"""What is written is read back; what cannot be written is an error."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import sys

import numpy as np
import pytest

import pylstm
from support.files import every_layer, ids, small


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_there_and_back(tmp_path, suffix, dtype):
    model, path = every_layer(dtype), tmp_path / f"m.{suffix}"
    model.forward(ids())  # dropout has begun
    metadata = {"words": ["a", "ß", "字", "\n"], "n": 3, "deep": [{"x": [1.5, None, True]}]}
    model.save(path, metadata=metadata)
    other = pylstm.load(path)
    assert repr(other) == repr(model)
    assert other.metadata == metadata
    for name, value in model.params.items():
        assert other.params[name].dtype == value.dtype
        np.testing.assert_array_equal(other.params[name], value)
    np.testing.assert_array_equal(other(ids()), model(ids()))
    np.testing.assert_array_equal(other.forward(ids())[0], model.forward(ids())[0])  # the same masks, too
    y, backward = other.forward(ids())
    pylstm.Adam().step(other, backward(np.ones_like(y))[1])  # it can be trained on
    assert os.listdir(tmp_path) == [path.name]


def test_evaluate_after_loading(tmp_path, suffix):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, (20, 5)), rng.integers(0, 2, 20)
    model = small()
    model.fit(x, y, loss="binary_cross_entropy", optimizer=pylstm.Adam(), verbose=0, seed=0)
    model.save(tmp_path / f"m.{suffix}")
    assert pylstm.load(tmp_path / f"m.{suffix}").evaluate(x, y) == model.evaluate(x, y)


def test_the_same_model_gives_the_same_bytes(tmp_path, suffix):
    contents = []
    for name in ("a", "b"):
        model = every_layer()
        model._seed_dropout(np.random.SeedSequence(0))
        model.save(tmp_path / f"{name}.{suffix}")
        contents.append((tmp_path / f"{name}.{suffix}").read_bytes())
    assert contents[0] == contents[1]


def test_numpy_reads_the_weights(tmp_path):
    model = small()
    model.save(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz", allow_pickle=False) as file:
        for name, value in model.params.items():
            np.testing.assert_array_equal(file[name], value)


def test_a_failed_save_leaves_the_old_file(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"m.{suffix}"
    small().save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        every_layer().save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


class Strange(pylstm.Layer):
    def __call__(self, x, *, lengths=None):  # noqa: ARG002
        return np.asarray(x)

    def forward(self, x, *, lengths=None, need_dx=True):  # noqa: ARG002
        return np.asarray(x), lambda dy: (dy, {})


@pytest.mark.parametrize(
    ("save", "error", "message"),
    [
        (lambda m, p: m.save(p / "m.pkl"), ValueError, "must end in .npz or .safetensors"),
        (lambda m, p: m.save(p / "none" / "m.npz"), FileNotFoundError, "none"),
        (lambda m, p: m.save(p / "m.npz", metadata={"x": {1, 2}}), TypeError, "JSON's types"),
        (lambda m, p: m.save(p / "m.npz", metadata={"x": np.nan}), TypeError, "JSON's types"),
        (lambda m, p: m.save(p / "m.npz", metadata={"x": "a" * (2**28 + 1)}), ValueError, "MiB of text"),
        (lambda m, p: pylstm.Sequential([Strange(), *m.layers]).save(p / "m.npz"), TypeError, "Strange is not a layer"),
        (lambda m, p: pylstm.load(p / "m.npz"), FileNotFoundError, "m.npz"),  # noqa: ARG005
        (lambda m, p: pylstm.load(p), ValueError, "must end in"),  # noqa: ARG005
    ],
)
def test_what_cannot_be_saved_or_loaded(tmp_path, save, error, message):
    with pytest.raises(error, match=message):
        save(small(), tmp_path)
    assert os.listdir(tmp_path) == []


def test_without_safetensors_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install 'pylstm\[train\]'.*npz"):
        small().save(tmp_path / "m.safetensors")


class Saved(pylstm.Model):
    """A model whose run is interrupted by a signal, whose handler saves."""

    def __init__(self):
        self.a, self.b = pylstm.Embedding(3, 2, seed=0), pylstm.LSTM(2, 2, seed=1)

    def run(self, x):
        h = self.a(x)
        signal.raise_signal(signal.SIGINT)
        return self.b(h)[0]


@pytest.mark.parametrize("record", [True, False])
def test_a_signal_handler_saves_in_the_middle_of_a_run(tmp_path, suffix, record):
    net, chain, copies = Saved(), small(), []

    def handler(*_):
        net.save_weights(tmp_path / f"net.{suffix}")
        chain.save(tmp_path / f"chain.{suffix}")
        copies.extend([pickle.loads(pickle.dumps(chain)), copy.deepcopy(net)])

    before = signal.signal(signal.SIGINT, handler)
    try:
        (net.forward if record else net)(np.array([[0, 1, 2]]))
    finally:
        signal.signal(signal.SIGINT, before)
    other = Saved()
    other.a, other.b = pylstm.Embedding(3, 2, seed=2), pylstm.LSTM(2, 2, seed=3)
    other.load_weights(tmp_path / f"net.{suffix}")
    loaded = pylstm.load(tmp_path / f"chain.{suffix}")
    for found, wanted in ((other, net), (copies[1], net), (loaded, chain), (copies[0], chain)):
        assert found.params == wanted.params
