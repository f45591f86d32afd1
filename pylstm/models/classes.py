"""From outputs to classes: what `predict_classes` makes of them."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from .. import _checks
from .._arrays import Array
from .._names import of_library
from ..losses.by_name import evaluated_as, named

_ONE_OF_MANY, _EACH = "cross_entropy", "binary_cross_entropy"


class Classes:
    """Of outputs (.., K): the number of the largest, or of each whether it is on."""

    def __init__(self, loss: object, threshold: float | None, probabilities: bool = False) -> None:
        """loss: what the model was trained with; None, or somebody's own: the outputs tell, one alone is on or off, and
        of several one is the largest. threshold: a probability; given, each output is decided alone. probabilities: the
        outputs are some, and no logits.

        Raises TypeError or ValueError for another threshold, ValueError for a loss that is not of classes.
        """
        self._kind = _kind(loss)
        self._each_alone = threshold is not None or self._kind == _EACH
        share = 0.5 if threshold is None else _checks.probability("threshold", threshold)
        if threshold is not None and self._kind == _ONE_OF_MANY:
            raise ValueError(
                "threshold is for outputs that are decided each alone, of binary_cross_entropy: this model was trained "
                "with cross_entropy, and its class is the largest output"
            )
        # of the logit; at one half it is 0, which no rounding of a sigmoid moves
        logit = math.log(share / (1 - share)) if 0 < share < 1 else math.copysign(math.inf, share - 0.5)
        self._least = share if probabilities else logit

    def __call__(self, y: Array) -> Array:
        """(..) integers; where each is decided alone (.., K), or (..) where K is 1."""
        if y.dtype.kind != "f":
            raise TypeError(f"predict_classes takes outputs that are numbers for each class, and these are {y.dtype}")
        if np.isnan(y).any():
            raise FloatingPointError("the outputs hold NaN, which is no class: predict gives them as they are")
        if y.ndim > 1 and y.shape[-1] == 0:
            return np.zeros(y.shape[:-1], np.int64)
        one = y.ndim == 1 or y.shape[-1] == 1
        if self._each_alone or (one and self._kind is None):
            on = (y > self._least).astype(np.int64)
            return on[..., 0] if y.ndim > 1 and one else on
        if y.ndim == 1:
            raise ValueError("the model gives one number for each sequence, and none for each class")
        return np.asarray(y.argmax(axis=-1), np.int64)


def _kind(loss: object) -> str | None:
    """The loss' name if it is one of classes; None if nobody can know."""
    loss = evaluated_as(loss)
    while isinstance(loss, partial):
        loss = loss.func
    loss = named(loss)[0]
    if loss in (_ONE_OF_MANY, _EACH):
        return str(loss)
    if loss == "ctc":
        raise ValueError("this model was trained with ctc: pylstm.ctc_decode(model.predict(x)) gives its labels")
    maker = loss if getattr(loss, "__module__", None) else type(loss)
    if loss is None or not (isinstance(loss, str) or of_library(maker)):
        return None
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    raise ValueError(
        f"this model was trained with {name}, which is not of classes: predict gives its numbers. (Of classes are "
        "cross_entropy and binary_cross_entropy, and what a loss of your own is for is yours to know.)"
    )
