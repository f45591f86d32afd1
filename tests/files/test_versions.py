"""Files of earlier versions load to the same values."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import pylstm

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX only")
DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize("name", ["version1.npz", "version1.safetensors"])
def test_a_file_of_version_1_loads_to_the_same_values(name):
    model = pylstm.load(DATA / name)
    for key, value in model.params.items():
        want = ((np.arange(value.size).reshape(value.shape) % 17 - 8) / 16).astype(np.float32)
        np.testing.assert_array_equal(value, want, err_msg=key)
    assert len(model.params) == 32
    assert model.metadata == {"words": ["a", "ß", "字", "\n"], "n": 3, "deep": [{"x": [1.5, None, True]}]}
    with zipfile.ZipFile(DATA / "version1.npz") as archive:
        dropout = json.loads(archive.read("structure.json"))["dropout"]
    assert model._dropout_state() == dropout
    assert model(np.zeros((2, 3, 2), int)).shape == (2, 2)


def test_a_checkpoint_of_version_1_resumes_with_the_same_values():
    path = DATA / "version1_checkpoint.npz"
    model = pylstm.load(path)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 6, (20, 5))
    y = (x.sum(1) % 2).astype(int)
    optimizer, schedule = pylstm.Adam(), pylstm.ReduceOnPlateau(patience=0)
    keep = [pylstm.EarlyStopping(5), pylstm.ModelCheckpoint("unused.npz")]
    history = model.fit(
        x, y, loss="binary_cross_entropy", optimizer=optimizer, verbose=0, epochs=3, validation_data=(x, y),
        schedule=schedule, callbacks=keep, resume=path,
    )  # fmt: skip
    with np.load(path) as file:
        state = json.loads(bytes(zipfile.ZipFile(path).read("structure.json")))["training"]
        assert history == state["history"]
        assert len(history["loss"]) == 3
        for name, slots in optimizer.state_dict()["slots"].items():
            for slot, value in slots.items():
                np.testing.assert_array_equal(value, file[f"training/optimizer/{name}/{slot}"])
        best = keep[0].state_dict()
        for name, value in model.params.items():  # EarlyStopping ends with the best
            np.testing.assert_array_equal(value, file[f"training/callback0/{name}"])
        assert best["best"] == state["callbacks"][0]["state"]["best"]
    assert schedule.state_dict() == state["schedule"]


def test_loading_needs_no_other_library(monkeypatch):
    for name in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)
    assert len(pylstm.load(DATA / "version1.safetensors").params) == 32
