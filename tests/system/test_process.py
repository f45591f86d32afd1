"""What the process around the library sees of it: threads and floating-point mode."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm


def test_threadpoolctl_sees_and_limits_the_threads():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    if not pylstm._core.has_openmp:
        pytest.skip("built without OpenMP")
    before = pylstm.get_num_threads()
    try:
        pylstm.set_num_threads(2)
        if any(pool["num_threads"] > 1 for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "openmp"):
            with threadpoolctl.threadpool_limits(1, user_api="openmp"):
                assert pylstm.get_num_threads() == 1
        assert pylstm.get_num_threads() == 2
    finally:
        pylstm.set_num_threads(before)


def test_floating_point_mode_of_the_caller_is_left_alone():
    tiny = np.float32(1e-40)
    layer = pylstm.LSTM(4, 4, seed=0)
    x = np.full((3, 2, 4), tiny)
    output, _, backward = layer.forward(x)  # denormals are flushed inside ..
    backward(output)
    layer.stream(2).step(x[0])
    assert tiny * np.float32(1) == tiny  # .. and nowhere else
    assert tiny > 0
