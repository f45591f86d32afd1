"""Buffers that are used again: a loop of equal calls gets its memory back, and what it holds does not grow."""

from __future__ import annotations

import contextlib
import gc
import os
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


def calls():
    """Name -> a cheap call of every kind, with what it needs made once."""
    layer, bad = pylstm.LSTM(3, 8, 2, bidirectional=True, seed=0), np.ones((2, 1, 4), np.float32)
    x = np.ones((2, 1, 3), np.float32)
    out, lengths, state = np.empty((2, 1, 16), np.float32), np.array([1]), layer(x)[1]
    one_way = pylstm.GRU(3, 8, seed=0)
    stream, step = one_way.stream(), np.empty((1, 8), np.float32)
    weights, optimizer = one_way.state_dict(), pylstm.Adam()
    kept = layer.forward(x)[2]
    grads = {name: np.ones_like(value) for name, value in weights.items()}

    def refused():
        with contextlib.suppress(ValueError):
            layer(bad)

    return {
        "inference": lambda: layer(x, state, lengths=lengths),
        "inference with out": lambda: layer(x, out=out),
        "forward": lambda: layer.forward(x, lengths=lengths),
        "forward and backward": lambda: layer.forward(x)[2](None),
        "backward again": lambda: kept(None),
        "a step": lambda: stream.step(x[0], out=step),
        "a chunk": lambda: stream(x),
        "a new stream": lambda: one_way.stream(),
        "weights": lambda: (one_way.load_state_dict(weights), one_way(x)),
        "Adam": lambda: optimizer.step(one_way, grads),
        "an error": refused,
    }


@needs_proc
@pytest.mark.parametrize("kind", calls())
def test_100_000_calls_leave_the_resident_memory_flat(kind):
    """16 bytes lost a call would be 1.6 MB."""
    call = calls()[kind]
    for _ in range(2_000):
        call()
    gc.collect()
    before = resident()
    for _ in range(100_000):
        call()
    gc.collect()
    assert resident() - before < 1 << 20
