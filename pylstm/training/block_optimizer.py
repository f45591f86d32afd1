"""Optimizers whose updates are written in NumPy, a block of numbers at a time."""

from __future__ import annotations

import abc
import math

import numpy as np

from .._arrays import Array
from ..layers.row_gradient import RowGradient
from .optimizer import Moving, Optimizer, Update

_BLOCK = 2**15  # numbers updated at once: parameter, gradient, state and scratch stay in the core's cache together


class BlockOptimizer(Optimizer):
    """Updates written in NumPy, a block of numbers at a time."""

    @abc.abstractmethod
    def _update(self, p: Array, g: Array, slots: list[Array], a: Array, step: int) -> None:
        """Update p and its state in place; all arrays are of one shape. g and the scratch a may be overwritten."""

    def _dense(self, p: Moving, gradient: Array, step: int, scale: float, limit: float) -> Update:
        size, dtype = p.new.size, p.new.dtype
        g, a = (np.empty(min(_BLOCK, size), dtype) for _ in range(2))
        yield
        for start in range(0, size, _BLOCK):
            part = slice(start, start + _BLOCK)
            some, slots = p.block(part)
            scaled = _prepared(gradient[part], g[: some.size], scale, limit)
            self._update(some, scaled, slots, a[: some.size], step)

    def _all_rows(self, p: Moving, gradient: RowGradient, step: int, scale: float, limit: float) -> Update:
        """The dense update, block by block, without ever making the dense gradient."""
        size, width = p.new.shape
        count = max(1, _BLOCK // width)
        g, a, b = (np.empty((min(count, size), width), p.new.dtype) for _ in range(3))
        edges = np.searchsorted(gradient.rows, np.arange(0, size + count, count))
        yield
        for k, start in enumerate(range(0, size, count)):
            (some, slots), own = p.block(slice(start, start + count)), slice(edges[k], edges[k + 1])
            rows, values = gradient.rows[own] - start, gradient.values[own]
            dense = g[: len(some)]
            dense[...] = 0
            dense[rows] = _prepared(values, b[: len(values)], scale, limit)
            self._update(some, dense, slots, a[: len(some)], step)

    def _touched_rows(self, p: Moving, gradient: RowGradient, step: int, scale: float, limit: float) -> Update:
        width = p.new.shape[1]
        count = min(max(1, _BLOCK // width), max(1, len(gradient.rows)))
        g, a, *taken = (np.empty((count, width), p.new.dtype) for _ in range(3 + len(p.slots)))
        yield
        whole, slots = p.block(slice(None))
        for start in range(0, len(gradient.rows), count):
            rows = gradient.rows[start : start + count]
            own = [
                array.take(rows, axis=0, out=new[: len(rows)], mode="clip")  # mode: NumPy buffers `out` in the others
                for array, new in zip((whole, *slots), taken, strict=True)
            ]
            scaled = _prepared(gradient.values[start : start + count], g[: len(rows)], scale, limit)
            self._update(own[0], scaled, own[1:], a[: len(rows)], step)
            for array, new in zip((whole, *slots), own, strict=True):
                array[rows] = new


def _prepared(gradient: Array, out: Array, scale: float, limit: float) -> Array:
    if limit != math.inf:
        gradient = np.clip(gradient, -limit, limit, out=out)
    if scale != 1.0 or gradient is not out:
        np.multiply(gradient, scale, out=out)
    return out
