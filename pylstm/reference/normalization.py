"""Layer normalisation of vectors and its gradients: the twin of `pylstm.LayerNorm`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    """x (rows, size) -> (rows, size)."""
    mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    y: Array = (x - mean) / np.sqrt(variance + eps) * weight + bias
    return y


def layer_norm_backward(x: Array, weight: Array, eps: float, d: Array) -> tuple[Array, Array, Array]:
    """From the gradient to y those to x, weight and bias. A row's Jacobian is (1 - 1/size - z zᵀ/size) / deviation."""
    size = x.shape[1]
    deviation = np.sqrt(x.var(axis=1, keepdims=True) + eps)
    z = (x - x.mean(axis=1, keepdims=True)) / deviation
    jacobians = np.eye(size) - 1 / size - z[:, :, None] * z[:, None] / size
    return np.einsum("ri,rij->rj", d * weight, jacobians) / deviation, (d * z).sum(axis=0), d.sum(axis=0)
