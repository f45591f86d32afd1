"""What `predict` gives, put together from the outputs of batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import Array
from ..layers.activation import activate
from ..layers.linear import LinearOutputs

Indices = NDArray[np.intp]
ACTIVATIONS = ("relu", "tanh", "sigmoid", "softmax")


def by_sequence(
    y: Any, lengths: NDArray[np.int64], finish: Callable[[Array], Array], counted: bool = False
) -> list[Array]:
    """What `finish` makes of outputs (N, T, ..), of each sequence up to its length. Of `LinearOutputs` no others are
    computed; counted: no others are handed to `finish`."""
    deferred = type(y) is LinearOutputs
    if not deferred and not counted:
        return [of_one[:length] for of_one, length in zip(finish(y), lengths, strict=True)]
    steps = y.x.shape[1] if deferred else y.shape[1]
    counts = np.minimum(lengths, steps)
    rows = y.of_steps(counts) if deferred else y[np.arange(steps) < counts[:, None]]
    return np.split(finish(rows), np.cumsum(counts)[:-1])


def activated(activation: str | None, y: Array) -> Array:
    return y if activation is None else activate(activation, y)


class Predictions:
    """One output of `count` sequences, batch by batch."""

    def __init__(self, count: int) -> None:
        self._order: list[Indices] = []
        self._whole: list[Array] = []  # outputs of batches, one a sequence
        self._rows: list[Any] = [None] * count  # outputs of sequences, one a step
        self._per_step = False

    def add(self, which: Indices, y: Array) -> None:
        """Outputs (N, ..) of these sequences."""
        if len(y) != len(which):
            raise ValueError(f"the model gives outputs of shape {y.shape} for {len(which)} sequences")
        self._order.append(which)
        self._whole.append(y)

    def add_steps(self, which: Indices, rows: list[Array]) -> None:
        """An output per step, of each of these sequences."""
        self._per_step = True
        for i, row in zip(which.tolist(), rows, strict=True):
            self._rows[i] = row

    def joined(self, as_list: bool, steps: int, dtype: np.dtype[Any]) -> Any:
        """An array (N, ..), zero past the end of a sequence; or a list of arrays (T_i, ..). dtype: of floats."""
        if not self._per_step:
            return self._stacked()
        if as_list:
            return self._rows
        first = self._rows[0]
        kind = dtype if first.dtype.kind == "f" else first.dtype
        out = np.zeros((len(self._rows), max(steps, *map(len, self._rows), 0), *first.shape[1:]), kind)
        for row, value in zip(out, self._rows, strict=True):
            row[: len(value)] = value
        return out

    def _stacked(self) -> Array:
        order = np.concatenate(self._order)
        whole = self._whole[0] if len(self._whole) == 1 else np.concatenate(self._whole)
        if (order[1:] > order[:-1]).all():
            return whole if _of_its_own(whole) else whole.copy()
        out = np.empty_like(whole)
        out[order] = whole
        return out


def _of_its_own(array: Array) -> bool:
    """Whether it holds no more memory than it shows."""
    base: Any = array.base
    return base is None or getattr(base, "nbytes", None) == array.nbytes
