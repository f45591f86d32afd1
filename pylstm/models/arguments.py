"""The data that fit and evaluate are given, as training works with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks
from ..data.series import Windows
from ..losses.by_name import loss_function, named
from ..losses.classification import ClassWeight
from ..losses.loss_function import LossFunction
from ..training.batches import gives_batches, opened
from ..training.class_weights import balanced
from ..training.data import AllTargets, Inputs, SeveralTargets, Targets
from ..training.splitting import Data, split
from ..training.weights import MISSING, Present, WeightedTargets

if TYPE_CHECKING:
    from .trainable import Trainable

Pair = tuple[Inputs, AllTargets]


def pair(model: Trainable, data: Data, loss: LossFunction, missing: str | None = None) -> Pair:
    """Inputs and targets. Raises TypeError or ValueError, naming the argument."""
    if missing is not None:
        _checks.choice("missing", missing, MISSING)
    stride = data.x.starts.step if isinstance(data.x, Windows) else None
    if data.y is None and isinstance(data.x, Windows):
        data = data._replace(x=data.x.x, y=data.x.y)
    if (first := _first_batch(model, data, loss, missing)) is not None:
        return first
    data = model._data(data)
    inputs = model._inputs(data.x, data.lengths)
    inputs.stride = stride
    if len(inputs) == 0:
        raise ValueError("x holds no sequences")
    if model._own_steps and loss.without_places:
        raise ValueError(
            f"loss must be of targets that have an output for each of their symbols, as {type(model).__name__} gives: "
            f"{getattr(loss, 'name', 'this one')} is for labels without places"
        )
    if model._own_steps and loss.own is None and loss.label_ignored is None:
        raise ValueError(
            f"loss must be of labels, such as 'cross_entropy': {type(model).__name__} gives logits of symbols, and "
            f"{getattr(loss, 'name', 'this one')} is of numbers"
        )
    free = model._own_steps or "target_lengths" in loss.wants
    kind = SeveralTargets if model._several and isinstance(data.y, (tuple, dict)) else Targets
    targets: AllTargets = kind(
        data.y, inputs, model.keeps_time, free=free, lengths=data.target_lengths, name=model._target_name
    )
    if data.sample_weight is None and missing is None:
        return inputs, targets
    return inputs, WeightedTargets(
        targets, inputs, data.sample_weight, missing=missing is not None, loss=loss, per_step=model.keeps_time,
        free=free, lengths=data.target_lengths,
    )  # fmt: skip


def pairs(
    model: Trainable, data: Data, loss: object, missing: str | None, validation_data: Any, validation_split: object
) -> tuple[Pair, Pair | None]:
    """What is trained on, and what is not."""
    function = loss_function(loss)
    if validation_split is None:
        found = pair(model, data, function, missing)
        if validation_data is None:
            return found, None
        several = found[0].keys is not None and not model._own_steps
        return found, _validation(model, validation_data, function, missing, several=several)
    if validation_data is not None:
        raise ValueError("give validation_data or validation_split, not both")
    if isinstance(data.x, Windows):
        raise ValueError(
            "validation_split would leave steps of windows in both parts: train, validation = x.split(0.8)"
        )
    if gives_batches(data.x) or data.y is None:
        raise ValueError("validation_split needs x and y as a whole: give validation_data")
    data = data._replace(x=model._as_inputs(data.x))
    data, behind = split(data, validation_split, several=model._several)
    return pair(model, data, function, missing), _validation(model, behind, function, missing)


def _first_batch(model: Trainable, data: Data, loss: LossFunction, missing: str | None, name: str = "x") -> Pair | None:
    """If x gives batches."""

    def convert(batch: Data) -> Pair:
        if batch.y is None:
            raise TypeError("it has no y")
        return pair(model, batch, loss, missing)

    return opened(data, convert, name)


def _validation(model: Trainable, data: Any, loss: LossFunction, missing: str | None, *, several: bool = False) -> Pair:
    """several: whether what is trained on has several inputs, so that two tuples may be those and their targets."""
    if gives_batches(data) or _holds_batches(data, several):
        first = _first_batch(model, Data(data, None), loss, missing, "validation_data")
        if first is not None:
            return first
    if isinstance(data, Windows):
        data = Data(data, None)
    four = isinstance(data, (tuple, list)) and len(data) == 4 and data[3] is not None
    if not isinstance(data, (tuple, list)) or (len(data) not in (2, 3, 5) and not four):
        raise ValueError(f"validation_data must be (x, y) or (x, y, lengths), got {_checks.kind(data)}")
    try:
        return pair(model, data if isinstance(data, Data) else Data(*data), loss, missing)
    except (TypeError, ValueError, IndexError) as error:
        raise type(error)(f"validation_data: {error}") from error


def _holds_batches(data: Any, several: bool) -> bool:
    """Whether a list is of batches, as x may be, and not x and y: where each part of it is itself x and y."""
    if not isinstance(data, list) or not data:
        return False
    if all(isinstance(one, dict) for one in data):
        return all({"x", "y"} <= one.keys() for one in data)
    if not all(isinstance(one, tuple) and len(one) in (2, 3, 4, 5) for one in data):
        return False
    if several and len(data) in (2, 3, 5):
        return False
    return all(_count(x) is not None and _count(x) == _count(y) for x, y, *_ in data)


def _count(value: Any) -> int | None:
    """Of sequences."""
    if isinstance(value, np.ndarray) or hasattr(value, "shape"):
        return len(value) if value.ndim else None
    return len(value) if isinstance(value, (list, tuple)) else None


def class_weights(given: ClassWeight | str, loss: object, targets: AllTargets, per_step: bool | None) -> ClassWeight:
    """What was given, or weights that make up for classes of different size."""
    if not isinstance(given, str):
        return given
    name = named(loss)[0]
    if name not in ("binary_cross_entropy", "cross_entropy"):
        raise ValueError("class_weight='balanced' is for the losses binary_cross_entropy and cross_entropy")
    part = targets.all_parts[0]
    if isinstance(part, Present):
        part = part.filled_with(-1)
    return balanced(given, part, per_step, one_of_many=name == "cross_entropy")
