"""What every library is given: weights, and batches of inputs with their targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cases import Array


@dataclass(frozen=True)
class Batch:
    """x: (N, T) symbols, 0 past a length, or (N, T, E) numbers; y: labels (N, T), (N,) or numbers (N, C), or sequences
    (N, S) of lengths of their own.

    T is the longest sequence's length; lengths: (N,), None where all are T. Labels past a length are 0.
    counts: (N,), the lengths of targets that have their own, S the largest of them; None for others.
    """

    x: Array
    y: Array
    lengths: Array | None
    counts: Array | None = None

    @property
    def steps(self) -> int:
        return int(self.x.shape[1])

    @property
    def rows(self) -> int:
        """Steps of all sequences, padding left out."""
        return int(np.count_nonzero(self.valid))

    @property
    def valid(self) -> Array:
        """(N, T): which steps there are."""
        lengths = np.full(len(self.x), self.steps) if self.lengths is None else self.lengths
        return within(lengths, self.steps)

    @property
    def symbols(self) -> Array:
        """The distinct symbols."""
        return np.unique(self.x[self.valid])


@dataclass(frozen=True)
class Data:
    """weights: "embedding", "head.weight", "head.bias", and those of the LSTM under PyTorch's names (one bias). Of a
    translator these of either side behind "encoder." and "decoder.", and those between them: `translations.py`."""

    weights: dict[str, Array]
    batches: list[Batch]


def within(lengths: Array, steps: int) -> Array:
    """(N, steps): which steps are within the lengths."""
    found: Array = np.arange(steps) < lengths[:, None]
    return found
