"""Streaming: one step at a time, the state kept between calls."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _arrays
from .._arrays import Array
from .table_rows import TableRows

if TYPE_CHECKING:
    from .recurrent import Recurrent


class Stepper(Protocol):
    """What a backend gives a stream: arrays of state, (num_layers, N, size) each, that `step` moves on in place."""

    @property
    def states(self) -> tuple[Array, ...]: ...

    def hold(self, anew: bool) -> AbstractContextManager[tuple[Array, ...]]:
        """The states are the caller's within `with`. Raises RuntimeError where another thread has them, and where they
        are half of a step's (the process was forked in the middle of it), unless they are about to be set `anew`."""

    def put(self, values: tuple[Array, ...]) -> None:
        """Within `hold`: set all states at once. C-contiguous arrays of their shapes and dtype."""

    def step(self, x: object, out: object) -> bool:
        """(N, I) -> (N, S), or (I,) -> (S,) if N is 1. False, nothing done: x or out is not as the backend needs it.
        Takes the states while it runs."""


class Stream:
    """The state of `batch_size` sequences that arrive step by step; any number of streams share one layer's weights.

    Made by `layer.stream(batch_size)`; starts at zero. Steps, chunks and one whole call give the same bits. After
    `layer.load_state_dict` the next step uses the new weights and the old state. Streams can be copied (`copy.copy`)
    and pickled with their state.

    A stream is for one thread at a time: whatever a second one asks of it meanwhile raises RuntimeError. So does a
    step in a forked child whose parent was in the middle of one: the child has half of it, until it calls `reset` or
    sets `state`. Different streams of one layer may run at once.

    NaN or infinity in x stays in the state of its sequence and in all its later outputs: `is_finite` tells of it, and
    setting `state` mends it.

    Attributes:
        batch_size: N, the number of sequences.
    """

    _has_state: ClassVar[bool] = True

    def __init__(self, layer: Recurrent[Any], batch_size: int, num_threads: int | None) -> None:
        self._layer, self.batch_size, self._num_threads = layer, batch_size, num_threads
        self._dtype = layer.dtype
        self._renew(None)

    def _renew(self, states: tuple[Array, ...] | None) -> None:
        params = self._layer.params
        stepper = self._layer._stepper(self.batch_size, self._num_threads)
        if states is not None:
            with stepper.hold(anew=True):
                stepper.put(states)
        self._stepper = stepper
        self._params = params  # last: where anything failed, the next step tries again

    def step(self, x: ArrayLike, *, out: Array | None = None) -> Array:
        """One step of every sequence.

        Args:
            x: (N, I), or (I,) for one sequence. Converted as in a call.
            out: an array for the output: contiguous, of exactly its shape and the layer's dtype, apart from x. With an
                x of the layer's dtype in C order, a step allocates nothing then.

        Returns:
            The last layer's output, (N, S) or (S,); `out` if that was given.

        Raises TypeError or ValueError, naming the argument, and RuntimeError as the class says.
        """
        if self._params is not self._layer._params:
            self._take_new_params()
        if out is not None and self._stepper.step(x, out):
            return out
        return self._step(x, out)

    def _take_new_params(self) -> None:
        with self._stepper.hold(anew=False) as states:
            self._renew(states)

    def _step_symbols(self, table: Any, x: Any) -> Array | None:
        """A step for rows of a multiplied table, by number; None, and nothing done, for what the backend cannot take.
        Of a compiled layer alone."""
        if self._params is not self._layer._params:
            self._take_new_params()
        stepper: Any = self._stepper
        y: Array | None = stepper.step_symbols(table, int(x) if type(x) is np.int64 else x)
        return y

    def _step(self, x: ArrayLike, out: Array | None) -> Array:
        layer, batch = self._layer, self.batch_size
        given = _arrays.real_array("x", x, self._dtype)
        width = layer.output_size
        if given.shape == (batch, layer.input_size):
            shape: tuple[int, ...] = (batch, width)
        elif given.shape == (layer.input_size,) and batch == 1:
            shape = (width,)
        else:
            one = f" or ({layer.input_size},)" if batch == 1 else ""
            raise ValueError(f"x must have shape ({batch}, {layer.input_size}){one}, got {given.shape}")
        if out is not None:
            _arrays.check_out(out, shape, self._dtype, (given,))
        plain = type(out) is np.ndarray and out.dtype is self._dtype and out.flags.c_contiguous
        result = out if out is not None and plain else np.empty(shape, self._dtype)
        if not self._stepper.step(np.ascontiguousarray(given), result):
            raise RuntimeError("the backend refused a checked step")
        if out is not None and result is not out:
            out[...] = result
            return out
        return result

    def __call__(self, x: ArrayLike | TableRows) -> Array:
        """A chunk of steps.

        Args:
            x: (T, N, I), with batch_first (N, T, I), or (T, I) for one sequence. Converted as in a call of the layer.

        Returns:
            The output, (T, N, S) in the layout of x.

        Raises TypeError or ValueError, naming the argument, and RuntimeError as the class says.
        """
        layer = self._layer
        array = x if isinstance(x, TableRows) else _arrays.real_array("x", x, self._dtype)
        batch = array.shape[0 if layer.batch_first else 1] if array.ndim == 3 else 1
        if batch != self.batch_size or (array.ndim == 2 and self.batch_size != 1):
            raise ValueError(f"x must hold batch_size={self.batch_size} sequences, got shape {array.shape}")
        stepper = self._stepper
        with stepper.hold(anew=False) as states:
            given = tuple(s[:, 0] for s in states) if array.ndim == 2 else states
            output, new = layer(array, given if len(given) > 1 else given[0], num_threads=self._num_threads)
            after = new if isinstance(new, tuple) else (new,)
            stepper.put(tuple(s[:, None] for s in after) if array.ndim == 2 else after)
        return output

    @property
    def state(self) -> Any:
        """A copy of the state, (num_layers, N, S), or for an LSTM the tuple (h, c) of two such arrays.

        Assign to it to set the state.
        """
        states = self._copies()
        return states if len(states) > 1 else states[0]

    @state.setter
    def state(self, value: Any) -> None:
        if value is None:
            raise TypeError("state must not be None; reset() returns to zero")
        taken = self._layer._take_states("state", value, self.batch_size, True)
        self._set_states(tuple(s for s in taken if s is not None))

    def _set_states(self, states: tuple[Array, ...]) -> None:
        stepper = self._stepper
        with stepper.hold(anew=True):
            stepper.put(states)

    def _copies(self) -> tuple[Array, ...]:
        with self._stepper.hold(anew=False) as states:
            return tuple(s.copy() for s in states)

    def reset(self) -> None:
        """Return to the state of zeros."""
        stepper = self._stepper
        with stepper.hold(anew=True) as states:
            stepper.put(tuple(np.zeros(s.shape, s.dtype) for s in states))

    def is_finite(self) -> NDArray[np.bool_]:
        """Whether the state of each sequence holds neither NaN nor infinity: bool, (N,)."""
        with self._stepper.hold(anew=False) as states:
            finite: NDArray[np.bool_] = np.all([np.isfinite(s).all(axis=(0, 2)) for s in states], axis=0)
            return finite

    def __reduce__(self) -> tuple[Any, ...]:
        return Stream, (self._layer, self.batch_size, self._num_threads), self._copies()

    def __setstate__(self, states: tuple[Array, ...]) -> None:
        self._set_states(states)


