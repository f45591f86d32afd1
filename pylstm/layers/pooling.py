"""From a vector per step to one per sequence. x: (N, T, F), y: (N, F); one sequence (T, F) gives (F,)."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._active import ACTIVE, refuse_in_training
from .._arrays import Array, float_array, length_array
from .ends_gradient import EndsGradient
from .layer import Backward, Layer, Params, Shape, gradient_like, sizes
from .registry import built_in

Spread = Callable[[Array], Array | EndsGradient]  # (N, F) -> (N, T, F): a pooling's way back


class _Pooling(Layer):
    keeps_time = False
    _asks = True

    def __init__(self) -> None:
        self._configure()

    def _configure(self) -> None:
        super().__init__()

    @abc.abstractmethod
    def _pool(self, x: Array, lengths: NDArray[np.int64]) -> tuple[Array, Spread]:
        """x (N, T, F) with T > 0 and lengths (N,), which may hold zeros: such a sequence gives zeros."""

    def _run(self, x: ArrayLike, lengths: ArrayLike | None) -> tuple[Array, Spread]:
        array = float_array("x", x)
        if array.ndim not in (2, 3):
            raise ValueError(f"x must have shape (N, T, F), or (T, F) for one sequence, got {array.shape}")
        one = array.ndim == 2
        if one and lengths is not None:
            raise ValueError("lengths is for a batch: x of shape (T, F) is one sequence, cut it instead")
        batch = array[None] if one else array.view()  # a view: backward reads it again
        size, steps, width = batch.shape
        counts = np.full(size, steps, np.int64) if lengths is None else length_array(lengths, steps, size)
        if steps == 0:
            spread: Spread = _nothing
            y = np.zeros((size, width), batch.dtype)
        else:
            y, spread = self._pool(batch, counts)

        def of_one(dy: Array) -> Array:
            dx = spread(dy[None])
            return (dx.dense() if isinstance(dx, EndsGradient) else dx)[0]  # type: ignore[no-any-return]

        return (y[0], of_one) if one else (y, spread)

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        if (run := ACTIVE.get()) is not None:
            return run.call(self, (x,), {"lengths": lengths})  # type: ignore[no-any-return]
        return self._run(x, lengths)[0]

    def forward(
        self, x: ArrayLike, *, lengths: ArrayLike | None = None, need_dx: bool = True
    ) -> tuple[Array, Backward]:
        if ACTIVE.get() is not None:
            refuse_in_training(self, "forward")
        y, run_back = self._forward_to_ends(x, lengths=lengths, need_dx=need_dx)

        def backward(dy: ArrayLike) -> tuple[Array | None, Params]:
            dx, d_params = run_back(dy)
            return (dx.dense() if isinstance(dx, EndsGradient) else dx), d_params

        return y, backward

    def _forward_to_ends(
        self, x: ArrayLike, *, lengths: ArrayLike | None, need_dx: bool
    ) -> tuple[Array, Callable[[ArrayLike], tuple[Array | EndsGradient | None, Params]]]:
        y, back = self._run(x, lengths)
        form = y.shape, y.dtype

        def backward(dy: ArrayLike) -> tuple[Array | EndsGradient | None, Params]:
            return (back(gradient_like(dy, form)) if need_dx else None), {}

        return y, backward

    def output_shape(self, shape: Shape) -> Shape:
        shape = sizes(shape)
        if len(shape) != 3:
            raise ValueError(f"{self!r} needs a sequence (N, T, F) before it, not {shape}")
        return (shape[0], shape[2])


class _Ends(_Pooling):
    """What is read at each sequence's last step, and at its first one."""

    @abc.abstractmethod
    def _last(self, width: int) -> int:
        """How many of so many features are read at the last step: the first ones."""

    def _pool(self, x: Array, lengths: NDArray[np.int64]) -> tuple[Array, Spread]:
        last = self._last(x.shape[2])
        y = x[np.arange(len(x)), np.maximum(lengths - 1, 0)]
        y[:, last:] = x[:, 0, last:]
        y[lengths == 0] = 0
        shape = x.shape
        return y, lambda dy: EndsGradient(dy, lengths, shape, last)

    def _gives_ends(self) -> bool:
        return self._runs(_WRITTEN)


