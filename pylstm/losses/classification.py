"""Cross-entropy, of two classes and of many: its mean over what counts, and the gradient of that mean, from logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _checks
from .._arrays import Array, array_of, float_array, real_array
from .loss import Loss, checked_weights, counted, inverse, product, targets_like, weighted

ClassWeight = Mapping[int, float] | ArrayLike | None
IGNORED = -100  # a target that does not count, unless told otherwise
_BLOCK = 2**15  # numbers worked on at once, so that the passes over them stay in cache


def binary_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    lengths: ArrayLike | None = None,
    class_weight: ClassWeight = None,
    sample_weight: Any = None,
) -> tuple[float, Array]:
    """-t log s(x) - (1 - t) log(1 - s(x)) for logits x, with s the logistic function, as BCEWithLogitsLoss of PyTorch.

    Args:
        logits: (N, ...) or (N, ..., 1).
        targets: (N, ...) in 0..1, of the same shape, or without the last axis of size 1.
        lengths: (N,) integers: steps beyond do not count, and their gradient is zero. For predictions per step.
        class_weight: weights of targets 0 and 1, {0: a, 1: b} or [a, b]; the mean is then the weighted one.
        sample_weight: (N,), (N, T) or as targets, from 0, times those of classes.

    Returns:
        The tuple (mean, gradient) of the mean over what counts, 0 if nothing does, and its gradient, shaped like
        logits.

    Raises TypeError or ValueError, naming the argument.
    """
    loss = bce_loss(logits, targets, lengths, class_weight=class_weight, sample_weight=checked_weights(sample_weight))
    return loss.with_gradient


def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    lengths: ArrayLike | None = None,
    class_weight: ClassWeight = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    sample_weight: Any = None,
) -> tuple[float, Array]:
    """-log softmax(x)[t] for logits x and label t, as CrossEntropyLoss of PyTorch.

    Args:
        logits: (N, C) or (N, T, C).
        targets: integers (N,) or (N, T) in 0..C-1.
        lengths: (N,) integers: steps beyond do not count, and their gradient is zero. For predictions per step.
        class_weight: a weight per label, {label: weight} (others 1) or (C,); the mean is then the weighted one.
        ignore_index: a target that does not count.
        label_smoothing: in 0..1, the share of the target that all labels have in common (Szegedy et al. 2016).
        sample_weight: (N,) or (N, T), from 0, times those of labels.

    Returns:
        The tuple (mean, gradient) of the mean over what counts, 0 if nothing does, and its gradient, shaped like
        logits.

    Raises TypeError or ValueError, naming the argument.
    """
    loss = ce_loss(
        logits, targets, lengths, class_weight=class_weight, ignore_index=ignore_index,
        label_smoothing=label_smoothing, sample_weight=checked_weights(sample_weight),
    )  # fmt: skip
    return loss.with_gradient


def bce_loss(
    logits: ArrayLike,
    targets: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    class_weight: ClassWeight = None,
    need_gradient: bool = True,
    sample_weight: Any = None,
) -> Loss:
    """`binary_cross_entropy` as a `Loss`."""
    x = float_array("logits", logits)
    t = targets_like("logits", x, targets)
    weights = weighted(counted(x.shape, lengths, x.dtype), sample_weight)
    if lengths is not None:
        t = np.where(weights != 0, t, x.dtype.type(0))  # what does not count may be anything, NaN included
    if t.size and not (t.min() >= 0 and t.max() <= 1):
        raise ValueError("targets must lie in 0..1")
    e = np.exp(-np.abs(x))
    losses = np.maximum(x, 0) - x * t + np.log1p(e)
    if class_weight is not None:
        zero, one = weight_array(class_weight, 2, x.dtype)
        weights = weights * (zero + (one - zero) * t)
    weight = float(weights.sum(dtype=np.float64))
    total = float(product(losses, weights).sum(dtype=np.float64))
    gradient = None
    if need_gradient:
        sigmoid = np.where(x >= 0, 1, e) / (1 + e)
        gradient = product((sigmoid - t).astype(x.dtype, copy=False), weights * x.dtype.type(inverse(weight)))
    return Loss(total, weight, gradient)


def ce_loss(
    logits: ArrayLike,
    targets: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    class_weight: ClassWeight = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    need_gradient: bool = True,
    sample_weight: Any = None,
) -> Loss:
    """`cross_entropy` as a `Loss`."""
    x = float_array("logits", logits)
    if x.ndim < 2 or x.shape[-1] < 1:
        raise ValueError(f"logits must have shape (N, C) or (N, T, C) with C from 1, got {x.shape}")
    ignore_index = _checks.integer("ignore_index", ignore_index, minimum=-(2**63), maximum=2**64 - 1)
    classes = x.shape[-1]
    labels, counts = counted_labels(targets, x, classes, lengths, ignore_index, "column of logits")
    safe = np.where(counts, labels, 0).reshape(-1)
    weights = counts.reshape(-1).astype(x.dtype)
    of_row = None if sample_weight is None else weighted(np.ones(labels.shape, x.dtype), sample_weight).reshape(-1)
    if of_row is not None:
        weights *= of_row
    of_class = None if class_weight is None else weight_array(class_weight, classes, x.dtype)
    if of_class is not None:
        weights *= of_class[safe]
    weight = float(weights.sum(dtype=np.float64))
    if smoothing := _checks.probability("label_smoothing", label_smoothing):
        counts = counts.reshape(-1) if of_row is None else counts.reshape(-1) & (of_row != 0)
        return _smoothed(x, safe, weights, counts, of_class, weight, smoothing, need_gradient, of_row)
    scale = weights * x.dtype.type(inverse(weight))
    rows = x.reshape(-1, classes)
    gradient = np.empty(rows.shape, x.dtype) if need_gradient else None
    total, block = 0.0, max(1, _BLOCK // classes)
    for start in range(0, len(rows), block):
        part = slice(start, start + block)
        some = rows[part]
        if not weights[part].all():  # what does not count may be anything, NaN included
            some = np.where(weights[part, None] != 0, some, x.dtype.type(0))
        out = None if gradient is None else gradient[part]
        shifted = np.subtract(some, some.max(axis=1, keepdims=True), out=out)
        at = np.arange(len(shifted)), safe[part]
        chosen = shifted[at]
        np.exp(shifted, out=shifted)
        sums = shifted.sum(axis=1)
        total += float(np.sum((np.log(sums) - chosen) * weights[part], dtype=np.float64))
        if out is not None:
            out *= (scale[part] / sums)[:, None]
            out[at] -= scale[part]
    return Loss(total, weight, None if gradient is None else gradient.reshape(x.shape))


def _smoothed(
    x: Array,
    labels: NDArray[Any],
    weights: Array,
    counts: Array,
    of_class: Array | None,
    weight: float,
    smoothing: float,
    need_gradient: bool,
    of_row: Array | None,
) -> Loss:
    """With labels, weights and counts of every row, the weights of the classes, and of rows, which `weights` has in
    it."""
    classes = x.shape[-1]
    rows = x.reshape(-1, classes)[counts]
    share = np.full(classes, smoothing / classes) if of_class is None else of_class * (smoothing / classes)
    if of_row is not None:
        share = share * of_row[counts, None]  # (R, C)
    of_label, at = weights[counts] * (1.0 - smoothing), (np.arange(len(rows)), labels[counts])
    log_p = rows - rows.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    total = -float(np.sum(of_label * log_p[at], dtype=np.float64) + np.sum(share * log_p, dtype=np.float64))
    gradient: Any = None
    if need_gradient:
        gradient = np.zeros((len(counts), classes), x.dtype)
        d = np.exp(log_p) * (of_label + share.sum(axis=-1))[:, None] - share
        d[at] -= of_label
        gradient[counts] = d * inverse(weight)
        gradient = gradient.reshape(x.shape)
    return Loss(total, weight, gradient)


def label_array(targets: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """Labels as int64 of exactly `shape`, unsigned ones as uint64: none becomes another one."""
    labels = array_of("targets", targets)
    if labels.dtype.kind not in "iu" and labels.size:
        raise TypeError(f"targets must be labels, integers, got dtype {labels.dtype}")
    if labels.shape != shape:
        raise ValueError(f"targets must have shape {shape}, one label per prediction, got {labels.shape}")
    return labels.astype(np.uint64 if labels.dtype.kind == "u" else np.int64)


def counted_labels(
    targets: ArrayLike, x: Array, classes: int, lengths: ArrayLike | None, ignore_index: int, each: str
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The labels of x (.., anything), and which of them count, all of which are in 0..classes-1. each: what has one."""
    labels = label_array(targets, x.shape[:-1])
    counts = (counted(labels.shape, lengths, x.dtype) != 0) & (labels != ignore_index)
    check_labels(labels[counts], classes, each)
    return labels, counts


def check_labels(labels: NDArray[Any], classes: int, each: str) -> None:
    """Raises ValueError unless all are in 0..classes-1. each: what has one."""
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise ValueError(f"targets must be labels in 0..{classes - 1}, one per {each}, got {wrong}")


def weight_array(class_weight: ClassWeight, classes: int, dtype: np.dtype[Any]) -> Array:
    """Class weights as an array (classes,)."""
    if isinstance(class_weight, Mapping):
        weights = np.ones(classes, dtype)
        for label, value in class_weight.items():
            number = _checks.integer("a label of class_weight", label, minimum=0)
            if number >= classes:
                raise ValueError(f"class_weight names label {number}, but labels are 0..{classes - 1}")
            weights[number] = _checks.non_negative(f"class_weight[{number}]", value)
    else:
        weights = real_array("class_weight", class_weight, dtype)
        if weights.shape != (classes,):
            raise ValueError(f"class_weight must have shape ({classes},), one weight per label, got {weights.shape}")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("class_weight must hold finite numbers from 0")
    return weights
