"""Ctrl-C anywhere in what a stream does in Python: its state is that of before or after, and nobody keeps it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import pylstm

X = np.random.default_rng(0).standard_normal((6, 2, 3)).astype(np.float32)
SET = tuple(np.full((1, 2, 4), value, np.float32) for value in (0.1, 0.2))
OTHER = pylstm.LSTM(3, 4, seed=1).state_dict()


class Interrupt:
    """Raises KeyboardInterrupt at the n-th place where Python looks for signals: where a function of the library, or
    of what it uses for `with`, begins, and where a call of another one ends."""

    def __init__(self, n):
        self.left, self.fired = n, False

    def __call__(self, frame, event, argument):  # noqa: ARG002
        name = frame.f_code.co_filename
        if self.fired or event not in ("call", "c_return") or ("pylstm" not in name and "contextlib" not in name):
            return
        self.left -= 1
        if self.left < 0:
            self.fired = True
            raise KeyboardInterrupt


def interrupted_everywhere(make, act):
    """Of each run of `act(make())` that was interrupted, one place later each time: what `make` made."""
    for n in range(10_000):
        made, interrupt = make(), Interrupt(n)
        before = sys.getprofile()
        sys.setprofile(interrupt)
        try:
            act(made)
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(before)
        if not interrupt.fired:
            assert n > 3
            return
        yield made


def bits(stream):
    return b"".join(state.tobytes() for state in stream.state)


def begun():
    stream = pylstm.LSTM(3, 4, seed=0).stream(2)
    stream(X[:2])
    return stream


ACTS = {
    "chunk": lambda stream: stream(X[2:]),
    "step": lambda stream: stream.step(X[2].astype(np.float64)),
    "reset": lambda stream: stream.reset(),
    "set": lambda stream: setattr(stream, "state", SET),
    "get": lambda stream: stream.state,
    "is_finite": lambda stream: stream.is_finite(),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_the_state_is_that_of_before_or_after(act):
    whole = begun()
    act(whole)
    allowed = {bits(begun()), bits(whole)}
    for stream in interrupted_everywhere(begun, act):
        assert bits(stream) in allowed


def renewed():
    stream = begun()
    stream._layer.load_state_dict(OTHER)
    return stream


def test_new_weights_are_taken_by_the_next_step():
    stream = renewed()
    before, expected = bits(stream), stream.step(X[2])
    for stream in interrupted_everywhere(renewed, lambda stream: stream.step(X[2])):
        if bits(stream) == before:
            assert np.array_equal(stream.step(X[2]), expected)


def test_new_weights_for_which_there_was_no_memory_are_taken_by_the_next_step(monkeypatch):
    stream = renewed()
    expected = renewed().step(X[2])

    def fail(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(pylstm.LSTM, "_stepper", fail)
        with pytest.raises(MemoryError):
            stream.step(X[2])
    assert np.array_equal(stream.step(X[2]), expected)


@pytest.mark.parametrize("module", [pylstm, pylstm.reference], ids=["fast", "reference"])
def test_a_handler_that_steps_the_stream_it_interrupted_is_told_so(module):
    stream = module.LSTM(3, 4, seed=0).stream(2)
    with (
        stream._stepper.hold(anew=False),
        pytest.raises(RuntimeError, match="in another thread, or in what a signal handler"),
    ):
        stream.step(X[0])
    stream.step(X[0])
