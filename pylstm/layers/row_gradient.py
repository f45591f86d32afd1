"""Gradients of tables that are zero but for a few rows: what an embedding and a sampled softmax give back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .._arrays import Array

Index = NDArray[np.int64]

_PASSES = 16  # rows used more often than this are summed one by one instead


class RowGradient:
    """The gradient of a table that is zero outside of some rows.

    `dense()` or `np.asarray` spread it out. Adding two of them, or one and an array, gives the sum.

    Attributes:
        rows: (K,) int64, ascending, each once.
        values: (K, \\*shape[1:]), the gradient of those rows.
        shape: of the table, (num, dim), or (num,) of a vector.
    """

    __array_priority__ = 100  # an array on the left leaves the addition to __radd__

    def __init__(self, rows: Index, values: Array, shape: tuple[int, ...]) -> None:
        self.rows, self.values, self.shape = rows, values, shape

    def dense(self) -> Array:
        """The whole gradient as an array of `shape`."""
        out = np.zeros(self.shape, self.values.dtype)
        out[self.rows] = self.values
        return out

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("a RowGradient cannot become an array without a copy")
        return self.dense().astype(dtype or self.values.dtype, copy=False)

    def __add__(self, other: Any) -> Any:
        if isinstance(other, RowGradient):
            if other.shape != self.shape:
                raise ValueError(f"gradients of tables of different shapes: {self.shape} and {other.shape}")
            rows = np.concatenate([self.rows, other.rows])
            return sum_rows(rows, np.concatenate([self.values, other.values]), self.shape)
        total = np.array(other, copy=True)
        total[self.rows] += self.values
        return total

    __radd__ = __add__

    def __mul__(self, factor: float) -> RowGradient:
        return RowGradient(self.rows, self.values * self.values.dtype.type(factor), self.shape)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        columns = f", {self.shape[1]} columns" if len(self.shape) > 1 else ""
        return f"RowGradient({len(self.rows)} of {self.shape[0]} rows{columns})"


def sum_rows(
    ids: NDArray[Any],
    values: Array,
    shape: tuple[int, ...],
    skip: int | None = None,
    among: NDArray[np.intp] | None = None,
) -> RowGradient:
    """Row k of the result is the sum of the rows of `values` (N, dim) whose id is k; `skip` is an id left out. Of
    `among`, if given, and no others: ascending places in `ids`.

    The k-th occurrences of all ids are added at once, for k = 1, 2, ...; ids that occur more often than a few times are
    summed one by one. Measured for 8,192 rows of 256 numbers: 0.3 ms, `np.add.reduceat` 4 to 13 ms, `np.add.at` 20 ms.
    """
    ids = ids.reshape(-1) if among is None else ids.reshape(-1)[among]
    if shape[0] <= 2**16:
        ids = ids.astype(np.uint16)  # NumPy sorts these by radix: 0.02 ms in place of 0.3
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    order = order if among is None else among[order]
    first = np.empty(len(ordered) + 1, np.bool_)  # of its row; and the end
    first[0] = first[-1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:-1])
    starts = first.nonzero()[0]
    counts = starts[1:] - starts[:-1]
    starts = starts[:-1]
    rows = ordered[starts].astype(np.int64)
    if skip is not None and len(kept := np.flatnonzero(rows != skip)) < len(rows):
        rows, starts, counts = rows[kept], starts[kept], counts[kept]
    sums = values.take(order[starts], axis=0)
    more = np.flatnonzero(counts > 1)
    for k in range(1, _PASSES):
        if len(more) == 0:
            break
        sums[more] += values.take(order[starts[more] + k], axis=0)
        more = more[counts[more] > k + 1]
    for i in more.tolist():
        rest = order[starts[i] + _PASSES : starts[i] + counts[i]]
        sums[i] += np.add.reduce(values.take(rest, axis=0), axis=0)
    return RowGradient(rows, sums, shape)
