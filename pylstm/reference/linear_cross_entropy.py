"""The cross-entropy of a linear layer's outputs, with all gradients: the twin of csrc/linear_cross_entropy.cpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def linear_cross_entropy(
    hidden: Array,
    weight: Array,
    bias: Array | None,
    targets: NDArray[np.int64],
    *,
    class_weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    sample_weight: Array | None = None,
) -> tuple[float, tuple[Array, Array, Array | None]]:
    """hidden (R, H), weight (V, H), bias (V,), targets (R,), class_weight (V,), sample_weight (R,) -> the mean loss,
    its gradients.

    With z = hidden weightᵀ + bias, w the class weights, s the smoothing, and over the rows, of weight r, whose target t
    counts:

        -sum(r ((1 - s) w[t] log softmax(z)[t] + s / V sum(w log softmax(z)))) / sum(r w[t])
    """
    classes = len(weight)
    weights = np.ones(classes) if class_weight is None else class_weight
    rows = np.flatnonzero(targets != ignore_index)
    labels = targets[rows]
    z = np.einsum("ri,vi->rv", hidden[rows], weight)
    if bias is not None:
        z = z + bias
    shifted = z - z.max(axis=1, keepdims=True, initial=-np.inf)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    # of -log p, for every row and class
    share = np.tile(label_smoothing / classes * weights, (len(rows), 1))
    share[np.arange(len(rows)), labels] += (1 - label_smoothing) * weights[labels]
    of_row = np.ones(len(rows)) if sample_weight is None else sample_weight[rows]
    share *= of_row[:, None]
    total = (of_row * weights[labels]).sum()
    scale = 1 / total if total else 0.0
    counts = share != 0
    value = float(-(share[counts] * log_p[counts]).sum() * scale)
    d_z = (np.exp(log_p) * share.sum(axis=1, keepdims=True) - share) * scale
    d_hidden = np.zeros(hidden.shape, hidden.dtype)
    d_hidden[rows] = np.einsum("rv,vi->ri", d_z, weight)
    return value, (d_hidden, np.einsum("rv,ri->vi", d_z, hidden[rows]), None if bias is None else d_z.sum(axis=0))
