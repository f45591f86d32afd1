"""A forked child computes what its parent does, after the parent has run in parallel."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys

import numpy as np
import pytest

import pylstm

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def train(layer, x):
    output, _, backward = layer.forward(x, num_threads=2)
    grads = backward(output)
    return output.tobytes() + grads.x.tobytes() + b"".join(g.tobytes() for g in grads.params.values())


@pytest.fixture
def problem():
    layer = pylstm.LSTM(16, 64, seed=0)
    return layer, np.random.default_rng(0).standard_normal((20, 32, 16)).astype(np.float32)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_after_a_parallel_run(problem):
    pylstm._core.force_plan((2, 1, 1))
    try:
        want = train(*problem)
        for _ in range(3):
            child = os.fork()
            if child == 0:
                signal.alarm(20)  # a child that hangs dies, and the parent sees how
                same = train(*problem) == want
                os._exit(0 if same else 1)
            _, status = os.waitpid(child, 0)
            assert status == 0
            assert train(*problem) == want  # and the parent goes on
    finally:
        pylstm._core.force_plan()


def work(x):
    return train(pylstm.LSTM(16, 64, seed=0), x)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(problem, method):
    if method == "spawn" and "" in sys.path:
        pytest.skip("a spawned child could import the source folder")
    layer, x = problem
    want = train(layer, x)
    if (
        method == "spawn"
    ):  # it must import this file by name, which importlib mode does not allow: send a method instead
        with multiprocessing.get_context(method).Pool(2) as pool:
            results = pool.starmap(pylstm.LSTM.__call__, [(layer, x)] * 4)
        assert all(np.array_equal(output, layer(x)[0]) for output, _ in results)
        return
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map_async(work, [x] * 4).get(timeout=60) == [want] * 4
