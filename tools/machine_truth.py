"""What tools/machine_layers.py compares with, and how: calls, backward passes and streams that know their results."""

from __future__ import annotations

import contextlib
import copy
import os
import signal
import sys
import threading
import warnings
from typing import Any, NamedTuple

import numpy as np

import pylstm
import pylstm.reference

PATIENCE = 60  # seconds for one rule


def flat(value: Any) -> tuple:
    return value if isinstance(value, tuple) else (value,)


class Weights(NamedTuple):
    """All that a call of a layer hangs on."""

    cls: str
    config: dict
    params: dict
    dropout: tuple[int, int]

    @classmethod
    def of(cls, layer: Any) -> Weights:
        return cls(
            type(layer).__name__, layer._config(), layer.state_dict(), (layer._dropout_seed, layer._dropout_calls)
        )

    def layer(self, module: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # dropout without a second layer
            layer = getattr(module, self.cls)(**self.config, seed=0)
        layer.load_state_dict(self.params)
        layer._dropout_seed, layer._dropout_calls = self.dropout
        return layer


class Case(NamedTuple):
    """Arguments of a call; arrays of the model's own, which nobody edits."""

    x: np.ndarray
    state: Any
    lengths: np.ndarray | None
    d_output: np.ndarray | None
    d_state: Any

    @classmethod
    def draw(cls, layer: Any, steps: int, batch: int, seed: int) -> Case:
        rng = np.random.default_rng(seed)
        count = layer.num_layers * layer.num_directions
        one = batch == 1 and rng.random() < 0.3
        front = (steps,) if one else (batch, steps) if layer.batch_first else (steps, batch)
        sizes = layer._state_sizes

        def normal(*shape: int) -> np.ndarray:
            return rng.standard_normal(shape).astype(layer.dtype)

        def state() -> Any:
            if rng.random() < 0.5:
                return None
            parts = tuple(normal(*((count, size) if one else (count, batch, size))) for size in sizes)
            return parts if len(parts) > 1 else parts[0]

        lengths = None if one or rng.random() < 0.5 else rng.integers(0, steps + 1, batch)
        d_output = None if rng.random() < 0.2 else normal(*front, layer.num_directions * layer.output_size)
        return cls(normal(*front, layer.input_size), state(), lengths, d_output, state())

    def twin(self) -> Case:
        """The same numbers in arrays that may be edited."""
        return copy.deepcopy(self)


def call(layer: Any, case: Case, **options: Any) -> list[np.ndarray]:
    output, state = layer(case.x, case.state, lengths=case.lengths, **options)
    return [output, *flat(state)]


def gradients(backward: Any, case: Case) -> list[np.ndarray]:
    grads = backward(case.d_output, case.d_state)
    return [*([] if grads.x is None else [grads.x]), *flat(grads.state), *grads.params.values()]


def same_bits(got: list, want: list, what: str) -> None:
    assert len(got) == len(want), what
    for k, (a, b) in enumerate(zip(got, want, strict=True)):
        assert a.dtype == b.dtype, (what, k)
        assert a.shape == b.shape, (what, k)
        assert np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes(), (
            f"{what}: other bits in array {k}"
        )


def close(got: list, want: list, what: str) -> None:
    largest = max([1.0, *(np.abs(b).max(initial=0) for b in want)])
    for k, (a, b) in enumerate(zip(got, want, strict=True)):
        bound = (1e-3 if b.dtype == np.float32 else 1e-10) * largest
        assert np.abs(a - b).max(initial=0) <= bound, f"{what}: array {k} is not what the reference gives"


def check_call(weights: Weights, case: Case, got: list) -> None:
    same_bits(got, call(weights.layer(pylstm), case.twin()), "a call")
    close(got, call(weights.layer(pylstm.reference), case.twin()), "a call")


def edit(array: np.ndarray, seed: int) -> None:
    """Set shape, dtype, strides and flags of an array in place, whatever NumPy lets through."""
    rng = np.random.default_rng(seed)
    while isinstance(array, np.ndarray):
        for _ in range(3):
            name, value = [
                ("shape", (array.size,)), ("shape", (1, array.size)), ("shape", (array.size, 1, 1)),
                ("shape", array.shape[::-1]), ("dtype", np.int32), ("dtype", np.float64), ("dtype", np.int8),
                ("strides", (0,) * array.ndim),
            ][int(rng.integers(8))]  # fmt: skip
            with contextlib.suppress(ValueError, TypeError, AttributeError):
                setattr(array, name, value)
        array = array.base


def unlock(array: np.ndarray) -> None:
    while isinstance(array, np.ndarray):
        with contextlib.suppress(ValueError):
            array.flags.writeable = True
        assert not array.flags.writeable, "an array that is read again was made writeable"
        array = array.base


class Held:
    """A forward pass that is still held: what was given and returned, and what its gradients are."""

    def __init__(self, layer: Any, case: Case, need_dx: bool, threads: int | None) -> None:
        weights, self.case = Weights.of(layer), case
        self.given = case.twin()
        given = self.given
        output, state, self.backward = layer.forward(
            given.x, given.state, lengths=given.lengths, need_dx=need_dx, num_threads=threads
        )
        self.output, self.state = output, flat(state)
        wants = []
        for module in (pylstm, pylstm.reference):
            own = case.twin()
            y, end, back = weights.layer(module).forward(own.x, own.state, lengths=own.lengths, need_dx=need_dx)
            wants.append(([y, *flat(end)], gradients(back, case)))
        got = [output, *self.state]
        same_bits(got, wants[0][0], "forward")
        close(got, wants[1][0], "forward")
        self.want, near = wants[0][1], wants[1][1]
        close(self.want, near, "backward")

    def check(self) -> None:
        got = gradients(self.backward, self.case)
        same_bits(got, self.want, "backward")
        for array in got:
            array[...] = 7  # the caller's own

    def arrays(self) -> list[np.ndarray]:
        lengths = [] if self.given.lengths is None else [self.given.lengths]
        states = [] if self.given.state is None else list(flat(self.given.state))
        return [self.given.x, self.output, *self.state, *lengths, *states]


class Streamed:
    """A stream, and the state that it must have."""

    def __init__(self, layer: Any, stream: Any, state: list[np.ndarray]) -> None:
        self.layer, self.stream, self.state = layer, stream, state

    def advance(self, steps: int, seed: int, how: str) -> None:
        layer, batch = self.layer, self.state[0].shape[1]
        x = np.random.default_rng(seed).standard_normal((steps, batch, layer.input_size)).astype(layer.dtype)
        x = x.swapaxes(0, 1).copy() if layer.batch_first else x
        state = tuple(self.state) if len(self.state) > 1 else self.state[0]
        want, end = Weights.of(layer).layer(pylstm)(x, state)
        if how == "chunk":
            got = self.stream(x)
        else:
            major = x.swapaxes(0, 1) if layer.batch_first else x
            out = np.empty((batch, layer.output_size), layer.dtype) if how == "out" else None
            outputs = [self.stream.step(np.ascontiguousarray(step), out=out).copy() for step in major]
            got = np.stack(outputs) if outputs else np.empty((0, batch, layer.output_size), layer.dtype)
            got = got.swapaxes(0, 1) if layer.batch_first else got
        self.state = [s.copy() for s in flat(end)]
        same_bits([got, *flat(self.stream.state)], [want, *self.state], f"a stream, {how}")


def in_threads(tasks: list) -> None:
    errors: list[BaseException] = []

    def run(task: Any) -> None:
        try:
            for _ in range(2):
                task()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def forked(tasks: list) -> None:
    """A child does the tasks, and says by its exit code whether all was right."""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a process with threads
        child = os.fork()
    if child == 0:
        code = 3
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(PATIENCE // 2)
            for task in tasks:
                task()
            code = 0
        except BaseException as error:
            print(f"in a forked child: {error!r}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert status == 0, f"a forked child ended with status {status}"
