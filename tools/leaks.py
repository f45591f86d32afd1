"""Bytes by which the resident memory grows over many cheap calls of one kind: `python tools/leaks.py KIND CALLS`.

Printed is the smaller of two rounds: a leak grows in both, whatever grows once does not.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from pathlib import Path

import numpy as np

import pylstm


def resident():
    """Bytes of the process that are in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


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

    lost: list[bytes] = []
    stack, batch = pylstm.LSTM(16, 64, num_layers=2, seed=0), np.ones((100, 32, 16), np.float32)

    def refused():
        with contextlib.suppress(ValueError):
            layer(bad)

    def training():
        output, _, backward = stack.forward(batch)
        grads = backward(output)
        stack(batch)
        stack.load_state_dict({name: value - 1e-6 * grads.params[name] for name, value in stack.params.items()})

    return {
        "training": training,
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
        "a leak": lambda: lost.append(bytes(16)),
    }


def growth(call, count):
    gc.collect()
    before = resident()
    for _ in range(count):
        call()
    gc.collect()
    return resident() - before


if __name__ == "__main__":
    own, times = calls()[sys.argv[1]], int(sys.argv[2])
    growth(own, min(times, 2_000))
    print(min(growth(own, times), growth(own, times)))
