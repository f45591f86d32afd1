"""A short run of tools/fuzz_keras_files.py, and that it can fail."""

from __future__ import annotations

import warnings

import pytest

import fuzz_keras_files
import pylstm
from fuzz_loop import Finding


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        yield


REAL = pylstm.from_keras


def test_some_files():
    seen = fuzz_keras_files.fuzz(7, calls=80)
    assert seen["refused"] > 20
    assert seen["loaded"] > 1


def strange(*arguments):
    try:
        return REAL(*arguments)
    except ValueError as error:
        raise KeyError("lost") from error


def silent(*arguments):
    try:
        return REAL(*arguments)
    except ValueError:
        raise ValueError from None


def greedy(*arguments):
    assert len(bytes(300 << 20)) > 0
    return REAL(*arguments)


@pytest.mark.parametrize("reader", [strange, silent, greedy])
def test_a_reader_that_breaks_a_promise_is_found(monkeypatch, reader):
    monkeypatch.setattr(pylstm, "from_keras", reader)
    with pytest.raises((KeyError, Finding, MemoryError)):
        fuzz_keras_files.fuzz(7, calls=80)
