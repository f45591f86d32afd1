"""A loss as `fit` and `evaluate` take it: a name, one of the library's functions, or a function like them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from .. import _checks
from .._arrays import number_array
from ..graph.structure import leaves
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
from .ctc import ctc_loss, ctc_loss_of
from .ctc_function import CtcFunction, label_lists
from .linear_head import ce_of_linear
from .loss import Loss, one_output
from .loss_function import LossFunction
from .objects import LossObject
from .recorded import Found, is_value_alone, looks_recorded, run_recorded
from .regression import huber, huber_loss, mae, mae_loss, mse, mse_loss, quantile_loss
from .sampled_softmax import SampledSoftmax, Sampling
from .targets import Form, as_labels, as_numbers, check_labels_of, check_numbers_of
from .weighted import Weighted, apart

# (outputs, targets, lengths=None, *, need_gradient=True, and the loss' own options)
BY_NAME: dict[str, Callable[..., Loss]] = {
    "binary_cross_entropy": bce_loss, "cross_entropy": ce_loss, "mse": mse_loss, "mae": mae_loss, "huber": huber_loss,
    "quantile": quantile_loss, "ctc": ctc_loss_of,
}  # fmt: skip
FUNCTIONS = {  # which stand for the loss of a name
    binary_cross_entropy: "binary_cross_entropy", cross_entropy: "cross_entropy", mse: "mse", mae: "mae",
    huber: "huber", ctc_loss: "ctc",
}  # fmt: skip
_OPTIONS = {"class_weight", "delta", "ignore_index", "label_smoothing"}  # of these functions, in a `functools.partial`
OF_NUMBERS = ("mse", "mae", "huber", "quantile")
OF_LINEAR: dict[str, Callable[..., Loss]] = {"cross_entropy": ce_of_linear}  # of `LinearOutputs`
MORE = ("target_lengths", "input_lengths", "inputs", "mask")  # what a function of somebody's own gets if it names it


def loss_function(loss: object, class_weight: ClassWeight = None) -> LossFunction:
    """`loss` as fit takes it (a name, an object or function of the library's or one like them), for (y, targets,
    lengths).

    A function of one's own is called as loss(outputs, targets, lengths=lengths) and returns value and gradient, or a
    value computed with operations of the graph, which has the gradient; its values are averaged over batches by their
    number of sequences, or the sum of their weights, or by a weight that it returns as the last. Those of `MORE` that
    are among its parameters it gets by name, too.
    """
    loss, options = named(loss)
    if isinstance(loss, str):
        _checks.choice("loss", loss, tuple(BY_NAME))
        if class_weight is None:
            return CtcFunction(options) if loss == "ctc" else _Named(loss, options)
        if loss in OF_NUMBERS or loss == "ctc":
            raise ValueError(f"class_weight is for classification, not for {loss}")
        return _Named(loss, {**options, "class_weight": class_weight})
    if isinstance(loss, SampledSoftmax):
        return Sampling(loss, class_weight)
    if not callable(loss) or isinstance(loss, type):
        call = ": call it" if isinstance(loss, type) and issubclass(loss, (LossObject, SampledSoftmax)) else ""
        raise TypeError(f"loss must be a name or a function, got {_checks.kind(loss)}{call}")
    if class_weight is not None:
        raise ValueError("class_weight is for the library's own losses: a loss function of yours weighs by itself")
    return _Function(loss, _ours(loss))


def _ours(function: Any) -> _Named | None:
    """The loss of the library's that a `functools.partial` of one of its functions is, with options."""
    # that of a subclass of partial may compute something else
    if type(function) is partial and not function.args and function.keywords.keys() <= _OPTIONS:
        name = _name_of(function.func)
        if name is not None and name != "ctc":  # whose function takes what `fit` gives one of somebody's own
            return _Named(name, function.keywords)
    return None


def _name_of(function: object) -> str | None:
    """The loss that one of the library's functions stands for; None of anything else."""
    return next((name for one, name in FUNCTIONS.items() if one is function), None)


def named(loss: object) -> tuple[object, dict[str, Any]]:
    """The name and options of a loss of the library's; anything else, or a name, as it is."""
    if isinstance(loss, LossObject) and loss._name in BY_NAME:
        return loss._name, dict(loss._options)
    return _name_of(loss) or loss, {}


