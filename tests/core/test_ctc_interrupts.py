"""Ctrl-C in the CTC loss."""

from __future__ import annotations

import signal
import threading
import time

import numpy as np
import pytest

import pylstm


def test_ctrl_c_ends_a_long_call(sigint_heard):  # noqa: ARG001
    z = np.zeros((4, 40_000, 50), np.float32)
    targets = [[1, 2] * 300] * 4
    wanted = pylstm.ctc_loss(z[:, :50], [[1, 2]] * 4)
    sent = []

    def send():
        sent.append(time.perf_counter())
        signal.raise_signal(signal.SIGINT)

    timer = threading.Timer(0.2, send)
    try:
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            timer.start()
            while True:  # each takes some tenths of a second
                pylstm.ctc_loss(z, targets)
        assert time.perf_counter() - sent[0] < 1.0
    finally:
        timer.cancel()
        timer.join()
    again = pylstm.ctc_loss(z[:, :50], [[1, 2]] * 4)
    assert again[0] == wanted[0]
    assert again[1].tobytes() == wanted[1].tobytes()
