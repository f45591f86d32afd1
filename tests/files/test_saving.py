"""What is written is read back; what cannot be written is an error."""

from __future__ import annotations

import os
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
        (lambda m, p: m.save(p / "m.npz", metadata={"x": "a" * 2**23}), ValueError, "MiB of text"),
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