def quantiles_of(options: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Of a loss with these options that has several of them, and so as many outputs for each target; else None."""
    q = options.get("q")
    return q if isinstance(q, tuple) else None


def evaluated_as(loss: object) -> object:
    """What it is wherever nothing is trained: the loss itself, but for those that say otherwise."""
    return getattr(loss, "_evaluated_as", loss)


def sampling(loss: LossFunction) -> Sampling | None:
    """The loss if it draws at random in training; else None."""
    return loss if isinstance(loss, Sampling) else None


def fitted(loss: LossFunction, outputs: Any, targets: Any, lengths: Any, own: Any = None) -> Any:
    """The targets of a batch as the loss takes them, of whatever form they were given in. own: lengths of theirs."""
    if loss.without_places:
        given, weights = apart(targets)
        lists = label_lists(given, own)
        return lists if weights is None else Weighted(lists, weights)
    if type(targets) is Weighted:
        new, weights = fitted(loss, outputs, targets.targets, lengths), targets.weights
        if np.ndim(weights) > 1 and np.shape(weights) == np.shape(targets.targets) != np.shape(new):
            weights = np.reshape(weights, np.shape(new))  # each stays with its number
        return Weighted(new, weights)
    shape = shape_of(outputs)
    return loss.fitted(shape, targets, lengths) if shape else targets


def shape_of(outputs: Any) -> tuple[int, ...]:
    """Of one output of a model; () of several."""
    if type(outputs) is LinearOutputs:
        return (*outputs.x.shape[:-1], len(outputs.weight))
    shape: tuple[int, ...] = getattr(outputs, "shape", ())
    return shape


class _Named(LossFunction):
    """A loss of the library's: of one output."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.name, self.options = name, options
        self.takes_linear, self.converts_targets = name in OF_LINEAR, name in OF_NUMBERS
        self.takes_logits = name in ("binary_cross_entropy", "cross_entropy")
        if name == "cross_entropy":
            ignored = options.get("ignore_index", IGNORED)
            self.label_ignored = _checks.integer("ignore_index", ignored, minimum=-(2**63), maximum=2**64 - 1)

    def check_outputs(self, outputs: Any) -> None:
        one_output(self.name, outputs)

    def fitted(self, shape: tuple[int, ...], targets: Any, lengths: Any) -> Any:
        if self.name == "cross_entropy":
            return as_labels(targets, shape, lengths)
        return as_numbers(targets, self._number_form(shape))

    def _number_form(self, form: Any) -> Any:
        """The form of the targets for outputs of this form: those of several quantiles have one for all."""
        return (*form[:-1], 1) if quantiles_of(self.options) else form

    def check_targets(self, form: Form, part: Any) -> None:
        if self.label_ignored is not None:
            check_labels_of(part, form, self.label_ignored, self.options.get("class_weight"))
            return
        if self.name in OF_NUMBERS:
            if (q := quantiles_of(self.options)) and form[-1] not in (None, len(q)):
                raise ValueError(
                    f"QuantileLoss of {len(q)} quantiles needs a last layer of as many outputs, and this model's has "
                    f"{form[-1]}"
                )
            check_numbers_of(part, self._number_form(form), probabilities=False)
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
        options = self.options
        if type(targets) is Weighted:
            targets, options = targets.targets, {**options, "sample_weight": targets.weights}
        if type(y) is LinearOutputs:
            of_linear = OF_LINEAR[self.name]
            return of_linear(y, targets, lengths, need_gradient=need_gradient, need_largest=need_largest, **options)
        one_output(self.name, y)
        return BY_NAME[self.name](y, targets, lengths, need_gradient=need_gradient, **options)


class _Function(LossFunction):
    """A loss of somebody's own, or one of the library's with arguments (`functools.partial`)."""

    name = "the loss function"

    def __init__(self, function: Callable[..., Any], ours: _Named | None) -> None:
        """ours: that of the library which it is."""
        self.own: Callable[..., Any] = function
        self.ours = ours
        if ours is not None and ours.label_ignored is not None:
            self.takes_linear, self.label_ignored = ours.takes_linear, ours.label_ignored
            self.fitted, self.check_targets = ours.fitted, ours.check_targets  # type: ignore[method-assign]
        known = _checks.keywords(function)
        self.wants, self.takes_weight = known & set(MORE), "sample_weight" in known
        # whether it has been seen to leave its gradient to the graph, or to give it
        self._recorded = self._by_hand = False

    def check_takes_weights(self) -> None:
        if not self.takes_weight:
            raise TypeError(
                "the loss function takes no sample_weight: give it a parameter of that name, and return the weighted "
                "mean"
            )

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
        weighted = targets
        targets, given = apart(targets)
        if given is not None:
            self.check_takes_weights()
        if self.ours is not None and not isinstance(y, (tuple, list, dict)):
            loss = self.ours(y, weighted, lengths, need_gradient=need_gradient, need_largest=need_largest)
            return _counted_so(loss, _count(y, given))
        asked = {"lengths": lengths, **{name: (more or {}).get(name) for name in self.wants}}
        if given is not None:
            asked["sample_weight"] = given
        found = self._found(y, targets, asked, need_gradient)
        if isinstance(found, Found):
            weight = _count(y, given)
            if found.weight is not None:
                weight = _checks.non_negative("the loss function's weight", found.weight)
            return Loss(found.value * weight, weight, found.gradient)
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
        weight = _count(y, given)
        if len(found) == 3:
            weight = _checks.non_negative("the loss function's weight", found[2])
        return Loss(value * weight, weight, _gradient_like(y, found[1], "the loss function's gradient"))

    def _found(self, y: Any, targets: Any, options: Mapping[str, Any], need_gradient: bool) -> Any:
        """What the function returns, or `Found` if it leaves the gradient to the graph. Which it does, its first call
        tells: with arrays, of which it makes a number alone, or of which it asks what only values have."""
        if not self._recorded:
            given = [] if self._by_hand else [one for one in leaves((y, targets)) if isinstance(one, np.ndarray)]
            before = [(one, one.copy()) for one in given if one.flags.writeable]
            try:
                found = self.own(y, targets, **options)
            except AttributeError as error:
                if not looks_recorded(error):
                    raise
            else:
                if not is_value_alone(found, y):
                    self._by_hand = True
                    return found
            for one, values in before:  # `y -= targets` writes to an array, and makes a new value of a value
                one[...] = values
        recorded = run_recorded(self.own, y, targets, options, need_gradient)
        self._recorded = True
        return recorded


def _count(outputs: Any, weights: Any) -> float:
    """What the mean of a function of somebody's own is over."""
    if weights is None:
        return float(count_of(outputs))
    return float(sum(np.sum(one, dtype=np.float64) for one in leaves(weights)))


def _counted_so(loss: Loss, count: float) -> Loss:
    """Figures count by sequences, or their weights, as those of any function."""
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
