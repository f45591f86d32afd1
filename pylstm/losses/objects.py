"""Losses with options, as objects: for `fit(loss=)`, and to be called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._arrays import Array
from .classification import IGNORED, ce_loss
from .ctc import ctc_loss_of
from .loss import Loss, checked_weights
from .regression import huber_loss, quantile_loss


class LossObject:
    """A loss of the library's with options. Two with equal options are equal; none changes.

    Called as (outputs, targets, *, lengths=None, sample_weight=None) it returns value and gradient.
    """

    _name: ClassVar[str]  # among the losses by name
    _options: dict[str, Any]

    @property
    def name(self) -> str:
        """What it is called as a metric."""
        return self._name

    def __call__(
        self, outputs: ArrayLike, targets: ArrayLike, *, lengths: ArrayLike | None = None, sample_weight: Any = None
    ) -> tuple[float, Array]:
        """Value and gradient, as of the function of that name."""
        return self._loss(outputs, targets, lengths, sample_weight=checked_weights(sample_weight)).with_gradient

    def _loss(self, outputs: Any, targets: Any, lengths: Any, **options: Any) -> Loss:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._options == self._options

    def __hash__(self) -> int:
        return hash((type(self), *self._options.items()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._options.items())})"


class CrossEntropy(LossObject):
    """`cross_entropy` with options: `fit(loss=CrossEntropy(label_smoothing=0.1))`.

    Args:
        label_smoothing: in 0..1, the share of the target that all labels have in common (Szegedy et al. 2016).
        ignore_index: a label that does not count.

    Raises TypeError or ValueError, naming the argument.

    >>> value, gradient = pylstm.CrossEntropy(label_smoothing=0.1)(np.zeros((2, 3)), [0, 2])
    >>> round(value, 4)
    1.0986
    """

    _name = "cross_entropy"

    def __init__(self, *, label_smoothing: float = 0.0, ignore_index: int = IGNORED) -> None:
        self._options = {
            "label_smoothing": _checks.probability("label_smoothing", label_smoothing),
            "ignore_index": _checks.integer("ignore_index", ignore_index, minimum=-(2**63), maximum=2**64 - 1),
        }

    def _loss(self, outputs: Any, targets: Any, lengths: Any, **options: Any) -> Loss:
        return ce_loss(outputs, targets, lengths, **self._options, **options)


class CTC(LossObject):
    """`ctc_loss` with options: `fit(loss=CTC(blank=10))`.

    Args:
        blank: the class of "no label here".
        zero_infinity: targets that their input is too short for have a loss and a gradient of 0. Without it, `fit`
            refuses them.

    Raises TypeError or ValueError, naming the argument.

    >>> value, gradient = pylstm.CTC(blank=1)(np.zeros((1, 3, 2)), [[0]])
    >>> round(float(np.exp(-value)), 4)
    0.75
    """

    _name = "ctc"

    def __init__(self, blank: int = 0, *, zero_infinity: bool = False) -> None:
        self._options = {
            "blank": _checks.integer("blank", blank, minimum=0, maximum=2**62),
            "zero_infinity": _checks.flag("zero_infinity", zero_infinity),
        }

    def __call__(
        self,
        outputs: ArrayLike,
        targets: Any,
        *,
        lengths: ArrayLike | None = None,
        target_lengths: ArrayLike | None = None,
        sample_weight: Any = None,
    ) -> tuple[float, Array]:
        """Value and gradient, as of `ctc_loss`."""
        weights = checked_weights(sample_weight)
        loss = self._loss(outputs, targets, lengths, target_lengths=target_lengths, sample_weight=weights)
        return loss.mean, loss.gradient

    def _loss(self, outputs: Any, targets: Any, lengths: Any, **options: Any) -> Loss:
        return ctc_loss_of(outputs, targets, lengths, **self._options, **options)


class Huber(LossObject):
    """`huber` with another `delta`: squared below it, and growing like the absolute error beyond.

    Args:
        delta: above 0, in the unit of the targets.

    Raises TypeError or ValueError, naming the argument.
    """

    _name = "huber"

    def __init__(self, delta: float = 1.0) -> None:
        self._options = {"delta": _checks.positive("delta", delta)}

    def _loss(self, outputs: Any, targets: Any, lengths: Any, **options: Any) -> Loss:
        return huber_loss(outputs, targets, lengths, **self._options, **options)


class QuantileLoss(LossObject):
    """The quantile loss (pinball loss), least where a share q of the targets lies below the prediction.

    The mean of max(q d, (q - 1) d), with d = target - prediction (Koenker & Bassett 1978). q = 0.5 is the median, where
    it is half the mean absolute error. Of several quantiles the model's last layer gives a column for each, in their
    order, and the targets have none: (N,) or (N, 1) for outputs (N, Q), (N, T) or (N, T, 1) per step.

    Args:
        q: above 0 and below 1, or several of them.

    Raises TypeError or ValueError, naming the argument.

    >>> value, gradient = pylstm.QuantileLoss(0.9)([1.0, 3.0], [2.0, 2.0])
    >>> round(value, 4)                                         # (0.9 * 1 + 0.1 * 1) / 2
    0.5
    """

    _name = "quantile"

    def __init__(self, q: float | ArrayLike = 0.5) -> None:
        several = isinstance(q, (list, tuple, np.ndarray)) and np.ndim(q) > 0
        given = list(q) if several else [q]  # type: ignore[arg-type]
        if not given:
            raise ValueError("q must hold at least one quantile")
        found = tuple(_checks.probability("q", one) for one in given)
        if not all(0.0 < one < 1.0 for one in found):
            raise ValueError(f"q must be above 0 and below 1, got {q!r}")
        self._options = {"q": found if several else found[0]}

    @property
    def name(self) -> str:
        """What it is called as a metric."""
        q = self._options["q"]
        return "_".join(["quantile", *(f"{one:g}" for one in (q if isinstance(q, tuple) else (q,)))])

    def _loss(self, outputs: Any, targets: Any, lengths: Any, **options: Any) -> Loss:
        return quantile_loss(outputs, targets, lengths, **self._options, **options)


_CLASSES: dict[str, type[LossObject]] = {kind._name: kind for kind in (CrossEntropy, CTC, Huber, QuantileLoss)}


def as_form(loss: LossObject) -> dict[str, Any] | None:
    """As a file holds it; None of a class of somebody's own."""
    if _CLASSES.get(loss._name) is not type(loss):
        return None
    return {"name": loss._name} | {k: list(v) if isinstance(v, tuple) else v for k, v in loss._options.items()}


def from_form(form: Mapping[str, Any]) -> LossObject:
    """Of what a file holds. Raises TypeError, ValueError or KeyError if that is none."""
    options = dict(form)
    name = options.pop("name")
    if isinstance(options.get("q"), list) and len(options["q"]) > 2**16:
        raise ValueError("too many quantiles")
    return _CLASSES[name](**options)
