"""Recurrent layers over sequences of which some steps do not count.

Keras leaves masked steps out: the states stay as they are. So the steps that count are brought to the front, our layer
runs over them with their number as lengths, and its outputs go back to where the steps were.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...graph.functions import where
from .step import Mask


class Packed(NamedTuple):
    """Steps that count, in front.

    Attributes:
        x: (N, T, F).
        lengths: (N,): how many there are; None: all.
        order: (N, T): where they were; None: where they are.
        mask: (N, T): which counted; None: all.
    """

    x: Any
    lengths: NDArray[np.int64] | None
    order: NDArray[np.int64] | None
    mask: Mask

    def unpacked(self, y: Any, zero: bool) -> Any:
        """Outputs (N, T, F) at their steps again; a masked one has that of the last step before that counts, or zeros
        where there is none, and everywhere with `zero`."""
        if self.mask is None or (zero and self.order is None):
            return y
        before = np.cumsum(self.mask, axis=1) - 1
        y = y[np.arange(len(before))[:, None], np.maximum(before, 0)]
        counts = self.mask if zero else before >= 0
        return y if counts.all() else where(counts[..., None], y, 0.0)

    def last(self, h: Any) -> Any:
        """The last output of final states (N, F): zeros where no step counts."""
        if self.lengths is None or self.lengths.all():
            return h
        return where((self.lengths > 0)[:, None], h, 0.0)


def packed(x: Any, mask: Mask) -> Packed:
    if mask is None or mask.all():
        return Packed(x, None, None, None)
    if mask.shape != x.shape[:2]:
        raise ValueError(f"the mask {mask.shape} of a recurrent layer does not fit its input {x.shape}")
    lengths = mask.sum(axis=1)
    if (mask[:, :-1] >= mask[:, 1:]).all():
        return Packed(x, lengths, None, mask)
    order = np.argsort(~mask, axis=1, kind="stable")
    return Packed(x[np.arange(len(mask))[:, None], order], lengths, order, mask)
