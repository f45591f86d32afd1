"""All that can be known of a training before it begins.

Nothing here changes anything of the library's, or draws a random number. A `Model`, and a chain with a layer of the
user's that does not say its shapes, is run once in inference on a batch of x, and once on one of the validation data:
what that changes is taken back as far as `no_traces` says. (A third run is of a batch that looks as if the model would
refuse it: whether it does, it says itself.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._warn import warn
from ..losses.loss_function import LossFunction
from ..losses.targets import Form, check_numbers_of
from .batches import BatchInputs, held
from .counting import check_anything_counts
from .data import AllTargets, Inputs
from .evaluation import output_form
from .expected import takes
from .finite import check_data, check_params
from .metrics import Metric, check_outputs
from .weights import WeightedTargets

if TYPE_CHECKING:
    from ..models.trainable import Trainable
    from .loop import Training

Pair = tuple[Inputs, AllTargets]


def before_training(
    training: Training,
    x: Inputs,
    y: AllTargets,
    validation: Pair | None,
    batch_size: int,
    *,
    check_finite: bool,
    resuming: bool,
) -> Form | None:
    """Raises TypeError, ValueError, IndexError or OSError for what would fail later; returns the form of the outputs,
    None if it is not known.

    check_finite: whether NaN and infinity in the data are looked for, and in the weights, if these are to stay: not
    where `resuming` brings others.
    """
    _check_functions(training)
    check_weights_used(y, training.loss, training.metrics)
    if training.model._param_shapes and not training.model._trained_shapes():
        raise ValueError("all layers of the model are frozen, so that there is nothing to train: model.unfreeze(..)")
    if training.model._gives_probabilities() and training.loss.takes_logits:
        warn(
            f"the model ends in a sigmoid or softmax, and {training.loss.name} puts one around the outputs itself: "
            "leave that layer out, predict(x, activation=..) gives probabilities",
        )
    training.schedule._check_names(training.figures)
    for callback in training.callbacks:
        callback._check(training)
    if check_finite and not resuming:
        check_params(training.model)
    with x.naming():
        form, outputs = _check_x(training.model, x, batch_size, check_finite, training.truncate)
        _check_y(training, x, y, form, outputs, check_finite)
    _check_counts(training, x, y, batch_size)
    _check_steps(training.model, x)
    if validation is not None:
        try:
            others = validation[0]
            check_weights_used(validation[1], training.loss, training.metrics)
            found = _check_x(training.model, others, batch_size, check_finite, None)
            _check_y(training, others, validation[1], *found, check_finite)
            _check_counts(training, *validation, batch_size)
            _check_steps(training.model, others)
            _check_alike(training, y, validation[1])
        except (TypeError, ValueError, IndexError) as error:
            raise type(error)(f"validation_data: {error}") from error
    return form


def before_batches(
    training: Training, x: Inputs, validation: Pair | None, form: Form | None, *, check_finite: bool
) -> None:
    """Where data come batch by batch, the same look at each of them when it comes. Raises ValueError for a schedule
    that asks how many there are, where nobody knows."""
    if isinstance(x, BatchInputs) and not len(x.batches(0, None)) and training.schedule._counts_batches:
        raise ValueError(
            "the schedule asks how many batches an epoch has, and x does not say it: give steps_per_epoch, or x a "
            "__len__"
        )
    if form is not None and len(form) > 2:
        form = (form[0], None, *form[2:])

    def look(some: Inputs, targets: AllTargets) -> None:
        _check_values(training.model, some, check_finite)
        check_weights_used(targets, training.loss, training.metrics)
        _check_y(training, some, targets, training.model._output_form(some) or form, None, check_finite)

    for one in (x, None if validation is None else validation[0]):
        if isinstance(one, BatchInputs):
            one.look = look


def _check_functions(training: Training) -> None:
    loss = training.loss
    if loss.own is not None:
        takes(loss.name, loss.own, "outputs", "targets", named=("lengths", *loss.wants))
    for name, metric in training.metrics.items():
        if metric.own is not None:
            takes(f"the metric {name}", metric.own, "outputs", "targets", "lengths")
    if training.reduce is not None:
        takes("reduce", training.reduce, "grads", "weight")


def _check_x(
    model: Trainable, x: Inputs, batch_size: int, check_finite: bool, truncate: int | None
) -> tuple[Form | None, Any]:
    """What `output_form` gives."""
    _check_values(model, x, check_finite)
    return output_form(model, x, batch_size, truncate)


def _check_values(model: Trainable, x: Inputs, check_finite: bool) -> None:
    if check_finite:
        for part in x.parts:
            check_data(part, "sequences", "feature", model._converts_to(x))
    model._check_values_of(x)


def _check_y(training: Training, x: Inputs, y: AllTargets, form: Form | None, outputs: Any, check_finite: bool) -> None:
    whole, y = y, held(y)
    parts = y.all_parts
    if check_finite:
        dtype = getattr(outputs, "dtype", training.model.dtype) if training.loss.converts_targets else None
        for one in parts:
            check_data(one, "targets", "column", dtype)
    if isinstance(y, WeightedTargets):
        y.check(training.loss, form, alone=training.reduce is None and y is whole)
    if outputs is not None:
        check_outputs(training.metrics, outputs)
    if len(parts) == 1:
        if outputs is not None:
            training.loss.check_outputs(outputs)
        if form:
            training.loss.check_targets(form, parts[0])
            if training.loss.without_places:
                _check_room(training, x, y, form)
        for name, metric in training.metrics.items():
            if metric.targets == "numbers" and form is not None and outputs is not None:
                try:
                    check_numbers_of(parts[0], form, probabilities=False)
                except ValueError as error:
                    raise ValueError(f"{name}, of metrics: {error}") from None


def _check_room(training: Training, x: Inputs, y: AllTargets, form: Form) -> None:
    steps = None if x.lengths is None else training.model.output_lengths(x.lengths)
    if steps is None and form[1] is not None:
        steps = np.full(len(x), form[1])
    if isinstance(steps, np.ndarray) and steps.shape == (len(x),):
        counts = y.counts if isinstance(y, WeightedTargets) else None
        training.loss.check_room(y.all_parts[0], steps, counts)


def _check_counts(training: Training, x: Inputs, y: AllTargets, batch_size: int) -> None:
    """Raises ValueError if there is nothing to learn from, unless other batches or processes may have it."""
    if training.reduce is None and held(y) is y:
        check_anything_counts(training.model, training.loss, x, y, batch_size)


def _check_steps(model: Any, x: Inputs) -> None:
    """Raises ValueError for a layer of a chain that leaves no step of any sequence."""
    if not model._is_chain or isinstance(x, BatchInputs):
        return
    form, lengths = x.parts[0].form, x.lengths
    if lengths is None and len(form) > 1 and form[1] is not None:
        lengths = np.full(1, form[1])
    for layer in model.layers:
        before, lengths = lengths, None if lengths is None else layer.output_lengths(lengths)
        if not isinstance(before, np.ndarray) or not isinstance(lengths, np.ndarray):
            return
        if before.any() and not lengths.any():
            raise ValueError(
                f"{layer!r} leaves no step of any sequence, of which the longest has {int(before.max())} there: "
                "nothing to learn from. It needs longer sequences, a smaller kernel_size or dilation, or padding"
            )


def check_weights_used(y: AllTargets, loss: LossFunction, metrics: Mapping[str, Metric]) -> None:
    """Raises TypeError for functions of somebody's own that the weights of targets would not reach."""
    y = held(y)
    if not isinstance(y, WeightedTargets) or not y.weighs:
        return
    loss.check_takes_weights()
    for name, metric in metrics.items():
        if not metric.takes_weight:
            raise TypeError(
                f"the metric {name} takes no sample_weight, which says what counts: give it a parameter of that name"
            )


def _check_alike(training: Training, y: AllTargets, validation: AllTargets) -> None:
    """Targets of a loss of somebody's own are its business; but it has seen no others than those of training."""
    forms, others = ([part.form for part in one.all_parts] for one in (y, validation))
    if training.loss.own is not None and [len(form) for form in forms] != [len(form) for form in others]:
        shown = " and ".join(part.shown for part in validation.all_parts)
        raise ValueError(f"y has {shown}, other axes than y of the training")
