"""The front of every recurrent layer: calls, their arguments and layouts. It knows no backend.

`pylstm.LSTM` (compiled) and `pylstm.reference.LSTM` (NumPy) are the same front over two backends. A backend is three
hooks, `_parameters_changed`, `_infer` and `_train`, that see only normalised, time-major arrays.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _arrays, _checks
from .._active import ACTIVE, refuse_in_training
from .._arrays import Array
from .ends_gradient import EndsGradient
from .layer import VJP, Outputs, Params
from .recurrent_parameters import RecurrentParameters
from .row_gradient import RowGradient
from .stream import CallStepper, Stepper, Stream
from .table_rows import TableRows

State = TypeVar("State")  # what users see: one array for GRU and RNN, a tuple (h, c) for LSTM
States = tuple[Array, ...]  # what backends see: always a tuple
RunBackward = Callable[
    [Array | None, tuple[Array | None, ...], dict[str, Array] | None],
    tuple[Array | RowGradient | None, States, dict[str, Array]],
]


class Gradients(NamedTuple):
    """What `backward` returns: arrays of its own, nothing is accumulated anywhere.

    Attributes:
        x: the gradient to `x`, shaped like it, or None after `forward(..., need_dx=False)`. Where x is a `TableRows`,
            that to its table.
        state: the gradient to the initial state, shaped like it: an array, for LSTM a tuple (dh, dc).
        params: name -> array, the keys of `layer.params` in the same order; nothing if the layer is frozen.
    """

    x: Any
    state: Any
    params: dict[str, Array]


Backward = Callable[..., Gradients]  # (d_output=None, d_state=None)


class Recurrent(RecurrentParameters, Generic[State]):
    """What calling LSTM, GRU and RNN has in common."""

    # ---- backend hooks, besides _parameters_changed --------------------------------------------------------------

    @abc.abstractmethod
    def _infer(
        self,
        x: Array | TableRows,
        states: tuple[Array | None, ...],
        lengths: NDArray[np.int64] | None,
        out: Array,
        num_threads: int | None,
    ) -> States:
        """Write the whole of `out` (zeros past a length) and return the new states.

        x: (T, N, I), normalised (see `_arrays`), or rows of a normalised table of the layer's dtype. states: one entry
        per state, C-contiguous (L·D, N, size), or None for zeros. lengths: (N,) C-contiguous, or None. out: (T, N,
        D·S), normalised, overlaps no input. T and N may be 0. Returned states: fresh arrays (L·D, N, size).
        """

    @abc.abstractmethod
    def _train(
        self,
        x: Array | TableRows,
        states: tuple[Array | None, ...],
        lengths: NDArray[np.int64] | None,
        out: Array,
        dropout_key: tuple[int, int] | None,
        need_dx: bool,
        num_threads: int | None,
    ) -> tuple[States, RunBackward]:
        """As `_infer`, with dropout if `dropout_key` = (64-bit seed, 32-bit call number) is given.

        Also returns `run_backward(d_output, d_states, into) -> (dx or None, d_states, name -> gradient)`, which may be
        called any number of times. `into`, if not None, is what an earlier one returned: the gradients of the
        parameters are added to these arrays in place. It gets None for a gradient that is zero, else d_output
        (T, N, D·S) normalised and d_states C-contiguous; it returns dx as (T, N, I), of a `TableRows` also as a
        `RowGradient`. x and out stay unchanged until then, but not the table of a `TableRows`; states are copies.
        """

    def _empty(self, shape: tuple[int, ...]) -> Array:
        """A new array for output; a backend may have memory that is cheaper to get than fresh pages."""
        return np.empty(shape, self.dtype)

    def _stepper(self, batch_size: int, num_threads: int | None) -> Stepper:  # noqa: ARG002
        """What a stream runs on; a backend may have something faster than a call of one step."""
        return CallStepper(self, batch_size)

    # ---- running -------------------------------------------------------------------------------------------------

    returns_state = True
    _asks = True

    def __call__(
        self,
        x: ArrayLike | TableRows,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        out: Array | None = None,
        num_threads: int | None = None,
    ) -> tuple[Array, State]:
        """Inference: run the layer over whole sequences, without dropout, and keep nothing.

        Args:
            x: (T, N, I), with batch_first (N, T, I), or (T, I) for one sequence. Any real dtype, strides, byte order
                and alignment; other dtypes than the layer's are converted. T and N may be 0. A `TableRows` of such a
                shape says which rows are the same.
            state: the initial state (num_layers·num_directions, N, S), without N for one sequence; for LSTM the tuple
                (h, c), c with hidden_size in place of S. None is zero.
            lengths: (N,) integers in 0..T, in any order: the sequences' own lengths. What stands in x beyond is not
                read.
            out: an array for the output: exactly its shape and dtype, last axis contiguous, apart from x and state.
            num_threads: for this call; None is the process' setting.

        Returns:
            The tuple (output, state). The output is (T, N, num_directions·S) in the layout of x and the layer's dtype,
            zero past a length; it is `out` if that was given. The state is like the argument, at each sequence's own
            end (length 0: the initial state).

        Raises:
            TypeError: dtype or kind of an argument, which is named.
            ValueError: shape or value of an argument, which is named.
        """
        if (run := ACTIVE.get()) is not None:
            given = {"lengths": lengths, "out": out, "num_threads": num_threads}
            return run.call(self, (x, state), given)  # type: ignore[no-any-return]
        time_major, batched = self._take_x(x)
        steps, batch, _ = time_major.shape
        states = self._take_states("state", state, batch, batched)
        lens = None if lengths is None else self._take_lengths(lengths, steps, batch, batched)
        if num_threads is not None:
            num_threads = _checks.threads("num_threads", num_threads)
        if out is None:
            view = self._new_output(steps, batch, batched)
            output = self._to_user(view, batched)
        else:
            shape = self._user_shape(steps, batch, self.num_directions * self.output_size, batched)
            read = time_major.table if type(time_major) is TableRows else time_major
            output = _arrays.check_out(out, shape, self.dtype, (read, *states))
            view = self._to_time_major(np.asarray(out), batched)
        return output, self._give_state(self._infer(time_major, states, lens, view, num_threads), batched)

    def forward(
        self,
        x: ArrayLike | TableRows,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        need_dx: bool = True,
        num_threads: int | None = None,
    ) -> tuple[Array, State, Backward]:
        """Training: as a call, with dropout between layers, and `backward` for the gradients.

        Args:
            x: as in a call. `backward` reads it again: if it is an array of the layer's dtype, do not edit its numbers
                before the last `backward`. Of a `TableRows` it reads nothing again.
            state: as in a call.
            lengths: as in a call.
            need_dx: False leaves out the gradient to x.
            num_threads: as in a call, for `backward`, too.

        Returns:
            The tuple (output, state, backward). The first two are as in a call, the output read-only (for good), since
            `backward` reads it again. `backward(d_output=None, d_state=None)` takes the gradients of the loss to output
            and state (shaped like them; None is zero, also for one of an LSTM's two) and returns `Gradients`. It can be
            called again, and after other forward calls, and uses the weights of this call.

        Raises TypeError or ValueError as a call does, and so does `backward`.
        """
        if ACTIVE.get() is not None:
            refuse_in_training(self, "forward")
        time_major, batched = self._take_x(x)
        steps, batch, _ = time_major.shape
        states = self._take_states("state", state, batch, batched)
        if state is not None:  # callers reuse state buffers between steps: do not make backward depend on them
            states = tuple(None if s is None else s.copy() for s in states)
        lens = None if lengths is None else self._take_lengths(lengths, steps, batch, batched)
        need_dx = _checks.flag("need_dx", need_dx)
        if num_threads is not None:
            num_threads = _checks.threads("num_threads", num_threads)
        # x and output are read again by backward, through views of its own: an array's shape, strides and dtype can be
        # set in place, and users hold the others
        rows = time_major if type(time_major) is TableRows else None
        if rows is not None:
            time_major = rows = rows._with(rows.table, rows.symbols.copy())
        elif batched and not self.batch_first:
            time_major = time_major.view()
        shape = self._user_shape(steps, batch, self.num_directions * self.output_size, batched)
        output = _arrays.room(shape, self.dtype)
        view = output.view() if batched and not self.batch_first else self._to_time_major(output, batched)
        key = self._dropout_key()
        new_states, run_backward = self._train(time_major, states, lens, view, key, need_dx, num_threads)
        output.setflags(write=False)
        names = tuple(self._trained_shapes())

        def backward(
            d_output: ArrayLike | EndsGradient | None = None,
            d_state: Any = None,
            *,
            _into: dict[str, Array] | None = None,
        ) -> Gradients:
            """The gradients of a loss, from its gradients to output and state (None: zero).

            _into: gradients of another call of this layer, which those of the parameters are added to in place.
            """
            d_view = ends = None
            if isinstance(d_output, EndsGradient):
                if batched and self.batch_first and d_state is None:
                    ends = d_output.states(shape, self.output_size, lens)
                d_output = d_output.dense() if ends is None else None
            if d_output is not None:
                d_view = _arrays.shaped("d_output", d_output, self.dtype, shape)
                d_view = self._to_time_major(d_view, batched)
            d_states = self._take_states("d_state", d_state, batch, batched, parts=True)
            if ends is not None:
                d_h = np.zeros((self.num_layers * self.num_directions, *ends.shape[1:]), self.dtype)
                d_h[-self.num_directions :] = ends
                d_states = (d_h, *d_states[1:])
            dx, d_initial, d_params = run_backward(d_view, d_states, _into)
            if isinstance(dx, np.ndarray):
                dx = self._to_user(dx, batched) if rows is None else rows._gradient(dx, lens)
            return Gradients(
                dx,
                self._give_state(d_initial, batched),
                {name: d_params[name] for name in names},
            )

        backward.adds_up = True  # type: ignore[attr-defined]
        return output, self._give_state(new_states, batched), backward

    def vjp(self, x: ArrayLike | TableRows, state: Any = None, **options: Any) -> tuple[Outputs, VJP]:
        output, new_state, run_back = self.forward(x, state, **options)

        def backward(
            d_output: ArrayLike | EndsGradient | None = None,
            d_state: Any = None,
            *,
            into: dict[str, Any] | None = None,
        ) -> tuple[Outputs, Params]:
            if not (into and getattr(run_back, "adds_up", False)):  # not that of a subclass with a forward of its own
                grads = run_back(d_output, d_state)
                return (grads.x, grads.state), dict(grads.params)
            grads = run_back(d_output, d_state, _into=into)
            return (grads.x, grads.state), {}

        return (output, new_state), backward

    def stream(self, batch_size: int = 1, *, num_threads: int | None = None) -> Stream:
        """A `Stream`: step by step, with a state of its own, for `batch_size` independent sequences.

        Args:
            batch_size: N, sequences that move on together.
            num_threads: for all its steps; None is the process' setting.

        Raises ValueError for a bidirectional layer, whose reverse direction needs the end of a sequence first.
        """
        if ACTIVE.get() is not None:
            refuse_in_training(self, "stream", "call the layer with its state, y, state = layer(x, state)")
        if self.bidirectional:
            raise ValueError("a bidirectional layer cannot stream: it needs the end of a sequence first")
        batch_size = _checks.size("batch_size", batch_size)
        if num_threads is not None:
            num_threads = _checks.threads("num_threads", num_threads)
        bytes_needed = batch_size * self.num_layers * sum(self._state_sizes) * self.dtype.itemsize
        if bytes_needed > _checks.MOST_BYTES:
            raise ValueError(f"batch_size={batch_size} would need {bytes_needed >> 30:,} GiB for the state of {self!r}")
        try:
            return Stream(self, batch_size, num_threads)
        except MemoryError as error:
            raise MemoryError(f"no memory for a stream of batch_size={batch_size}") from error

    def _steps(self, batch_size: int, num_threads: int | None) -> Stream:
        if not self._runs({"__call__": Recurrent.__call__}):
            raise ValueError(f"{self!r} cannot stream in a chain: it has a __call__ of its own")
        return self.stream(batch_size, num_threads=num_threads)

    def trace(self, x: ArrayLike, state: Any = None, *, lengths: ArrayLike | None = None) -> dict[str, Array]:
        """What happens inside, for looking at: gates and states of every step by name.

        Computed step by step by `pylstm.reference`, without dropout: the values of a call up to rounding, and slow.
        `pylstm.plot_trace` draws them.

        Args:
            x: as in a call.
            state: as in a call.
            lengths: as in a call.

        Returns:
            A dict, name -> array (T, N, size) in the layout of x, zero past a length. A name is a letter of the
            equations and the parameters' suffix: for an LSTM `i_l0`, `f_l0`, `g_l0`, `o_l0`, `h_l0`, `c_l0`, for a GRU
            `r`, `z`, `n`, `h`, for an RNN `h`; then those of `_l0_reverse`, `_l1` and so on.
        """
        from ..inspect.trace import trace

        return trace(self, x, state, lengths=lengths)

    # ---- layouts: users' <-> time-major --------------------------------------------------------------------------

    def _take_x(self, value: ArrayLike | TableRows) -> tuple[Any, bool]:
        x: Any
        if (
            type(value) is np.ndarray
            and value.dtype is self.dtype
            and (flags := value.flags).c_contiguous
            and flags.aligned
        ):
            x = value
        elif type(value) is TableRows:
            return self._take_rows(value)
        else:
            x = _arrays.real_array("x", value, self.dtype)
        shape = x.shape
        if len(shape) == 3 and shape[2] == self.input_size:
            return (x.swapaxes(0, 1) if self.batch_first else x), True
        if len(shape) == 2 and shape[1] == self.input_size:
            return x[:, None], False
        raise self._wrong_shape(shape)

    def _take_rows(self, rows: TableRows) -> tuple[TableRows, bool]:
        table, symbols = _arrays.real_array("x.table", rows.table, self.dtype), rows.symbols
        if symbols.ndim not in (1, 2) or table.ndim != 2 or table.shape[1] != self.input_size:
            raise self._wrong_shape(rows.shape)
        if symbols.ndim == 1:
            return rows._with(table, symbols[:, None]), False
        return rows._with(table, symbols.T if self.batch_first else symbols), True

    def _wrong_shape(self, shape: tuple[int, ...]) -> ValueError:
        axes = "N, T" if self.batch_first else "T, N"
        size = self.input_size
        return ValueError(f"x must have shape ({axes}, {size}), or (T, {size}) for one sequence, got {shape}")

    def _take_states(
        self, name: str, value: Any, batch: int, batched: bool, parts: bool = False
    ) -> tuple[Array | None, ...]:
        if value is None:
            return (None,) * len(self._state_names)
        count = self.num_layers * self.num_directions
        values: tuple[Any, ...] = (value,)
        labels: tuple[str, ...] = (name,)
        if len(self._state_names) > 1:
            if not isinstance(value, (tuple, list)):
                raise TypeError(f"{name} must be a tuple ({', '.join(self._state_names)}), got {_checks.kind(value)}")
            if len(value) != len(self._state_names):
                raise ValueError(f"{name} must be a tuple ({', '.join(self._state_names)}), got {len(value)} items")
            values, labels = tuple(value), tuple(f"{name}[{k}]" for k in range(len(value)))
        taken: list[Array | None] = []
        for label, size, item in zip(labels, self._state_sizes, values, strict=True):
            if item is None and parts:
                taken.append(None)
                continue
            shape = (count, batch, size) if batched else (count, size)
            array = _arrays.contiguous(label, item, self.dtype, shape)
            taken.append(array if batched else array[:, None])
        return tuple(taken)

    def _take_lengths(self, value: ArrayLike, steps: int, batch: int, batched: bool) -> NDArray[np.int64]:
        if not batched:
            raise ValueError("lengths is for a batch: x of shape (T, I) is one sequence, cut it instead")
        return _arrays.length_array(value, steps, batch)

    def _give_state(self, states: States, batched: bool) -> Any:
        if not batched:
            states = tuple(s[:, 0] for s in states)
        return states if len(self._state_names) > 1 else states[0]

    def _user_shape(self, steps: int, batch: int, width: int, batched: bool) -> tuple[int, ...]:
        if not batched:
            return (steps, width)
        return (batch, steps, width) if self.batch_first else (steps, batch, width)

    def _new_output(self, steps: int, batch: int, batched: bool) -> Array:
        """Room for the output as a time-major view, contiguous in the user's layout."""
        width = self.num_directions * self.output_size
        if batched and self.batch_first:
            return self._empty((batch, steps, width)).swapaxes(0, 1)
        return self._empty((steps, batch, width))

    def _to_user(self, array: Array, batched: bool) -> Array:
        if not batched:
            return array[:, 0]
        return array.swapaxes(0, 1) if self.batch_first else array

    def _to_time_major(self, array: Array, batched: bool) -> Array:
        if not batched:
            return array[:, None]
        return array.swapaxes(0, 1) if self.batch_first else array

    def _dropout_key(self) -> tuple[int, int] | None:
        if self.dropout == 0.0 or self.num_layers == 1:
            return None
        return self._dropout_seed, self._calls.next()  # threads that share a layer must not share a mask
