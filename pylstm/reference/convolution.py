"""A convolution over time and its gradients, a step at a time: the twin of `pylstm.Conv1d`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def conv1d(x: Array, weight: Array, bias: Array, stride: int, dilation: int, left: int, right: int) -> Array:
    """Of one sequence x (T, in), weight (out, in, kernel) and bias (out,): y (T', out), with so many zeros around x."""
    padded = np.pad(x, ((left, right), (0, 0)))
    span = dilation * (weight.shape[2] - 1)
    steps = range(0, len(padded) - span, stride) if len(x) else range(0)
    y = [bias + np.einsum("ki,oik->o", padded[t : t + span + 1 : dilation], weight) for t in steps]
    return np.array(y, x.dtype).reshape(-1, len(weight))


def conv1d_backward(
    x: Array, weight: Array, stride: int, dilation: int, left: int, right: int, d: Array
) -> tuple[Array, Array, Array]:
    """From the gradient to y those to x, weight and bias."""
    padded = np.pad(x, ((left, right), (0, 0)))
    d_padded, d_weight = np.zeros_like(padded), np.zeros_like(weight)
    span = dilation * (weight.shape[2] - 1)
    for k, d_step in enumerate(d):
        window = slice(k * stride, k * stride + span + 1, dilation)
        d_padded[window] += np.einsum("o,oik->ki", d_step, weight)
        d_weight += np.einsum("o,ki->oik", d_step, padded[window])
    return d_padded[left : left + len(x)], d_weight, d.sum(axis=0)
