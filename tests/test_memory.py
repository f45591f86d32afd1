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


def resident():
    """Bytes of the process that are in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@needs_proc
def test_resident_memory_stays_flat():
    layer = pylstm.LSTM(16, 64, num_layers=2, seed=0)
    x = np.ones((100, 32, 16), np.float32)

    def step():
        output, _, backward = layer.forward(x)
        grads = backward(output)
        layer(x)
        layer.load_state_dict({name: value - 1e-6 * grads.params[name] for name, value in layer.params.items()})

    for _ in range(20):
        step()
    before = resident()
    for _ in range(100):
        step()
    assert resident() - before < 4 << 20  # a leak of one output alone would be 80 MB


KINDS = ["inference", "inference with out", "forward", "forward and backward", "backward again", "a step", "a chunk",
         "a new stream", "weights", "Adam", "an error"]  # fmt: skip


@needs_proc
@pytest.mark.parametrize("kind", KINDS)
def test_100_000_calls_leave_the_resident_memory_flat(kind):
    """In a process of its own. 16 bytes lost a call would be 1.6 MB."""
    command = [sys.executable, str(Path(__file__).parent / "leaks.py"), kind, "50000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1 << 19


@needs_proc
def test_a_leak_would_be_seen():
    command = [sys.executable, str(Path(__file__).parent / "leaks.py"), "a leak", "50000"]
    assert int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) > 1 << 19
