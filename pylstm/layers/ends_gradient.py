"""Gradients that are zero but where a recurrent layer's directions end: what `LastStep` and `BothEnds` give back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._arrays import Array


class EndsGradient:
    """The gradient of a batch of sequences (N, T, F) that is zero outside of two steps of each: `last` features at its
    last one, the others at its first.

    A recurrent layer takes it as the gradient to its last h, which holds the same numbers; everybody else gets
    `dense()`. Without the zeros a backward pass of 500 steps of 100 units takes 0.93 of the time.

    Attributes:
        values: (N, F), of those steps.
        lengths: (N,) int64; the values of a sequence without steps count for nothing.
        shape: (N, T, F).
        last: how many of the features end at the last step.
    """

    __slots__ = ("last", "lengths", "shape", "values")

    def __init__(self, values: Array, lengths: NDArray[np.int64], shape: tuple[int, int, int], last: int) -> None:
        self.values, self.lengths, self.shape, self.last = values, lengths, shape, last

    def dense(self) -> Array:
        """The whole gradient as an array of `shape`."""
        out = np.zeros(self.shape, self.values.dtype)
        out[np.arange(len(out)), np.maximum(self.lengths - 1, 0), : self.last] = self.values[:, : self.last]
        out[:, 0, self.last :] = self.values[:, self.last :]
        out[self.lengths == 0] = 0
        return out

    def states(self, shape: tuple[int, ...], width: int, lengths: NDArray[np.int64] | None) -> Array | None:
        """The same as the gradient to the states of the last layer, (directions, N, width), of a recurrent layer whose
        output has this shape and ran over sequences of these lengths. None: it is not the same."""
        size, steps, features = self.shape
        if shape != self.shape or width != self.last:
            return None
        if not np.array_equal(self.lengths, np.full(size, steps) if lengths is None else lengths):
            return None
        directions = self.values.reshape(size, features // width, width).transpose(1, 0, 2)
        states = directions.copy()  # the values may be somebody else's
        states[:, self.lengths == 0] = 0
        return states
