"""Many Python threads at once, and other libraries' thread pools in the same process."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import pylstm
import pylstm.reference

MANY = 16


def all_at_once(work, count=MANY):
    """work(0) .. work(count - 1), started together, each on a thread of its own; their results."""
    start = threading.Barrier(count)

    def run(i):
        start.wait()
        return work(i)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.fixture
def problems():
    rng = np.random.default_rng(0)
    return [rng.standard_normal((20, 1 + i % 5, 12)).astype(np.float32) for i in range(MANY)]


def test_many_threads_call_one_layer(variant, problems):
    layer = variant.make(pylstm, 12, 40, num_layers=2, bidirectional=True, seed=0)
    want = [layer(x)[0].tobytes() for x in problems]
    for threads in (1, 2, 4):
        got = all_at_once(lambda i, n=threads: [layer(problems[i], num_threads=n)[0].tobytes() for _ in range(5)])
        assert got == [[w] * 5 for w in want]


def test_many_threads_train_copies(problems):
    """Forward, backward, Adam, new weights: 16 models side by side end where each of them ends alone."""

    def train(i):
        layer, optimizer = pylstm.LSTM(12, 24, seed=i), pylstm.Adam()
        for _ in range(6):
            output, _, backward = layer.forward(problems[i], num_threads=1 + i % 3)
            optimizer.step(layer, backward(output).params)
        return b"".join(p.tobytes() for p in layer.params.values())

    assert all_at_once(train) == [train(i) for i in range(MANY)]


def test_many_threads_stream_from_one_layer(problems):
    layer = pylstm.GRU(12, 40, num_layers=2, seed=0)
    want = [layer(x)[0].tobytes() for x in problems]

    def stream(i):
        own = layer.stream(problems[i].shape[1])
        return np.array([own.step(step) for step in problems[i]]).tobytes()

    assert all_at_once(stream) == want


def test_weights_change_while_others_call():
    """Every call sees one set of weights or the other, never a mixture."""
    layer = pylstm.LSTM(8, 16, seed=0)
    sets = [layer.state_dict(), pylstm.LSTM(8, 16, seed=1).state_dict()]
    x = np.random.default_rng(0).standard_normal((5, 2, 8)).astype(np.float32)
    allowed = set()
    for weights in sets:
        layer.load_state_dict(weights)
        allowed.add(layer(x)[0].tobytes())
    over = threading.Event()

    def swap():
        for k in range(300):
            layer.load_state_dict(sets[k % 2])
        over.set()

    def call():
        seen = set()
        while not over.is_set():
            seen.add(layer(x)[0].tobytes())
        return seen

    results = all_at_once(lambda i: swap() if i == 0 else call(), 5)
    assert set().union(*results[1:]) <= allowed


def test_a_stream_is_for_one_thread_at_a_time():
    """A second thread gets an error or waits its turn; the state is that of whole steps."""
    layer = pylstm.LSTM(64, 512, seed=0)
    stream, x = layer.stream(64), np.ones((64, 64), np.float32)
    done = []

    def step(_):
        refused = []
        for _ in range(20):
            try:
                stream.step(x)
                done.append(1)
            except RuntimeError as error:  # noqa: PERF203
                refused.append(str(error))
        return refused

    assert all("in the middle of a step" in text for texts in all_at_once(step, 4) for text in texts)
    twin = layer.stream(64)
    for _ in done:
        twin.step(x)
    assert stream.state[0].tobytes() == twin.state[0].tobytes()


@pytest.mark.parametrize("module", [pylstm, pylstm.reference], ids=["fast", "reference"])
def test_nothing_of_a_stream_is_for_two_threads(module):
    """While a chunk runs in one thread, another can neither step, nor read the state, nor set it."""
    layer = module.LSTM(8, 256, seed=0)
    stream = layer.stream(4)
    x = np.random.default_rng(0).standard_normal((100, 4, 8)).astype(np.float32)
    runs = threading.Event()
    real = layer._infer

    def infer(*arguments):  # the call has the stream's state by now
        runs.set()
        time.sleep(0.05)
        return real(*arguments)

    layer._infer = infer
    thread = threading.Thread(target=stream, args=(x,))
    thread.start()
    runs.wait()
    state = stream.__class__.state
    for attempt in (
        lambda: stream.step(x[0]), lambda: stream(x[:2]), stream.reset, lambda: stream.state, stream.is_finite,
        lambda: state.fset(stream, (np.zeros((1, 4, 256)),) * 2), lambda: copy.copy(stream),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="in the middle of a step in another thread"):
            attempt()
    thread.join()
    del layer._infer
    assert np.array_equal(stream.state[0], layer(x)[1][0])


ORDERS = [("pylstm", "{}"), ("{}", "pylstm")]
NEIGHBOUR = """
import importlib, numpy as np
for name in {names!r}:
    importlib.import_module(name)
import pylstm
import pylstm.reference
{work}
layer = pylstm.LSTM(16, 64, seed=0)
x = np.random.default_rng(0).standard_normal((20, 32, 16)).astype(np.float32)
first = layer(x, num_threads=2)[0]
for _ in range(20):
    theirs()
    output, _, backward = layer.forward(x, num_threads=2)
    backward(output)
    assert output.tobytes() == first.tobytes()
print("fine")
"""
NEIGHBOURS = {
    "numpy": "a = np.random.rand(300, 300)\ntheirs = lambda: a @ a",
    "torch": "import torch\na = torch.rand(300, 300)\ntheirs = lambda: (a @ a).sum().item()",
    "sklearn.cluster": "from sklearn.cluster import KMeans\na = np.random.rand(500, 4)\n"
    "theirs = lambda: KMeans(3, n_init=1).fit(a)",
}


@pytest.mark.parametrize("name", NEIGHBOURS)
@pytest.mark.parametrize("order", ORDERS, ids=["before", "after"])
def test_beside_another_librarys_threads(name, order):
    pytest.importorskip(name)
    script = NEIGHBOUR.format(names=[part.format(name) for part in order], work=NEIGHBOURS[name])
    command = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-B", "-c", script]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=os.path.dirname(sys.executable)
    )
    assert done.stdout.strip().endswith("fine"), done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux' affinity")
def test_affinity_sets_the_number_of_threads():
    """A process that may use one core starts with one thread."""
    script = """
import copy
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import pylstm
import pylstm.reference
print(pylstm.get_num_threads())
"""
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "PYLSTM_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True,
                          cwd=os.path.dirname(sys.executable))  # fmt: skip
    assert done.stdout.split() == ["1"]
