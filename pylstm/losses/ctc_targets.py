"""Labels without places, as `fit` is given them: what a batch of them is, and what is looked at before training."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import Array
from .targets import Form, labels_of, shown


def label_lists(targets: Array, own: NDArray[np.int64] | None) -> list[Array]:
    """The labels (S_i,) of each sequence of a padded batch. own: how many each has; None: all."""
    whole = labels_of(targets, "labels") if targets.dtype.kind == "f" else targets
    if own is None:
        return list(whole)
    return [row[:count] for row, count in zip(whole, own, strict=True)]


def check_label_lists(part: Any, outputs: Form, blank: int) -> None:
    """Raises TypeError or ValueError unless `part` (a `Counted`) holds sequences of labels, each one of the classes of
    the outputs (N, T, C) but the blank."""
    if len(outputs) != 3:
        raise ValueError(f"ctc needs an output (N, T, C) of the model, classes at every step, got {shown(outputs)}")
    if len(part.form) != 2:
        raise ValueError(
            f"{part.name} must hold a sequence of labels for each input, a list of lists or an array (N, S), got "
            f"{part.shown}"
        )
    classes = outputs[2]
    if classes is not None and blank >= classes:
        raise ValueError(f"blank must be a class in 0..{classes - 1}, got {blank}")
    failed = None
    try:
        if not any(len(_wrong(_labels(piece), classes, blank)) for piece in part.pieces()):
            return
    except TypeError as error:
        failed = error  # one of the targets does the same, and is named
    for i in range(len(part)):
        labels = _labels(part.one(i), f"{part.name}[{i}]")
        if len(at := _wrong(labels, classes, blank)):
            what = f"the blank, {blank}" if labels[at[0]] == blank else str(labels[at[0]])
            known = "" if classes is None else f" in 0..{classes - 1}"
            raise ValueError(
                f"targets must be labels{known} but the blank {blank}, one column of logits each, got {what} in "
                f"{part.name}[{i}] at place {at[0]}"
            )
    if failed is not None:
        raise failed


def _labels(piece: Array, name: str = "") -> Array:
    return labels_of(piece.reshape(-1), "labels", None, name)


def _wrong(labels: Array, classes: int | None, blank: int) -> NDArray[np.intp]:
    beyond = np.zeros(len(labels), np.bool_) if classes is None else labels >= classes
    return np.flatnonzero((labels < 0) | beyond | (labels == blank))


def check_room(part: Any, steps: NDArray[np.int64], counts: Any = None) -> None:
    """Raises ValueError for the first target that needs more steps than the outputs for its input have.

    steps: (N,); counts: (N,), whether a sequence counts, or None.
    """
    for i in range(len(part)):
        labels = part.one(i)
        equal = int((labels[1:] == labels[:-1]).sum())
        if len(labels) + equal > steps[i] and (counts is None or counts[i]):
            pairs = f" and {equal} pair{'s' if equal > 1 else ''} of equal neighbours" if equal else ""
            raise ValueError(
                f"{part.name}[{i}] has {len(labels)} labels{pairs}, which need at least {len(labels) + equal} steps, "
                f"and the output for its input has {steps[i]}: leave it out, or give loss=CTC(zero_infinity=True), "
                "which trains nothing with it"
            )
