"""Buffers that are used again: a loop of equal calls gets its memory back, and what it holds does not grow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pylstm
from pylstm import _core

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.mark.parametrize("elements", [20_000, 1 << 20, (1 << 20) + 1, 1_300_000, 5_000_000])
def test_a_freed_array_is_used_again(elements):
    pylstm.release_memory()
    array = _core.empty((elements,), np.dtype(np.float32))
    address = array.ctypes.data
    assert address % 64 == 0
    del array
    again = _core.empty((elements,), np.dtype(np.float32))
    assert again.ctypes.data == address
    other = _core.empty((elements,), np.dtype(np.float32))  # while the first is in use it is nobody else's
    assert other.ctypes.data != address


def test_release_memory_forgets_freed_arrays():
    array = _core.empty((1 << 20,), np.dtype(np.float64))
    array[:] = 1
    del array
    pylstm.release_memory()
    kept = _core.empty((1 << 20,), np.dtype(np.float64))
    kept[:] = 2  # fresh and writeable
    assert kept.sum() == 2 << 20


needs_proc = pytest.mark.skipif(
    "PYLSTM_CHECKER" in os.environ or not Path("/proc/self/statm").exists(),
    reason="reads Linux' /proc; a sanitizer keeps what was freed",
)


KINDS = ["inference", "inference with out", "forward", "forward and backward", "backward again", "a step", "a chunk",
         "a new stream", "weights", "Adam", "an error"]  # fmt: skip


def growth(kind, calls):
    """Bytes, in a process of its own."""
    command = [sys.executable, str(TOOLS / "leaks.py"), kind, str(calls)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@needs_proc
def test_resident_memory_stays_flat_in_training():
    assert growth("training", 100) < 4 << 20  # a leak of one output alone would be 80 MB


@needs_proc
@pytest.mark.parametrize("kind", KINDS)
def test_100_000_calls_leave_the_resident_memory_flat(kind):
    """Twice half of them. 16 bytes lost a call would be 0.8 MB."""
    assert growth(kind, 50_000) < 1 << 19


@needs_proc
def test_a_leak_would_be_seen():
    assert growth("a leak", 50_000) > 1 << 19
