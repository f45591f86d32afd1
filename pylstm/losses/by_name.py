"""A loss as `fit` and `evaluate` take it: a name, one of the library's functions, or a function like them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .. import _checks
from .._arrays import Array, real_gradient
from .classification import ClassWeight, bce_loss, binary_cross_entropy, ce_loss, cross_entropy
from .loss import Loss
from .regression import mse, mse_loss

LossFunction = Callable[..., Loss]
BY_NAME: dict[str, LossFunction] = {"binary_cross_entropy": bce_loss, "cross_entropy": ce_loss, "mse": mse_loss}


def loss_function(loss: object, class_weight: ClassWeight = None) -> LossFunction:
    """`loss` as fit takes it (a name, a function of the library's or one like them), for (y, targets, lengths).

    A function of one's own is called as loss(y, targets, lengths=lengths) and returns value and gradient; its values
    are averaged over batches by their number of sequences.
    """
    for function in (binary_cross_entropy, cross_entropy, mse):
        if loss is function:
            loss = function.__name__
    if isinstance(loss, str):
        known = BY_NAME[_checks.choice("loss", loss, tuple(BY_NAME))]
        if class_weight is None:
            return known
        if loss == "mse":
            raise ValueError("class_weight is for classification, not for mse")
        return partial(known, class_weight=class_weight)
    if not callable(loss) or isinstance(loss, type):
        raise TypeError(f"loss must be a name or a function, got {_checks.kind(loss)}")
    if class_weight is not None:
        raise ValueError("class_weight is for the library's own losses: a loss function of yours weighs by itself")
    own: Callable[..., Any] = loss

    def wrapped(y: Array, targets: Any, lengths: Any = None, *, need_gradient: bool = True) -> Loss:  # noqa: ARG001
        found = own(y, targets, lengths=lengths)
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise TypeError(f"the loss function must return (value, gradient), got {_checks.kind(found)}")
        try:
            value = float(found[0])
        except (TypeError, ValueError):
            raise TypeError(
                f"the loss function must return a number and its gradient, got {_checks.kind(found[0])} for the number"
            ) from None
        gradient = real_gradient(found[1], "the loss function's gradient")
        if gradient.shape != y.shape:
            raise ValueError(
                f"the loss function's gradient must have the output's shape {y.shape}, got {gradient.shape}"
            )
        return Loss(value * len(y), float(len(y)), gradient)

    return wrapped


# ---- arguments -------------------------------------------------------------------------------------------------------
