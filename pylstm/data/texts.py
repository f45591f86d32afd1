"""One long text as batches whose sequences go on from batch to batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import _checks
from .._arrays import Array, number_array


class TextBatches:
    """Batches (x, y) of one long text, for `fit(batches, stateful=True)`; `text_batches` makes them.

    Gone through, it gives pairs of integers (batch_size, steps): x, symbols, and y, those that come next. Row r of a
    batch goes on where row r of the batch before has ended. The last batch may have fewer steps. Of the text, only what
    a batch needs is read, so that a memory-mapped file may be larger than memory.

    Attributes:
        batch_size: rows, each a part of the text.
        steps: of a batch.
        used: symbols that are trained on, or predicted; fewer than batch_size at the end are left over.
    """

    def __init__(self, symbols: Array, batch_size: int, steps: int) -> None:
        self._symbols, self.batch_size, self.steps = symbols, batch_size, steps
        self._part = (len(symbols) - 1) // batch_size  # steps of each row in all

    @property
    def used(self) -> int:
        return self._part * self.batch_size

    def __len__(self) -> int:
        """Batches."""
        return math.ceil(self._part / self.steps)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        begins = range(0, self.used, self._part)
        for start in range(0, self._part, self.steps):
            size = min(self.steps, self._part - start)
            rows = np.stack([self._symbols[begin + start : begin + start + size + 1] for begin in begins])
            yield rows[:, :-1], rows[:, 1:]

    def __repr__(self) -> str:
        return f"TextBatches({len(self)} batches of {self.batch_size} x {self.steps} symbols)"


def text_batches(symbols: Any, batch_size: int, steps: int) -> TextBatches:
    """A long text, cut for training that carries states on: `model.fit(text_batches(..), stateful=True, ..)`.

    The text is cut into `batch_size` parts that are read side by side, each from its beginning to its end, `steps`
    symbols a batch: so the model learns to say what comes next from all that came before, with gradients through the
    last `steps` symbols (truncated back-propagation through time: Williams & Peng 1990).

    Args:
        symbols: (T,) integers, words or characters by number (`Vocabulary.encode`); a memory-mapped array, too.
        batch_size: parts of the text.
        steps: symbols of each part in a batch.

    Returns:
        `TextBatches`, which may be gone through again and again.

    Raises:
        TypeError: symbols that are no integers, sizes that are none.
        ValueError: symbols with another axis, or too few for one symbol and the next in each part.

    >>> batches = text_batches(np.arange(21), batch_size=2, steps=4)
    >>> len(batches)
    3
    >>> x, y = next(iter(batches))
    >>> x
    array([[ 0,  1,  2,  3],
           [10, 11, 12, 13]])
    >>> y[1]
    array([11, 12, 13, 14])
    """
    batch_size, steps = _checks.size("batch_size", batch_size), _checks.size("steps", steps)
    array = number_array("symbols", symbols)
    if array.ndim != 1:
        raise ValueError(f"symbols must be one text, (T,), got {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"symbols must be integers, got {array.dtype}")
    if len(array) <= batch_size:
        raise ValueError(f"symbols has {len(array)}, and {batch_size} parts need {batch_size + 1} at least")
    return TextBatches(array, batch_size, steps)
