"""A short run of tools/fuzz_torch_files.py, and that it can fail."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import fuzz_torch_files
import pylstm
from fuzz_loop import Finding
from pylstm.files.pytorch import loading, pickles


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        yield


REAL = pylstm.from_torch


def test_some_files():
    seen = fuzz_torch_files.fuzz(7, calls=80)
    assert seen["refused"] > 20
    assert seen["loaded"] > 1


def half_loaded(weights, model, prefix="", mapping=None):
    try:
        return REAL(weights, model, prefix, mapping)
    except ValueError:
        model.load_state_dict({"weight": np.ones((2, 3))})
        raise


def strange(*arguments, **options):
    try:
        return REAL(*arguments, **options)
    except ValueError as error:
        raise KeyError("lost") from error


def greedy(items=()):  # noqa: ARG001
    assert len(bytes(200 << 20)) > 0
    return {}


FAULTS = {
    "a model that is changed": (pylstm, "from_torch", half_loaded),
    "strange error": (pylstm, "from_torch", strange),
    "memory": (pickles.ORDERED_DICT, "make", greedy),
    "good files refused": (loading, "match", lambda *_: [][0]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fuzz_sees_a_fault(monkeypatch, fault):
    monkeypatch.setattr(*FAULTS[fault])
    with pytest.raises((Finding, MemoryError, IndexError, KeyError)):
        fuzz_torch_files.fuzz(7, calls=100)
