"""Weights that make up for classes of different size."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _checks
from ..losses.targets import labels_of
from .counted import Counted


def balanced(word: str, part: Counted, per_step: bool | None, *, one_of_many: bool) -> dict[int, float]:
    """Weights N / (classes · count), as scikit-learn's "balanced".

    part: the targets; per_step: whether there is a label for each step, None: either; one_of_many: whether they may be
    one-hot, or have a last axis of 1.
    """
    _checks.choice("class_weight", word, ("balanced",))
    axes = 2 if per_step or part.has_steps else 1
    kind = "labels"
    if one_of_many and len(part.form) > axes and per_step is not None:
        kind = "column" if part.form[-1] == 1 else "one-hot"
    try:
        found: list[Any] = [np.ravel(labels_of(piece, kind)) for piece in part.pieces()]
    except (TypeError, ValueError) as error:
        raise ValueError(f"class_weight='balanced' needs labels in y, integers from 0: {error}") from error
    labels = np.concatenate(found) if found else np.zeros(0, np.int64)
    counted = labels[labels >= 0]
    if not len(counted):
        raise ValueError("class_weight='balanced' needs labels in y, integers from 0")
    names, counts = np.unique(counted, return_counts=True)
    return {int(name): len(labels) / (len(names) * int(count)) for name, count in zip(names, counts, strict=True)}
