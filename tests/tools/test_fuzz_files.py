"""A short run of tools/fuzz_files.py, and that it can fail."""

from __future__ import annotations

import contextlib
import warnings

import numpy as np
import pytest

import fuzz_files
import pylstm
from fuzz_loop import Finding
from fuzz_mutations import take_apart
from pylstm.files import saving
from pylstm.files import strict_json as plain
from pylstm.files import tensors as files
from pylstm.training import checkpoint


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_some_hundred_files():
    seen = fuzz_files.fuzz(7, calls=200)
    assert seen["refused"] > 20
    assert seen["loaded"] + seen["resumed"] > 10


real_load, real_array, real_size = pylstm.load, files.File.array, plain.check_size


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


def greedy(text, most=plain.VALUES):
    assert len(bytes(200 << 20)) > 0
    return real_size(text, most)


def lost(self):  # noqa: ARG001
    raise KeyError("lost")


FAULTS = {
    "strange error": (pylstm, "load", otherwise(KeyError("lost"))),
    "error without a word": (pylstm, "load", otherwise(ValueError())),
    "other bits": (files.File, "array", noisy),
    "memory": (plain, "check_size", greedy),
    "good files refused": (files.File, "check_unchanged", lost),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fuzz_sees_a_fault(monkeypatch, fault):
    monkeypatch.setattr(saving, "check_size", lambda text: None)  # noqa: ARG005  saving itself goes on
    monkeypatch.setattr(*FAULTS[fault])
    with pytest.raises((Finding, MemoryError)):
        fuzz_files.fuzz(7, calls=50)


def test_a_refused_resume_that_leaves_traces_is_seen(tmp_path, monkeypatch):
    promises = fuzz_files.ModelPromises(tmp_path)
    data = take_apart(fuzz_files.seeds(tmp_path)[3])
    assert promises.check(data.bytes()) == "resumed"
    del data.text["training"]["callbacks"][0]["state"]["best"]  # what only the callback itself misses
    assert promises.check(data.bytes()) == "loaded"
    monkeypatch.setattr(checkpoint, "_undone", lambda *_: contextlib.nullcontext())
    with pytest.raises(Finding, match="a refused resume"):
        promises.check(data.bytes())
