"""Connectionist temporal classification: sequences of labels, without saying at which steps they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _arrays, _checks, _core
from .._arrays import Array
from .loss import Loss, checked_weights, inverse, spread

_INT64 = np.dtype(np.int64)


def ctc_loss(
    logits: ArrayLike,
    targets: Any,
    lengths: ArrayLike | None = None,
    target_lengths: ArrayLike | None = None,
    blank: int = 0,
    zero_infinity: bool = False,
    *,
    sample_weight: Any = None,
) -> tuple[float, Array]:
    """-log p(target) of connectionist temporal classification: labels, without saying at which steps they are.

    A path takes a class at every step. It reads as what is left of it once repeats are joined and then blanks taken
    out: with blank 0 the path 0 1 1 0 1 2 2 reads as 1 1 2. The probability of a target is the sum of those of all
    paths that read as it, each the product of its steps' softmax (Graves et al. 2006; in the notation of Graves 2012,
    chapter 7). It is computed in logarithms and float64, value and gradient in one pass over the logits.

    The loss of a sequence is divided by the number of its labels, at least 1; the value is the mean of these over the
    sequences, as CTCLoss of PyTorch (which takes the softmax's logarithm, time first) with reduction "mean".

    A target that its logits have no path for, with fewer steps than it has labels and pairs of equal neighbours, has an
    infinite loss, and the gradient to its steps is NaN.

    Args:
        logits: (N, T, C), C classes, of which one is the blank; float32, float64, or what converts to float32.
        targets: a list of N sequences of integers of any lengths, 0 too, or an array (N, S): labels in 0..C-1 but the
            blank.
        lengths: (N,) integers: steps beyond do not count, and their gradient is zero. None: all T.
        target_lengths: (N,) integers: labels beyond do not count and may be anything. For an array; None: all S.
        blank: the class of "no label here".
        zero_infinity: infinite losses and their gradients are 0.
        sample_weight: (N,), from 0; the mean is then the weighted one.

    Returns:
        The tuple (mean, gradient) of the mean over the sequences, 0 of none, and its gradient, shaped like logits.

    Raises TypeError or ValueError, naming the argument.

    >>> value, d_logits = pylstm.ctc_loss(np.zeros((1, 3, 2)), [[1]])
    >>> round(float(np.exp(-value)), 4)                         # of 8 paths 001 010 100 011 110 111
    0.75
    """
    loss = ctc_loss_of(
        logits, targets, lengths, target_lengths=target_lengths, blank=blank, zero_infinity=zero_infinity,
        sample_weight=checked_weights(sample_weight),
    )  # fmt: skip
    return loss.mean, loss.gradient


def ctc_loss_of(
    logits: ArrayLike,
    targets: Any,
    lengths: ArrayLike | None = None,
    *,
    target_lengths: ArrayLike | None = None,
    blank: int = 0,
    zero_infinity: bool = False,
    need_gradient: bool = True,
    sample_weight: Any = None,
) -> Loss:
    """`ctc_loss` as a `Loss`."""
    x = logit_array(logits)
    count, steps, classes = x.shape
    blank = blank_class(blank, classes)
    zero_infinity = _checks.flag("zero_infinity", zero_infinity)
    labels, number = flat_labels(targets, count, target_lengths)
    check_ctc_labels(labels, number, classes, blank)
    own = np.full(count, steps, _INT64) if lengths is None else _arrays.length_array(lengths, steps, count)
    weights = np.ones(count)
    if sample_weight is not None:
        weights *= spread(sample_weight, (count,))
    weight = float(weights.sum())
    shares = weights / np.maximum(number, 1)  # of the losses in their sum
    scale = shares * inverse(weight)
    labels = labels.astype(_INT64)
    losses, gradient = _core.ctc(x, own, labels, number, blank, scale, zero_infinity, need_gradient, None)
    with np.errstate(over="ignore", invalid="ignore"):
        return Loss(float((losses * shares).sum()), weight, gradient)


def logit_array(logits: ArrayLike) -> Array:
    """`logits` as a normalised array (N, T, C)."""
    x = _arrays.float_array("logits", logits)
    if x.ndim != 3 or x.shape[2] < 1:
        raise ValueError(f"logits must have shape (N, T, C) with C from 1, got {x.shape}")
    return x


def blank_class(blank: object, classes: int) -> int:
    """`blank` as one of so many classes."""
    number = _checks.integer("blank", blank, minimum=0)
    if number >= classes:
        raise ValueError(f"blank must be a class in 0..{classes - 1}, got {number}")
    return number


def flat_labels(
    targets: Any, count: int, target_lengths: ArrayLike | None = None
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The labels of all sequences one behind the other, and how many each has; in memory that nobody else has.

    Of whatever integers: none becomes another one before it is looked at.
    """
    if target_lengths is not None or isinstance(targets, np.ndarray) or not isinstance(targets, (list, tuple)):
        array = _arrays.array_of("targets", targets)
        if array.ndim != 2:
            raise ValueError(
                f"targets must be a list of sequences of labels or an array (N, S), got an array of shape {array.shape}"
            )
        if len(array) != count:
            raise ValueError(f"targets must hold {count} sequences, one for each of the logits, got {len(array)}")
        array = _integers("targets", array)
        if target_lengths is None:
            return array.reshape(-1).copy(), np.full(count, array.shape[1], _INT64)
        number = _target_lengths(target_lengths, array.shape[1], count)
        return array[np.arange(array.shape[1]) < number[:, None]], number
    if len(targets) != count:
        raise ValueError(f"targets must hold {count} sequences, one for each of the logits, got {len(targets)}")
    items = []
    for i, given in enumerate(targets):
        item = _arrays.array_of(f"targets[{i}]", given)
        if item.ndim != 1:
            raise ValueError(f"targets[{i}] must be a sequence of labels, got shape {item.shape}")
        items.append(_integers(f"targets[{i}]", item))
    number = np.array([len(item) for item in items], _INT64)
    parts = [item for item in items if len(item)]
    if len({item.dtype.kind for item in parts}) > 1:  # signed and unsigned ones together would become floats
        parts = [_signed(item) for item in parts]
    return np.concatenate(parts) if parts else np.zeros(0, _INT64), number


def _integers(name: str, array: Array) -> Array:
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{name} must hold labels, integers, got dtype {array.dtype}")
    return array if array.dtype.kind in "iu" else array.astype(_INT64)


def _signed(array: Array) -> Array:
    """As int64; what it does not hold becomes a label that there is not."""
    if array.dtype.kind == "u":
        array = np.minimum(array, array.dtype.type(min(2**63 - 1, np.iinfo(array.dtype).max)))
    return array.astype(_INT64)


def _target_lengths(value: ArrayLike, most: int, count: int) -> NDArray[np.int64]:
    array = _arrays.array_of("target_lengths", value, "a plain array of integers")
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"target_lengths must be integers, got dtype {array.dtype}")
    if array.shape != (count,):
        raise ValueError(f"target_lengths must have shape ({count},), one per sequence, got {array.shape}")
    array = array.copy()
    if count and not (int(array.min()) >= 0 and int(array.max()) <= most):
        raise ValueError(f"target_lengths must lie in 0..{most}, got {int(array.min())}..{int(array.max())}")
    return np.array(array, dtype=_INT64, order="C")


def check_ctc_labels(labels: NDArray[Any], number: NDArray[np.int64], classes: int, blank: int) -> None:
    """Raises ValueError unless all are in 0..classes-1 and none the blank, naming the first that is not."""
    if not labels.size or (labels.min() >= 0 and labels.max() < classes and not (labels == blank).any()):
        return
    at = int(np.flatnonzero((labels < 0) | (labels >= classes) | (labels == blank))[0])
    place = int(np.searchsorted(np.cumsum(number), at, side="right"))
    step = at - int(number[:place].sum())
    what = f"the blank, {blank}" if labels[at] == blank else str(labels[at])
    raise ValueError(
        f"targets must be labels in 0..{classes - 1} but the blank {blank}, one column of logits each, got {what} in "
        f"targets[{place}] at place {step}"
    )