@built_in
class LastStep(_Ends):
    """Each sequence's last step: x[n, lengths[n] - 1]; zeros where the length is 0.

    After a bidirectional layer this is the literal last step, as `output[:, -1]` in PyTorch, at which the reverse
    direction has seen one step only: `BothEnds`, `MaxOverTime` or `MeanOverTime` use all of it.
    """

    _outputs_own = True

    def _last(self, width: int) -> int:
        return width


@built_in
class BothEnds(_Ends):
    """Where a bidirectional layer's two directions end: the first half of the features at each sequence's last step and
    the other half at its first; zeros where the length is 0.

    That is h_n of the last layer, [forward, reverse], as Keras' `Bidirectional` gives it with return_sequences=False. F
    must be even.
    """

    _outputs_own = True

    def _last(self, width: int) -> int:
        return _half(width)

    def output_shape(self, shape: Shape) -> Shape:
        shape = super().output_shape(shape)
        if shape[1] is not None:
            _half(shape[1])
        return shape


@built_in
class MeanOverTime(_Pooling):
    """The mean of each sequence's steps; zeros where the length is 0."""

    _outputs_own = True

    def _pool(self, x: Array, lengths: NDArray[np.int64]) -> tuple[Array, Spread]:
        share = (1.0 / np.maximum(lengths, 1)).astype(x.dtype)[:, None]
        inside = _inside(x, lengths)
        y = _sums(x, lengths, inside) * share

        def spread(dy: Array) -> Array:
            d = (dy * share)[:, None, :]
            zero = x.dtype.type(0)
            return np.broadcast_to(d, x.shape).copy() if inside is None else np.where(inside, d, zero)

        return y, spread


@built_in
class MaxOverTime(_Pooling):
    """The largest value of each feature over each sequence's steps; zeros where the length is 0.

    The gradient goes to the step that had it, the first one of several.
    """

    _outputs_own = True

    def _pool(self, x: Array, lengths: NDArray[np.int64]) -> tuple[Array, Spread]:
        inside, empty = _inside(x, lengths), lengths == 0
        seen = x if inside is None else np.where(inside, x, x.dtype.type(-np.inf))
        largest = np.maximum.reduce(seen, axis=1)
        y = largest.copy()
        y[empty] = 0

        def spread(dy: Array) -> Array:
            where = seen == largest[:, None, :]
            if inside is not None:
                where &= inside
            # several steps with the same value are rare, and argmax along this axis takes NumPy ten times as long
            if (np.count_nonzero(where, axis=1) > 1).any() or np.isnan(largest).any():
                first = seen.argmax(axis=1)[:, None, :]
                where = np.zeros(x.shape, bool)
                np.put_along_axis(where, first, True, axis=1)
                where[empty] = False
            return np.where(where, dy[:, None, :], x.dtype.type(0))

        return y, spread


def _half(width: int) -> int:
    if width % 2:
        raise ValueError(f"BothEnds needs the features of two directions, an even number, got {width}")
    return width // 2


def _sums(x: Array, lengths: NDArray[np.int64], inside: NDArray[np.bool_] | None) -> Array:
    if inside is None:
        return np.add.reduce(x, axis=1)  # type: ignore[no-any-return]
    if x.shape[2] == 1:  # NumPy adds up one column in pieces, so that zeros behind its end would show in the bits
        sums = [np.add.reduce(row[:length]) for row, length in zip(x[:, :, 0], lengths.tolist(), strict=True)]
        return np.array(sums, x.dtype)[:, None]
    # where, not a product: what stands past a length may be anything, NaN included
    return np.add.reduce(np.where(inside, x, x.dtype.type(0)), axis=1)  # type: ignore[no-any-return]


def _nothing(dy: Array) -> Array:
    return np.zeros((len(dy), 0, dy.shape[1]), dy.dtype)


def _inside(x: Array, lengths: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    """(N, T, 1): which steps belong to a sequence; None if all do."""
    steps = x.shape[1]
    if (lengths == steps).all():
        return None
    return np.asarray(np.arange(steps) < lengths[:, None])[:, :, None]


_WRITTEN: dict[str, Any] = {name: getattr(_Pooling, name) for name in ("__call__", "forward", "vjp")}
