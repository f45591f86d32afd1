"""N sequences or targets as fit holds them, and what of them counts: for whoever looks at all of it beforehand."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import Array

Indices = NDArray[np.int64]
_BLOCK = 2**20  # numbers that are looked at together


class Counted(abc.ABC):
    """An array (N, ...), of which `counts` (N,) says how many steps count (None: all), or a list of N arrays.

    name: what errors call it.
    """

    name: str
    _items: list[Array] | None = None
    _array: Array
    _kind: np.dtype[Any]  # of what batches of a list are
    counts: Indices | None = None

    @abc.abstractmethod
    def __len__(self) -> int:
        """N."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of batches."""
        return self._array.dtype if self._items is None else self._kind

    @property
    def form(self) -> tuple[int | None, ...]:
        """The shape of a batch, None for any size: of how many there are, and of steps where these differ."""
        if self._items is not None:
            return (None, None, *(self._items[0].shape[1:] if self._items else ()))
        shape = self._array.shape
        return (None, *shape[1:]) if self.counts is None else (None, None, *shape[2:])

    @property
    def shown(self) -> str:
        """Its shape, as an error tells it."""
        return f"shape {self._array.shape}" if self._items is None else f"a list of arrays {self.one(0).shape}"

    @property
    def has_steps(self) -> bool:
        """Whether the second axis is known to be time."""
        return self._items is not None or self.counts is not None

    def one(self, index: int) -> Array:
        """What counts of one of them."""
        if self._items is not None:
            return self._items[index]
        row: Array = self._array[index]
        return row if self.counts is None else row[: self.counts[index]]

    def pieces(self) -> Iterator[Array]:
        """What counts of all, some at a time: (n, ...), or steps of several one after another, (steps, ...)."""
        if self._items is not None:
            some: list[Array] = []
            for item in self._items:
                some.append(item)
                if len(some) == 1024 or item.size >= _BLOCK // 16:
                    yield np.concatenate(some, dtype=self._kind, casting="unsafe")
                    some = []
            if some:
                yield np.concatenate(some, dtype=self._kind, casting="unsafe")
            return
        array = self._array
        size = max(1, _BLOCK * len(array) // max(1, array.size))
        for start in range(0, len(array), size):
            piece = array[start : start + size]
            if self.counts is None:
                yield piece
            else:
                yield piece[np.arange(piece.shape[1]) < self.counts[start : start + size, None]]
