"""The count of dropout's calls: every thread gets a number of its own, and nobody waits for anybody."""

from __future__ import annotations

import copy
import pickle
import signal
import sys
import threading
import time

import numpy as np
import pytest

import pylstm
from pylstm._calls import Calls

X = np.random.default_rng(0).standard_normal((5, 3, 4)).astype(np.float32)


def test_numbers_follow_each_other_and_begin_anew():
    calls = Calls()
    assert [calls.present, calls.next(), calls.present, calls.next(), calls.present] == [0, 0, 1, 1, 2]
    late = Calls(2**32 - 2)
    assert [late.next() for _ in range(4)] == [2**32 - 2, 2**32 - 1, 0, 1]
    assert late.present == 2
    assert Calls(2**64 - 1, bits=64).next() == 2**64 - 1
    assert "2" in repr(late)
    for twin in (copy.copy(late), copy.deepcopy(late), pickle.loads(pickle.dumps(late))):
        assert twin.present == 2
        assert [twin.next(), late.present] == [2, 2]


def test_threads_get_numbers_of_their_own():
    calls = Calls()
    taken: list[list[int]] = [[] for _ in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:

        def take(mine):
            for _ in range(5000):
                mine.append(calls.next())

        threads = [threading.Thread(target=take, args=(mine,)) for mine in taken]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert sorted(n for mine in taken for n in mine) == list(range(40_000))
    assert calls.present == 40_000


def test_an_interruption_between_any_two_instructions():
    """A thread or a signal handler that comes in the middle gets a number of its own, too."""
    calls = Calls()
    seen = []

    def trace(frame, event, _):
        frame.f_trace_opcodes = True
        if event == "opcode":
            seen.append(calls.next())
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        mine = [calls.next() for _ in range(5)]
    finally:
        sys.settrace(before)
    assert len(seen) > 20
    assert sorted(seen + mine) == list(range(len(seen) + 5))


LAYERS = {
    "recurrent": lambda: pylstm.GRU(4, 6, num_layers=2, dropout=0.5, seed=0),
    "reference": lambda: pylstm.reference.GRU(4, 6, num_layers=2, dropout=0.5, seed=0),
    "Dropout": lambda: pylstm.Dropout(0.5, seed=0),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_no_layer_has_a_lock(make):
    """A signal handler that calls the layer, and a forked child, would wait for the lock of a thread that waits."""
    layer = make()
    layer.forward(X)
    assert not [name for name, value in vars(layer).items() if hasattr(value, "acquire")]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer's signal")
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_a_signal_handler_may_call_the_layer_it_interrupts(make):
    layer = make()
    heard, over = 0, False

    def handler(*_):
        nonlocal heard
        heard += 1
        layer.forward(X)
        if not over:  # one that was waiting when the timer was stopped would start it for whoever comes next
            signal.setitimer(signal.ITIMER_REAL, 1e-3)

    before = signal.signal(signal.SIGALRM, handler)
    made = 0
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-3)
        end = time.monotonic() + 10
        while heard < 50 and time.monotonic() < end:
            layer.forward(X)
            made += 1
    finally:
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert heard >= 50
    count = layer._calls if isinstance(layer, pylstm.Dropout) else layer._dropout_calls
    assert count == heard + made


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_the_count_survives_pickling_and_can_be_set(make):
    layer = make()
    for _ in range(3):
        layer.forward(X)
    for twin in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer), copy.copy(layer)):
        assert not np.array_equal(twin.forward(X)[0], make().forward(X)[0])
    twin = pickle.loads(pickle.dumps(layer))
    assert twin.forward(X)[0].tobytes() == layer.forward(X)[0].tobytes()
    if isinstance(layer, pylstm.Dropout):
        state = layer._dropout_state()
        assert state[1] == 4
        first = layer.forward(X)[0].tobytes()
        layer._set_dropout_state(state)
        assert layer.forward(X)[0].tobytes() == first


def test_older_pickles_still_load():
    """What the versions with a lock wrote: plain numbers."""
    layer = pylstm.Dropout(0.5, seed=0)
    layer.forward(X)
    state = layer.__getstate__()
    assert type(state["attributes"]["_calls"]) is int
    old = pylstm.Dropout.__new__(pylstm.Dropout)
    attributes = {"dtype": np.dtype("f4"), "_param_shapes": {}, "p": 0.5, "same_for_all_steps": False}
    old.__setstate__({"attributes": {**attributes, "_seed": layer._seed, "_calls": 1}, "params": {}})
    assert old.forward(X)[0].tobytes() == layer.forward(X)[0].tobytes()
    recurrent = LAYERS["recurrent"]()
    recurrent.forward(X)
    twin = type(recurrent).__new__(type(recurrent))
    twin.__setstate__({
        "config": recurrent._config(), "params": dict(recurrent.params), "dropout": (recurrent._dropout_seed, 1)
    })  # fmt: skip
    assert twin.forward(X)[0].tobytes() == recurrent.forward(X)[0].tobytes()
