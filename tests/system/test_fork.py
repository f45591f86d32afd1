"""A forked child computes what its parent does, after the parent has run in parallel."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import pylstm
import pylstm.reference

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


HOOKS = """
import gc, os, signal, threading, time

def hook():  # another module's: Python runs, other threads with it, and garbage is collected
    time.sleep(0.002)
    gc.collect()

os.register_at_fork(before=hook, after_in_parent=hook, after_in_child=hook)  # before pylstm's own, if it had any
import numpy as np, pylstm

layer = pylstm.LSTM(16, 64, seed=0)
x = np.random.default_rng(0).standard_normal((20, 32, 16)).astype(np.float32)
want = layer(x, num_threads=2)[0].tobytes()
over = threading.Event()

def work():
    while not over.is_set():
        output, _, backward = layer.forward(x, num_threads=2)
        backward(output)

threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(20):
    cycle = [layer(x)[0]]  # garbage, with an array in it that the child frees
    cycle.append(cycle)
    del cycle
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        gc.collect()
        os._exit(0 if layer(x, num_threads=2)[0].tobytes() == want else 1)
    assert os.waitpid(child, 0)[1] == 0
over.set()
for thread in threads:
    thread.join()
print("fine")
"""


def test_other_threads_and_other_modules_hooks_at_a_fork():
    """No lock is held while foreign code runs, and none is inherited from a thread that the child does not have."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HOOKS],
        cwd=os.path.dirname(sys.executable),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "fine\n", done.stderr


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_first_backward_in_a_child_while_the_parent_packs(problem):
    """Transposed weights are packed once; a child does not wait for a thread of its parent that was doing so."""
    x = problem[1][:2]
    for seed in range(10):
        layer = pylstm.LSTM(16, 512, seed=seed)
        output, _, backward = layer.forward(x)
        thread = threading.Thread(target=backward, args=(output,))
        thread.start()
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            backward(output)
            os._exit(0)
        thread.join(timeout=60)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("module", [pylstm, pylstm.reference], ids=["fast", "reference"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_stream_that_is_forked_in_the_middle_of_a_step(module):
    """The child is told that its state is half a step's, and goes on from a state that it sets."""
    # the fast one gives up the GIL in a step of this size; NumPy's BLAS does so in no product of the reference's size
    batch, hidden = (64, 512) if module is pylstm else (4, 16)
    layer = module.LSTM(batch, hidden, seed=0)
    stream, x = layer.stream(batch), np.ones((batch, batch), np.float32)
    want = layer.stream(batch).step(x).tobytes()
    over = threading.Event()

    def steps():
        while not over.is_set():
            stream.step(x)

    thread = threading.Thread(target=steps)
    thread.start()
    codes = []
    try:
        for _ in range(30):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                code = 1
                try:
                    stream.step(x)
                except RuntimeError as error:
                    code = 3 if "half a step" in str(error) else 2
                    with contextlib.suppress(RuntimeError):
                        stream.step(x)
                        code = 4
                stream.reset()
                os._exit(code if stream.step(x).tobytes() == want else 5)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            if codes[-1] not in (1, 3):
                break
    finally:
        over.set()
        thread.join()
    assert set(codes) <= {1, 3}
    assert 3 in codes
    assert stream.is_finite().all()


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
