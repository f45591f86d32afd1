"""The loss ctc in training: what a batch of labels without places is, and what is looked at before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import Array
from .ctc import ctc_loss_of
from .loss import Loss, one_output
from .loss_function import LossFunction
from .targets import Form, labels_of, shown
from .weighted import apart


class CtcFunction(LossFunction):
    """`ctc_loss` with options; its targets are lists of labels."""

    name = "ctc"
    takes_logits = True
    without_places = True
    wants = frozenset(("target_lengths",))

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    def __call__(
        self,
        y: Any,
        targets: Any,
        lengths: Any = None,
        *,
        need_gradient: bool = True,
        need_largest: bool = False,  # noqa: ARG002
        more: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> Loss:
        one_output(self.name, y)
        labels, weights = apart(targets)
        return ctc_loss_of(y, labels, lengths, need_gradient=need_gradient, sample_weight=weights, **self.options)

    def check_outputs(self, outputs: Any) -> None:
        one_output(self.name, outputs)

    def check_targets(self, form: Form, part: Any) -> None:
        check_label_lists(part, form, self.options.get("blank", 0))

    def check_room(self, part: Any, steps: NDArray[np.int64], counts: Any) -> None:
        if not self.options.get("zero_infinity", False):
            check_room(part, steps, counts)


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
