"""The state of a training, to go on later with the same bits as if it had never stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._arrays import Array
from .files import ModelFileError, opened
from .saving import read_model, to_json

if TYPE_CHECKING:
    from .training import Training


def capture(training: Training) -> tuple[dict[str, Any], dict[str, Array]]:
    """Numbers and arrays: all that decides how training goes on after this epoch, besides the model."""
    arrays: dict[str, Array] = {}
    optimizer = training.optimizer.state_dict()
    for name, slots in optimizer.pop("slots").items():
        arrays.update({f"optimizer/{name}/{slot}": array for slot, array in slots.items()})
    callbacks = []
    for i, callback in enumerate(training.callbacks):
        state = callback.state_dict()
        arrays.update({f"callback{i}/{n}": value for n, value in state.items() if isinstance(value, np.ndarray)})
        numbers = {n: value for n, value in state.items() if not isinstance(value, np.ndarray)}
        callbacks.append({"class": type(callback).__name__, "state": numbers})
    return to_json({
        "epoch": training.epoch + 1,
        "entropy": training.entropy,
        "history": training.history,
        "optimizer": optimizer,
        "schedule": training.schedule.state_dict(),
        "callbacks": callbacks,
    }), arrays  # fmt: skip


def restore(training: Training, path: str | os.PathLike[str]) -> int:
    """Take everything over from a checkpoint; returns the epoch to go on with."""
    with opened(Path(path)) as contents:
        model, numbers, arrays = read_model(contents)
    if numbers is None:
        raise ValueError(
            f"{os.fspath(path)} is a model without the state of a training: only ModelCheckpoint writes it"
        )
    if repr(model) != repr(training.model):
        raise ValueError(f"the checkpoint is of another model: {model!r}")
    try:
        names = [item["class"] for item in numbers["callbacks"]]
        if names != [type(callback).__name__ for callback in training.callbacks]:
            raise ValueError(f"the checkpoint was written with other callbacks: {', '.join(names) or 'none'}")
        slots: dict[str, dict[str, Array]] = {}
        states: list[dict[str, Any]] = [dict(item["state"]) for item in numbers["callbacks"]]
        for key, array in arrays.items():
            group, _, rest = key.partition("/")
            if group == "optimizer":
                name, _, slot = rest.rpartition("/")
                slots.setdefault(name, {})[slot] = array
            else:
                states[int(group.removeprefix("callback"))][rest] = array
        training.optimizer.load_state_dict({**numbers["optimizer"], "slots": slots})
        training.schedule.load_state_dict(numbers["schedule"])
        for callback, state in zip(training.callbacks, states, strict=True):
            callback.load_state_dict(state)
        training.history = {str(name): [float(v) for v in values] for name, values in numbers["history"].items()}
        training.entropy, epoch = int(numbers["entropy"]), int(numbers["epoch"])
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelFileError(f"the state of the training is malformed: {type(error).__name__}: {error}") from error
    training.rate = training.optimizer.lr
    training.model._set_params(model.params)
    training.model._set_dropout_state(model._dropout_state())
    return epoch