class Exclusive:
    """A stream's state, for one thread at a time.

    Attributes:
        torn: whether it is half of a step's.
    """

    def __init__(self) -> None:
        self._lock, self._process, self.torn = threading.Lock(), 0, False

    @contextmanager
    def held(self, anew: bool = False) -> Iterator[None]:
        """The state is the caller's within `with`. Raises RuntimeError where another thread has it, and where it is
        half of a step's, unless it is about to be set `anew`."""
        self.take(anew)
        try:
            yield
            self.torn = self.torn and not anew
        finally:
            self.give()

    def take(self, anew: bool = False) -> None:
        """From here on it is the caller's, until `give`. Raises as `held` does."""
        if not self._lock.acquire(blocking=False):
            if self._process == os.getpid():
                raise RuntimeError(
                    "this stream is in the middle of a step in another thread, or in what a signal handler interrupted"
                )
            self._lock, self.torn = threading.Lock(), True  # of a thread that only the parent has
            self._lock.acquire()
        self._process = os.getpid()
        if self.torn and not anew:
            self._lock.release()
            raise RuntimeError(
                "this stream has half a step, which failed or was in another thread when the process forked: "
                "reset() it or set its state"
            )

    def give(self) -> None:
        self._lock.release()


class CallStepper:
    """A stepper for any backend: a call with one time step."""

    def __init__(self, layer: Recurrent[Any], batch_size: int) -> None:
        self._layer = layer
        count = layer.num_layers
        self.states = tuple(np.zeros((count, batch_size, size), layer.dtype) for size in layer._state_sizes)
        self._exclusive = Exclusive()

    @contextmanager
    def hold(self, anew: bool) -> Iterator[tuple[Array, ...]]:
        with self._exclusive.held(anew):
            yield self.states

    def put(self, values: tuple[Array, ...]) -> None:
        for mine, new in zip(self.states, values, strict=True):
            mine[...] = new

    def step(self, x: object, out: object) -> bool:
        layer, batch = self._layer, self.states[0].shape[1]
        for array, width in ((x, layer.input_size), (out, layer.output_size)):
            if type(array) is not np.ndarray or array.dtype != layer.dtype:
                return False
            if not (array.flags.c_contiguous and array.flags.aligned and (array.flags.writeable or array is x)):
                return False
            if array.shape != (batch, width) and (batch > 1 or array.shape != (width,)):
                return False
        assert isinstance(x, np.ndarray)
        assert isinstance(out, np.ndarray)
        if x.ndim != out.ndim or np.may_share_memory(x, out):
            return False
        x3 = x.reshape(1, -1, x.shape[-1])
        view = out.reshape(1, -1, out.shape[-1])
        with self.hold(anew=False) as states:
            self.put(self._layer._infer(x3, states, None, view, None))
        return True
