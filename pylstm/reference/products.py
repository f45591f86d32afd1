"""Matrix products and their gradients: the twin of csrc/matmul.cpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def matmul(a: Array, b: Array) -> Array:
    """a (..., rows, k) @ b (..., k, columns)."""
    c: Array = np.einsum("...rk,...kc->...rc", a, b)
    return c


def matmul_backward(a: Array, b: Array, d: Array) -> tuple[Array, Array]:
    """From the gradient to a @ b, those to a and to b, summed over the axes along which they were broadcast."""
    d_a = np.einsum("...rc,...kc->...rk", d, b)
    d_b = np.einsum("...rk,...rc->...kc", a, d)
    return _summed(d_a, a.shape), _summed(d_b, b.shape)


def _summed(d: Array, shape: tuple[int, ...]) -> Array:
    while d.ndim > len(shape):
        d = d.sum(axis=0)
    for axis, size in enumerate(shape):
        if d.shape[axis] != size:
            d = d.sum(axis=axis, keepdims=True)
    return d
