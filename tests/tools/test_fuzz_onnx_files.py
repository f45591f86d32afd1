"""A short run of tools/fuzz_onnx_files.py, and that it can fail."""

from __future__ import annotations

import pytest

import fuzz_onnx_files
import pylstm
from fuzz_loop import Finding
from pylstm.files.onnx import model, program

REAL = pylstm.from_onnx


def test_some_files():
    seen = fuzz_onnx_files.fuzz(7, calls=60)
    assert seen["refused"] > 15
    assert seen["a chain"] > 1


def strange(path):
    try:
        return REAL(path)
    except ValueError as error:
        raise KeyError("lost") from error


def greedy(data):
    assert len(bytes(200 << 20)) > 0
    return data


def wordless(path):
    try:
        return REAL(path)
    except ValueError as error:
        raise ValueError from error


FAULTS = {
    "strange error": (pylstm, "from_onnx", strange),
    "no words": (pylstm, "from_onnx", wordless),
    "memory": (model, "_check_head", greedy),
    "good files refused": (program, "build", lambda *_: [][0]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fuzz_sees_a_fault(monkeypatch, fault):
    monkeypatch.setattr(*FAULTS[fault])
    with pytest.raises((Finding, MemoryError, IndexError, KeyError)):
        fuzz_onnx_files.fuzz(7, calls=80)
