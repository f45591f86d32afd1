"""A forked child computes what its parent does, after the parent has run in parallel."""

from __future__ import annotations

import concurrent.futures
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
def test_a_pool_of_forked_processes(problem):
    layer, x = problem
    want = train(layer, x)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(work, [x] * 4).get(timeout=60) == [want] * 4


# A child of these starts from nothing and imports what it is sent by name: methods of the installed package, since
# importlib mode lets nobody import this file.
@pytest.mark.parametrize("kind", ["spawn", "forkserver", "concurrent.futures", "joblib"])
def test_other_ways_to_start_processes(problem, kind):
    if "" in sys.path:
        pytest.skip("a child could import the source folder")
    layer, x = problem
    want = layer(x, num_threads=2)[0].tobytes()
    if kind == "joblib":
        joblib = pytest.importorskip("joblib")
        results = joblib.Parallel(2, timeout=60)(joblib.delayed(pylstm.LSTM.__call__)(layer, x) for _ in range(4))
    elif kind == "concurrent.futures":
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            results = list(pool.map(pylstm.LSTM.__call__, [layer] * 4, [x] * 4, timeout=60))
    else:
        with multiprocessing.get_context(kind).Pool(2) as pool:
            results = pool.starmap_async(pylstm.LSTM.__call__, [(layer, x)] * 4).get(timeout=60)
    assert [output.tobytes() for output, _ in results] == [want] * 4
