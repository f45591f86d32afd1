"""A loss as `fit` and `evaluate` take it: a name, one of the library's functions, or a function like them."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from .. import _checks
from .._arrays import number_array
from ..layers.linear import LinearOutputs
from .classification import (
    IGNORED,
    ClassWeight,
    bce_loss,
    binary_cross_entropy,
    ce_loss,
    cross_entropy,
    weight_array,
)  # fmt: skip
from .linear_head import ce_of_linear
from .loss import Loss, one_output
from .regression import mse, mse_loss
from .sampled_softmax import SampledSoftmax, Sampling
from .targets import Form, as_labels, as_numbers, check_labels_of, check_numbers_of

# (outputs, targets, lengths=None, *, need_gradient=True, need_largest=False, more=None)
LossFunction = Callable[..., Loss]
BY_NAME: dict[str, LossFunction] = {"binary_cross_entropy": bce_loss, "cross_entropy": ce_loss, "mse": mse_loss}
OF_LINEAR: dict[str, LossFunction] = {"cross_entropy": ce_of_linear}  # of `LinearOutputs`
MORE = ("target_lengths", "input_lengths", "inputs", "mask")  # what a function of somebody's own gets if it names it


def loss_function(loss: object, class_weight: ClassWeight = None) -> LossFunction:
    """`loss` as fit takes it (a name, a function of the library's or one like them), for (y, targets, lengths).

    A function of one's own is called as loss(outputs, targets, lengths=lengths) and returns value and gradient; its
    values are averaged over batches by their number of sequences, or by a weight that it returns as a third. Those of
    `MORE` that are among its parameters it gets by name, too.
    """
    for function in (binary_cross_entropy, cross_entropy, mse):
        if loss is function:
            loss = function.__name__
    if isinstance(loss, str):
        _checks.choice("loss", loss, tuple(BY_NAME))
        if class_weight is None:
            return _Own(loss, {})
        if loss == "mse":
            raise ValueError("class_weight is for classification, not for mse")
        return _Own(loss, {"class_weight": class_weight})
    if isinstance(loss, SampledSoftmax):
        return Sampling(loss, class_weight)
    if not callable(loss) or isinstance(loss, type):
        raise TypeError(f"loss must be a name or a function, got {_checks.kind(loss)}")
    if class_weight is not None:
        raise ValueError("class_weight is for the library's own losses: a loss function of yours weighs by itself")
    return _Wrapped(loss)


def evaluated_as(loss: object) -> object:
    """What it is wherever nothing is trained: the loss itself, but for those that say otherwise."""
    return getattr(loss, "_evaluated_as", loss)


def wants(loss: LossFunction) -> frozenset[str]:
    """Those of `MORE` that it is given."""
    found: frozenset[str] = getattr(loss, "wants", frozenset())
    return found


def takes_linear(loss: LossFunction) -> bool:
    """Whether it can be called with `LinearOutputs`."""
    found: bool = getattr(loss, "takes_linear", False)
    return found


def sampling(loss: LossFunction) -> Sampling | None:
    """The loss if it draws at random in training; else None."""
    return loss if isinstance(loss, Sampling) else None


def fitted(loss: LossFunction, outputs: Any, targets: Any, lengths: Any) -> Any:
    """The targets of a batch as the loss takes them, of whatever form they were given in."""
    change = getattr(loss, "fitted", None)
    shape = shape_of(outputs)
    return targets if change is None or not shape else change(shape, targets, lengths)


def check_targets(loss: LossFunction, outputs: Any, form: Any, part: Any) -> None:
    """Raises TypeError or ValueError if the loss would refuse any of the targets in `part`, a `Counted`.

    outputs: of some sequences, or None; form: their shape, None for any size, or None where it is not known."""
    if isinstance(loss, (_Own, Sampling)) and outputs is not None:
        one_output("SampledSoftmax" if isinstance(loss, Sampling) else loss.name, outputs)
    check = getattr(loss, "check", None)
    if check is not None and form is not None and len(form) > 0:
        check(form, part)


def converts_targets(loss: LossFunction) -> bool:
    """Whether it computes with the targets in the dtype of the outputs."""
    return isinstance(loss, _Own) and loss.name == "mse"


def call_of(loss: LossFunction) -> tuple[Any, frozenset[str]] | None:
    """The function of somebody's own that the loss is, and what it is given by name beside the lengths; or None."""
    return (loss.function, loss.wants) if isinstance(loss, _Wrapped) else None


def shape_of(outputs: Any) -> tuple[int, ...]:
    """Of one output of a model; () of several."""
    if type(outputs) is LinearOutputs:
        return (*outputs.x.shape[:-1], len(outputs.weight))
    shape: tuple[int, ...] = getattr(outputs, "shape", ())
    return shape


class _Own:
    """A loss of the library's: of one output."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.name, self.options, self.takes_linear = name, options, name in OF_LINEAR

    def fitted(self, shape: tuple[int, ...], targets: Any, lengths: Any) -> Any:
        return as_labels(targets, shape, lengths) if self.name == "cross_entropy" else as_numbers(targets, shape)

    def check(self, form: Form, part: Any) -> None:
        if self.name == "cross_entropy":
            check_labels_of(part, form, IGNORED, self.options.get("class_weight"))
            return
        check_numbers_of(part, form, probabilities=self.name == "binary_cross_entropy")
        if self.options:
            weight_array(self.options["class_weight"], 2, np.dtype(np.float64))

    def __call__(
        self,
        y: Any,
        targets: Any,
        lengths: Any = None,
        *,
        need_gradient: bool = True,
        need_largest: bool = False,
        more: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> Loss:
        if type(y) is LinearOutputs:
            of_linear = OF_LINEAR[self.name]
            return of_linear(
                y, targets, lengths, need_gradient=need_gradient, need_largest=need_largest, **self.options
            )
        one_output(self.name, y)
        return BY_NAME[self.name](y, targets, lengths, need_gradient=need_gradient, **self.options)


class _Wrapped:
    """A loss of somebody's own, or one of the library's with arguments (`functools.partial`)."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function: Any = function
        self.takes_linear = (
            type(function) is partial  # that of a subclass may compute something else
            and function.func is cross_entropy
            and not function.args
            and function.keywords.keys() <= {"class_weight", "ignore_index", "label_smoothing"}
        )
        self._ours: LossFunction | None = None  # that of the library which it is, with options
        if type(function) is partial and not function.args and function.keywords.keys() <= _OPTIONS:
            self._ours = _OF_OURS.get(function.func)
        if self.takes_linear:  # it is a cross_entropy
            self.fitted, self.check = self._labels, self._check_labels
        self.wants: frozenset[str] = frozenset()
        with contextlib.suppress(TypeError, ValueError):  # of something built in there is no signature
            parameters = inspect.signature(function).parameters.values()
            self.wants = frozenset(p.name for p in parameters if p.name in MORE and p.kind is not p.POSITIONAL_ONLY)

    def _labels(self, shape: tuple[int, ...], targets: Any, lengths: Any) -> Any:
        return as_labels(targets, shape, lengths)

    def _check_labels(self, form: Form, part: Any) -> None:
        options = self.function.keywords
        check_labels_of(part, form, options.get("ignore_index", IGNORED), options.get("class_weight"))

    def __call__(
        self,
        y: Any,
        targets: Any,
        lengths: Any = None,
        *,
        need_gradient: bool = True,
        need_largest: bool = False,
        more: Mapping[str, Any] | None = None,
    ) -> Loss:
        if type(y) is LinearOutputs:
            options = {"need_gradient": need_gradient, "need_largest": need_largest, **self.function.keywords}
            return _by_sequence(ce_of_linear(y, targets, lengths, **options), y)
        if self._ours is not None and not isinstance(y, (tuple, list, dict)):
            keywords = self.function.keywords
            return _by_sequence(self._ours(y, targets, lengths, need_gradient=need_gradient, **keywords), y)
        asked = {name: (more or {}).get(name) for name in self.wants}
        found = self.function(y, targets, lengths=lengths, **asked)
        if not isinstance(found, (tuple, list)) or len(found) not in (2, 3):
            raise TypeError(
                "the loss function must return (value, gradient), or (value, gradient, weight), got "
                f"{_checks.kind(found)}"
            )
        try:
            value = float(found[0])
        except (TypeError, ValueError):
            raise TypeError(
                f"the loss function must return a number and its gradient, got {_checks.kind(found[0])} for the number"
            ) from None
        weight = float(count_of(y))
        if len(found) == 3:
            weight = _checks.non_negative("the loss function's weight", found[2])
        return Loss(value * weight, weight, _gradient_like(y, found[1], "the loss function's gradient"))


_OF_OURS: dict[Any, LossFunction] = {binary_cross_entropy: bce_loss, cross_entropy: ce_loss, mse: mse_loss}
_OPTIONS = {"class_weight", "ignore_index", "label_smoothing"}


def _by_sequence(loss: Loss, y: Any) -> Loss:
    """Figures count by sequences, as those of any function."""
    count = float(count_of(y))
    return loss._replace(total=loss.mean * count, weight=count, share=loss.weight)


def count_of(outputs: Any) -> int:
    """How many sequences there are in a batch's outputs."""
    while isinstance(outputs, (tuple, list, dict)):
        outputs = next(iter(outputs.values() if isinstance(outputs, dict) else outputs))
    return len(outputs)


def _gradient_like(y: Any, given: Any, name: str) -> Any:
    """The gradient in the form of the outputs, in which None stands for zero where there are several."""
    if isinstance(y, dict):
        if not isinstance(given, Mapping) or given.keys() != y.keys():
            raise TypeError(f"{name} must be a dict with the keys {', '.join(map(str, y))}, got {_checks.kind(given)}")
        return {key: _part_like(y[key], given[key], f"{name}[{key!r}]") for key in y}
    if isinstance(y, (tuple, list)):
        if not isinstance(given, (tuple, list)) or len(given) != len(y):
            raise TypeError(f"{name} must be a tuple of {len(y)}, as the outputs are, got {_checks.kind(given)}")
        return tuple(_part_like(own, d, f"{name}[{k}]") for k, (own, d) in enumerate(zip(y, given, strict=True)))
    gradient = number_array(name, given)
    if gradient.shape != y.shape:
        raise ValueError(f"{name} must have the output's shape {y.shape}, got {gradient.shape}")
    return gradient


def _part_like(y: Any, given: Any, name: str) -> Any:
    return None if given is None else _gradient_like(y, given, name)
