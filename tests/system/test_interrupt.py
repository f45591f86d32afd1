"""Ctrl-C in the middle of a native call: it ends soon, nothing is changed, and the next call works."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest

import pylstm
from pylstm import _core

SPLITS = [None, (1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2), (2, 2, 1)]
DELAY = 0.3  # seconds until the signal comes
BOUND = 1.0  # seconds it may take: 0.05 to 0.1 are seen; a busy machine gets some more


@pytest.fixture(autouse=True)
def heard_and_planned_anew(sigint_heard):  # noqa: ARG001
    yield
    _core.force_plan()


def seconds_to_stop(call, signals=1):
    """How long `call` goes on after the signal, or the last of several."""
    sent: list[float] = []

    def send():
        for _ in range(signals):
            time.sleep(0.1)  # a native call hears of one before the next is sent
            sent[:] = [time.perf_counter()]
            signal.raise_signal(signal.SIGINT)

    timer = threading.Timer(DELAY, send)
    timer.start()
    over = False
    try:
        call()
        over = True
        time.sleep(2 * DELAY)  # the signal comes here
    except KeyboardInterrupt:
        assert not over, "the call was over before the signal came"
        return time.perf_counter() - sent[0]
    finally:
        timer.cancel()
        timer.join()


def steps_of(layer, batch, seconds):
    """Sequence length for a call of about `seconds` on one thread: on a busy machine, two wait for each other."""
    x = np.zeros((50, batch, layer.input_size), layer.dtype)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        layer(x, num_threads=1)
        times.append(time.perf_counter() - start)
    return max(100, int(50 * seconds / min(times)))


@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_forward(split, training):
    layer = pylstm.LSTM(64, 256, 2, bidirectional=True, dropout=0.3 * training, seed=0)
    rng = np.random.default_rng(0)
    before = layer.state_dict()
    small = rng.standard_normal((20, 4, 64)).astype(np.float32)
    expected = layer(small)[0]
    x = np.zeros((steps_of(layer, 4, 1.5), 4, 64), np.float32)
    _core.force_plan(split)
    call = layer.forward if training else layer
    assert seconds_to_stop(lambda: call(x, num_threads=4)) < BOUND
    _core.force_plan()
    assert all(np.array_equal(value, before[name]) for name, value in layer.state_dict().items())
    assert np.array_equal(layer(small)[0], expected)


@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_backward(split):
    layer = pylstm.GRU(32, 256, 2, bidirectional=True, dropout=0.3, seed=0)
    x = np.zeros((steps_of(layer, 4, 0.5), 4, 32), np.float32)
    output, _, backward = layer.forward(x)
    _core.force_plan(split)
    assert seconds_to_stop(lambda: [backward(output) for _ in range(9)]) < BOUND
    _core.force_plan()
    small = np.random.default_rng(0).standard_normal((9, 2, 32)).astype(np.float32)
    out, _, again = layer.forward(small)
    assert np.isfinite(again(out).x).all()


def test_handlers_run_while_the_gradients_of_a_table_are_made():
    """Behind the last step: products over all rows that were named."""
    layer = pylstm.LSTM(2048, 128, dtype=np.float64, seed=0)
    table = np.broadcast_to(np.ones(2048), (4000, 2048))
    _core.force_plan(None, once=1)
    output, _, backward = layer.forward(pylstm.TableRows(table, np.arange(4000).reshape(40, 100)), num_threads=1)
    over, heard = threading.Event(), [time.perf_counter()]

    def send():
        while not over.wait(0.02):
            signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, lambda *_: heard.append(time.perf_counter()))
    sender = threading.Thread(target=send)
    sender.start()
    try:
        for _ in range(2):
            heard[:] = [time.perf_counter()]
            backward(output)
    finally:
        over.set()
        sender.join()
    heard.append(time.perf_counter())
    assert max(np.diff(heard)) < 0.5 * (heard[-1] - heard[0])


def test_a_chunk_of_a_stream_leaves_its_state():
    layer = pylstm.LSTM(32, 64, seed=0)
    stream = layer.stream(8)
    stream(np.random.default_rng(0).standard_normal((5, 8, 32)).astype(np.float32))
    before = stream.state
    x = np.zeros((steps_of(layer, 8, 3), 8, 32), np.float32)
    assert seconds_to_stop(lambda: stream(x)) < BOUND
    assert all(np.array_equal(a, b) for a, b in zip(stream.state, before, strict=True))


def test_a_handler_that_does_not_raise_changes_nothing():
    layer = pylstm.LSTM(32, 64, seed=0)
    x = np.random.default_rng(0).standard_normal((steps_of(layer, 8, 1), 8, 32)).astype(np.float32)
    expected = layer(x)[0]
    small = x[:10].copy()
    heard = []
    signal.signal(signal.SIGINT, lambda *_: heard.append(layer(small)[0]))  # it may even call the layer
    timer = threading.Timer(DELAY, signal.raise_signal, [signal.SIGINT])
    timer.start()
    found = layer(x)[0]
    timer.join()
    time.sleep(0.01)
    assert np.array_equal(found, expected)
    assert len(heard) == 1
    assert np.array_equal(heard[0], expected[:10])


def test_a_second_signal_ends_training_in_the_middle_of_a_batch():
    """The first one asks `fit` to return behind the batch."""
    lstm = pylstm.LSTM(16, 256, batch_first=True, seed=1)
    model = pylstm.Sequential(
        [pylstm.Embedding(10, 16, seed=0), lstm, pylstm.LastStep(), pylstm.Linear(256, 2, seed=2)]
    )
    steps = steps_of(pylstm.LSTM(16, 256), 4, 1.5)
    x, y = np.zeros((4, steps), np.int64), np.zeros(4, np.int64)
    before = model.state_dict()
    options = {"loss": "cross_entropy", "optimizer": pylstm.Adam(), "epochs": 100, "verbose": 0}
    assert seconds_to_stop(lambda: model.fit(x, y, **options), signals=2) < BOUND
    assert all(np.array_equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.predict(np.zeros((2, 3), np.int64)).shape == (2, 2)


def in_the_middle(layer, x, handler, training=False, split=(2, 1, 1)):
    """The output of a call in the middle of which a signal comes, once."""
    signal.signal(signal.SIGINT, handler)
    timer = threading.Timer(DELAY, signal.raise_signal, [signal.SIGINT])
    _core.force_plan(split)
    timer.start()
    try:
        return (layer.forward if training else layer)(x, num_threads=2)[0]
    finally:
        timer.cancel()  # also in a child, which does not have it
        _core.force_plan()


@pytest.mark.parametrize("split", [(1, 1, 1), (2, 1, 1), (1, 2, 1)], ids=str)
def test_a_handler_runs_in_the_callers_floating_point_mode(split):
    layer = pylstm.LSTM(32, 384, seed=0)
    x = np.zeros((steps_of(layer, 4, 1.3), 4, 32), np.float32)
    heard = []
    in_the_middle(
        layer, x, lambda *_: heard.append((repr(5e-324), float(np.float32(1e-40) * np.float32(1)))), split=split
    )
    assert heard == [("5e-324", float(np.float32(1e-40)))]


def test_a_handler_that_calls_forward_with_dropout():
    layer = pylstm.GRU(32, 384, 2, dropout=0.5, seed=0)
    x = np.ones((steps_of(layer, 4, 1.3), 4, 32), np.float32)
    heard = []
    found = in_the_middle(layer, x, lambda *_: heard.append(layer.forward(x[:9], num_threads=2)[0]), training=True)
    twin = pylstm.GRU(32, 384, 2, dropout=0.5, seed=0)
    assert np.array_equal(found, twin.forward(x)[0])
    assert len(heard) == 1
    assert np.array_equal(heard[0], twin.forward(x[:9])[0])  # the second mask


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("split", [(1, 1, 1), (2, 1, 1), (1, 2, 1)], ids=str)
def test_a_handler_that_forks(split):
    """The call goes on in the parent. A child without the call's threads ends it, and computes from then on."""
    layer = pylstm.LSTM(32, 384, seed=0)
    x = np.random.default_rng(0).standard_normal((steps_of(layer, 4, 1.3), 4, 32)).astype(np.float32)
    want = layer(x)[0]
    parent, children = os.getpid(), []

    def handler(*_):
        children.append(os.fork())
        if not children[-1]:
            signal.alarm(30)

    try:
        found = in_the_middle(layer, x, handler, split=split)
    except RuntimeError as error:
        said = str(error)
    else:
        said = ""
    if os.getpid() != parent:
        alone = split == (1, 1, 1) or not _core.has_openmp
        right = np.array_equal(found, want) if alone else "forked by a signal handler in the middle" in said
        again = layer(x[:9], num_threads=2)[0]
        os._exit(0 if right and np.array_equal(again, want[:9]) else 1)
    assert not said
    assert np.array_equal(found, want)
    assert [os.waitpid(child, 0)[1] for child in children] == [0]
