"""Ctrl-C in products: every worker leaves, wherever it waits, and the next call works."""

from __future__ import annotations

import signal

import numpy as np
import pytest

from pylstm import _core, _products

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")


class Stop(Exception):
    pass


def stop(*_):
    raise Stop


# Teams that meet between groups of panels, workers that never meet, whole products for each, gradients of a layer.
SHAPES = {"rows": ((16000, 1024), (1024, 1024)), "columns": ((1000, 1024), (1024, 16000))}
SHAPES["batch"] = ((32, 700, 700), (32, 700, 900))


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("kind", [*SHAPES, "linear"])
def test_a_signal_ends_a_product(kind, threads):
    a, b = (np.ones(shape, np.float32) for shape in SHAPES.get(kind, SHAPES["rows"]))

    def call_for_ever():
        while True:
            if kind == "linear":
                _core.linear_backward(a, b, a, True, True, threads)
            else:
                _products.matmul(a, b, num_threads=threads)

    before = signal.signal(signal.SIGALRM, stop)
    try:
        for delay in (0.06, 0.1):
            signal.setitimer(signal.ITIMER_REAL, delay)
            with pytest.raises(Stop):
                call_for_ever()
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    small = _products.matmul(np.ones((64, 64), np.float32), np.ones((64, 64), np.float32), num_threads=threads)
    assert (small == 64).all()
