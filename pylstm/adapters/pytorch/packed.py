"""Packed sequences: the core takes padded arrays with lengths, and does not look at what is past a length."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ... import _core
from ..._arrays import Array


class Packing:
    """How the rows of a packed sequence are spread over steps and sequences.

    Attributes:
        steps: T.
        batch: N.
        lengths: (N,), in descending order; None if all are T.
    """

    def __init__(self, batch_sizes: NDArray[np.int64], rows: int) -> None:
        """batch_sizes: (T,), how many sequences have that step. rows: those of the data. Raises ValueError."""
        sizes = np.ascontiguousarray(batch_sizes, np.int64)
        falls = np.diff(sizes)
        if sizes.ndim != 1 or not len(sizes) or sizes[-1] < 1 or (falls > 0).any() or int(sizes.sum()) != rows:
            raise ValueError(
                f"batch_sizes of a packed sequence must be at least 1, never rise and sum up to the {rows} rows of its "
                "data; pack_padded_sequence and pack_sequence make them so"
            )
        self.steps, self.batch = len(sizes), int(sizes[0])
        starts = np.concatenate([[0], np.flatnonzero(falls) + 1, [self.steps]]).tolist()
        self._runs = [
            (begin, end, int(sizes[begin])) for begin, end in pairwise(starts)
        ]  # steps that the same sequences have
        self.lengths: NDArray[np.int64] | None = None
        if len(self._runs) > 1:
            self.lengths = np.searchsorted(-sizes, -np.arange(1, self.batch + 1), side="right").astype(np.int64)

    def _parts(self, width: int, packed: Array, padded: Array) -> Iterator[tuple[Array, Array]]:
        """Of both arrays what is the same: blocks (steps, sequences, width)."""
        at = 0
        for begin, end, count in self._runs:
            rows = (end - begin) * count
            yield packed[at : at + rows].reshape(end - begin, count, width), padded[begin:end, :count]
            at += rows

    def padded(self, packed: Array) -> Array:
        """(rows, width) -> (T, N, width), anything past a length. A view where nothing is."""
        width = packed.shape[1]
        packed = np.ascontiguousarray(packed)
        if self.lengths is None:
            return packed.reshape(self.steps, self.batch, width)
        padded = _core.empty((self.steps, self.batch, width), packed.dtype)
        for source, target in self._parts(width, packed, padded):
            target[...] = source
        return padded

    def packed(self, padded: Array) -> Array:
        """(T, N, width) in C order -> (rows, width)."""
        width = padded.shape[2]
        rows = sum((end - begin) * count for begin, end, count in self._runs)
        if self.lengths is None:
            return padded.reshape(rows, width)
        packed = _core.empty((rows, width), padded.dtype)
        for target, source in self._parts(width, packed, padded):
            target[...] = source
        return packed
