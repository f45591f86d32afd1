"""Targets in the forms that people have them in, as the losses take them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import Array
from .classification import weight_array
from .loss import counted

Form = tuple[int | None, ...]  # None: any size


def fits(form: Form, wanted: Form) -> bool:
    return len(form) == len(wanted) and all(a is None or b is None or a == b for a, b in zip(form, wanted, strict=True))


def label_form(form: Form, outputs: Form) -> str | None:
    """How targets of this form name a class for each of the logits (.., C): "labels" (..), "column" (.., 1), "one-hot"
    (.., C), or None."""
    lead, classes = outputs[:-1], outputs[-1]
    if fits(form, lead):
        return "labels"
    if fits(form, (*lead, 1)):
        return "column"
    return "one-hot" if fits(form, (*lead, classes)) else None


def labels_of(targets: Array, kind: str | None, inside: Array | None = None, name: str = "") -> Array:
    """Integer labels of targets in one of the ways of `label_form`: floats if they are whole.

    inside: 1 where a label counts; what stands elsewhere may be anything. name: where they come from. Raises TypeError
    or ValueError.
    """
    place = f" in {name}" if name else ""
    if kind == "column":
        targets = targets[..., 0]
    elif kind == "one-hot":
        labels: Array = targets.argmax(axis=-1)
        right = ((targets == 0) | (targets == 1)).all(axis=-1) & ((targets == 1).sum(axis=-1) == 1)
        if not _all(right, inside):
            missing = (targets[..., 0] < 0) & (targets == targets[..., :1]).all(axis=-1)  # of what does not count
            labels, right = np.where(missing, targets[..., 0], labels).astype(np.int64), right | missing
        if not _all(right, inside):
            wrong = targets[~right if inside is None else ~right & (inside != 0)][0]
            raise ValueError(
                f"targets must be labels, or one-hot, a single 1 among zeros for each of them, got "
                f"{np.array2string(wrong, threshold=8)}{place}"
            )
        return labels
    if targets.dtype.kind == "b":
        return targets.astype(np.int64)
    if targets.dtype.kind != "f":
        return targets
    with np.errstate(invalid="ignore"):
        right = (targets == np.floor(targets)) & (np.abs(targets) < 2**63)
        if not _all(right, inside):
            wrong = targets[~right if inside is None else ~right & (inside != 0)].ravel()[0]
            raise TypeError(
                f"targets must be labels, integers or floats that are whole, got {wrong} of dtype {targets.dtype}"
                f"{place}"
            )
        return np.where(right, targets, 0).astype(np.int64)


def _all(right: Array, inside: Array | None) -> bool:
    return bool(right.all() if inside is None else right[inside != 0].all())


def as_labels(targets: Any, outputs: tuple[int, ...], lengths: Any) -> Any:
    """The targets of a batch as integer labels (..) for logits (.., C); whatever does not fit them as it is."""
    if type(targets) is not np.ndarray or (targets.dtype.kind in "iu" and targets.shape == outputs[:-1]):
        return targets
    kind = label_form(targets.shape, outputs)
    if kind is None:
        return targets
    lead = outputs[:-1]
    inside = None if lengths is None or len(lead) < 2 else counted(lead, lengths, np.dtype(np.float32))
    return labels_of(targets, kind, inside)


def as_numbers(targets: Any, outputs: tuple[int, ...]) -> Any:
    """The targets of a batch in the shape of the outputs, if these hold them flat: (N, H, F) for (N, H * F)."""
    if type(targets) is np.ndarray and number_form(targets.shape, outputs) == "flat":
        return targets.reshape(outputs)
    return targets


def number_form(form: Form, outputs: Form) -> str | None:
    """How targets of this form give the numbers of the outputs: "same", "column" without their last axis of 1, "flat"
    where the outputs hold several axes in one, or None."""
    if fits(form, outputs):
        return "same"
    if outputs[-1:] == (1,) and fits(form, outputs[:-1]):
        return "column"
    lead = max(1, len(outputs) - 1)
    own, theirs = form[lead:], outputs[lead:]
    if len(form) <= len(outputs) or not fits(form[:lead], outputs[:lead]) or None in own or None in theirs:
        return None
    return "flat" if np.prod(own) == np.prod(theirs) else None  # type: ignore[arg-type]


# ---- all targets, before training ------------------------------------------------------------------------------------


def check_labels_of(part: Any, outputs: Form, ignore_index: int, class_weight: Any) -> None:
    """Raises TypeError or ValueError unless `part` (a `Counted`) names a class for each of the logits, whose form is
    `outputs`, and every class is one of theirs. class_weight: of so many classes, too."""
    kind, classes = label_form(part.form, outputs), outputs[-1]
    if kind is None:
        raise ValueError(
            f"{part.name} must hold targets, one label per prediction, shape {shown(outputs[:-1])}, or these one-hot, "
            f"{shown(outputs)}, got {part.shown}"
        )
    if classes is None:
        return
    if class_weight is not None:
        weight_array(class_weight, classes, np.dtype(np.float64))
    failed = None
    try:
        if not any(_outside(labels_of(piece, kind), classes, ignore_index).any() for piece in part.pieces()):
            return
    except (TypeError, ValueError) as error:
        failed = error  # one of the targets does the same, and is named
    for i in range(len(part)):
        labels = np.atleast_1d(labels_of(part.one(i)[None], kind, None, f"{part.name}[{i}]")[0])
        if (wrong := _outside(labels, classes, ignore_index)).any():
            step = f" at step {np.flatnonzero(wrong)[0]}" if len(outputs) > 2 else ""
            raise ValueError(
                f"targets must be labels in 0..{classes - 1}, one per column of logits, got {labels[wrong][0]} in "
                f"{part.name}[{i}]{step}"
            )
    if failed is not None:
        raise failed


def _outside(labels: Array, classes: int, ignore_index: int) -> Array:
    found: Array = ((labels < 0) | (labels >= classes)) & (labels != ignore_index)
    return found


def check_numbers_of(part: Any, outputs: Form, *, probabilities: bool) -> None:
    """Raises ValueError unless `part` (a `Counted`) holds a number for each of the outputs. probabilities: in 0..1."""
    if number_form(part.form, outputs) is None:
        raise ValueError(f"{part.name} must hold targets of the outputs' shape {shown(outputs)}, got {part.shown}")
    if not probabilities or all(_in_0_1(piece) for piece in part.pieces()):
        return
    i = next(i for i in range(len(part)) if not _in_0_1(part.one(i)))
    raise ValueError(f"{part.name} must hold targets in 0..1, got others in {part.name}[{i}]")


def _in_0_1(piece: Array) -> bool:
    return not piece.size or bool(piece.min() >= 0 and piece.max() <= 1)


def shown(form: Form) -> str:
    """A form as errors show it: (N, T, 3)."""
    names = iter(("N", "T"))
    return "(" + ", ".join(next(names, "any") if n is None else str(n) for n in form) + ",)"[len(form) > 1 :]
