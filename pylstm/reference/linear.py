"""A linear layer and its gradients: the twin of csrc/linear.cpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """y = x weightᵀ + bias: x (rows, in), weight (out, in), bias (out,), y (rows, out)."""
    y: Array = np.einsum("ri,oi->ro", x, weight)
    return y if bias is None else y + bias


def linear_backward(x: Array, weight: Array, d_y: Array) -> tuple[Array, Array, Array]:
    """From the gradient to y (rows, out), those to x (rows, in), weight (out, in) and bias (out,)."""
    return np.einsum("ro,oi->ri", d_y, weight), np.einsum("ro,ri->oi", d_y, x), d_y.sum(axis=0)
