"""A short run of tests/fuzz_files.py, and that it can fail."""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest

import pylstm
from pylstm.files import saving
from pylstm.files import strict_json as plain
from pylstm.files import tensors as files
from pylstm.training import checkpoint


@pytest.fixture
def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz_files", Path(__file__).parent / "fuzz_files.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield module


def test_some_hundred_files(fuzz):
    seen = fuzz.fuzz(7, calls=200)
    assert seen["refused"] > 20
    assert seen["loaded"] + seen["resumed"] > 10


real_load, real_array, real_size = pylstm.load, files._File.array, plain.check_size


def otherwise(error):
    """A load that refuses with this error."""

    def load(path):
        try:
            return real_load(path)
        except pylstm.ModelFileError:
            raise error from None

    return load


def noisy(self, at, tensor, crc=0):
    array, crc = real_array(self, at, tensor, crc)
    return array + np.random.default_rng().standard_normal(array.shape).astype(array.dtype), crc


def greedy(text, most=None):
    real_size(text, most)
    assert len(bytes(200 << 20)) > 0


def lost(self):  # noqa: ARG001
    raise KeyError("lost")


FAULTS = {
    "strange error": (pylstm, "load", otherwise(KeyError("lost"))),
    "error without a word": (pylstm, "load", otherwise(ValueError())),
    "other bits": (files._File, "array", noisy),
    "memory": (plain, "check_size", greedy),
    "good files refused": (files._File, "check_unchanged", lost),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fuzz_sees_a_fault(fuzz, monkeypatch, fault):
    monkeypatch.setattr(saving, "check_size", lambda text: None)  # noqa: ARG005  saving itself goes on
    monkeypatch.setattr(*FAULTS[fault])
    with pytest.raises((fuzz.Finding, MemoryError)):
        fuzz.fuzz(7, calls=50)


def test_a_refused_resume_that_leaves_traces_is_seen(fuzz, tmp_path, monkeypatch):
    promises = fuzz.Promises(tmp_path)
    data = fuzz.mutations.take_apart(fuzz.seeds(tmp_path)[2])
    assert promises.check(data.bytes()) == "resumed"
    del data.text["training"]["callbacks"][0]["state"]["best"]  # what only the callback itself misses
    assert promises.check(data.bytes()) == "loaded"
    monkeypatch.setattr(checkpoint, "_undone", lambda *_: contextlib.nullcontext())
    with pytest.raises(fuzz.Finding, match="a refused resume"):
        promises.check(data.bytes())
