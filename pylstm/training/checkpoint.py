"""The state of a training, to go on later with the same bits as if it had never stopped."""

from __future__ import annotations

import contextlib
import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from .._arrays import Array
from .._names import of_library
from ..files.saving import check as check_saving
from ..files.saving import to_json
from ..files.strict_json import ModelFileError
from . import resuming

if TYPE_CHECKING:
    from ..models.trainable import Trainable
    from .loop import Training

_MOST = 2**53  # of counts: what float64 holds exactly, and more than anybody counts to


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
        watches = {"watches": own} if (own := resuming.watched(callback)) else {}
        callbacks.append({"class": type(callback).__name__, "state": numbers, **watches})
    return to_json({
        "epoch": training.epoch + 1,
        "entropy": training.entropy,
        "history": training.history,
        "optimizer": optimizer,
        "schedule": training.schedule.state_dict(),
        "schedule_kind": resuming.kind(training.schedule),
        "callbacks": callbacks,
        "stopped": training._ended,
        "settings": resuming.settings(training),
    }), arrays  # fmt: skip


def check(training: Training, path: str) -> None:
    """Raises TypeError or ValueError if a checkpoint cannot be saved there, before an epoch has been spent.

    With all that will be in it: the optimizer's state and the best weights are as large as the parameters.
    """
    params = dict(training.model.params)
    arrays = {f"optimizer/{name}/{slot}": p for name, p in params.items() for slot in training.optimizer._used_slots()}
    states = []
    for i, callback in enumerate(training.callbacks):
        state: Mapping[str, Any] = {}
        with contextlib.suppress(Exception):  # somebody's own may know nothing before it begins
            state = callback.state_dict()
        if callback._keeps_weights():
            state = {**params, **state}
        arrays.update({f"callback{i}/{n}": value for n, value in state.items() if isinstance(value, np.ndarray)})
        states.append({"state": {n: value for n, value in state.items() if not isinstance(value, np.ndarray)}})
    check_saving(training.model, path, ({"callbacks": to_json(states)}, arrays))


def restore(training: Training, source: resuming.Source) -> int:
    """Take everything over from a checkpoint; returns the epoch to go on with.

    Raises ModelFileError (a ValueError) or ValueError; optimizer, schedule and callbacks are as before then.
    """
    model, numbers, arrays = source.contents
    epoch = _restore(training, numbers, arrays)
    training.rate = training.optimizer.lr
    training.model._set_params(model.params)
    training.model._set_learned()
    training.model._set_dropout_state(model._dropout_state())
    return epoch


def _restore(training: Training, numbers: dict[str, Any], arrays: dict[str, Array]) -> int:
    with _malformed():
        items: list[dict[str, Any]] = list(numbers["callbacks"])
        if not all(type(item["class"]) is str for item in items):
            raise _wrong("the class of a callback must be a str")
        slots: dict[str, dict[str, Array]] = {}
        states: list[dict[str, Any]] = [dict(item["state"]) for item in items]
        for key, array in arrays.items():
            group, _, rest = key.partition("/")
            if group == "optimizer":
                name, _, slot = rest.rpartition("/")
                slots.setdefault(name, {})[slot] = array
            elif (found := re.fullmatch(r"callback(\d{1,9})", group)) and int(found[1]) < len(states):
                states[int(found[1])][rest] = array
            else:
                raise _wrong(f"it has an array {key[:80]!r}, which belongs to nothing")
        optimizer = _optimizer_state(training, numbers["optimizer"], slots)
        schedule = _schedule_state(training, numbers)
        paired = resuming.pair(training, items)
        own = [(c, _checked_state(c, states[i], training.model))
               for c, i in zip(training.callbacks, paired, strict=True) if i is not None]  # fmt: skip
        history = {
            name: [_number(v, f"the history's {name}") for v in values] for name, values in numbers["history"].items()
        }
        entropy, epoch = numbers["entropy"], _count(numbers["epoch"], "the epoch")
        if type(entropy) is not int or entropy < 0:
            raise _wrong(f"entropy must be an integer from 0, got {entropy!r:.80}")
        ended, before = numbers.get("stopped", False), numbers.get("settings", {})
        if type(ended) is not bool or not isinstance(before, dict):
            raise _wrong("stopped must be a bool, and settings a dict")
        first = _number(before.get("lr", optimizer["lr"]), "lr of the settings")
    # what a callback or schedule of somebody's own makes of its state is seen only by giving it to it
    with _undone(training.optimizer, training.schedule, *training.callbacks):
        with _malformed():
            training.optimizer.load_state_dict(optimizer)
            if schedule is not None:
                training.schedule.load_state_dict(schedule)
            for callback, state in own:
                callback.load_state_dict(state)
        resuming.tell_differences(
            training,
            items,
            states,
            paired,
            before,
            entropy,
            (first, optimizer["lr"]),
            began=schedule is None and bool(numbers["schedule"] or training.schedule.state_dict()),
        )
    training.history, training.entropy = history, entropy
    training.first_rate, training._ended = first, ended
    return epoch


@contextmanager
def _malformed() -> Iterator[None]:
    try:
        yield
    except (ValueError, MemoryError):
        raise
    except Exception as error:
        text = f"the state of the training is malformed: {type(error).__name__}: {str(error)[:300]}"
        raise ModelFileError(text) from error


def _wrong(text: str) -> ModelFileError:
    return ModelFileError(f"the state of the training is malformed: {text}")


@contextmanager
def _undone(*owners: Any) -> Iterator[None]:
    """After an exception, the owners' states are as before."""
    before = [(owner, dict(vars(owner)), _state(owner)) for owner in owners]
    try:
        yield
    except BaseException:
        for owner, attributes, state in before:
            with contextlib.suppress(Exception):  # for what its state holds in other objects ..
                owner.load_state_dict(state)
            vars(owner).clear()  # .. and for all that stands in the object itself
            vars(owner).update(attributes)
        raise


def _state(owner: Any) -> dict[str, Any]:
    state: dict[str, Any] = owner.state_dict()  # of ours a copy, and large
    return state if of_library(type(owner)) else copy.deepcopy(state)


# ---- checks of a file's numbers --------------------------------------------------------------------------------------


def _optimizer_state(training: Training, state: Any, slots: dict[str, dict[str, Array]]) -> dict[str, Any]:
    shapes, dtypes = training.model._param_shapes, training.model._param_dtypes()
    for name, own in slots.items():
        for slot, array in own.items():
            if name in shapes and (array.shape != shapes[name] or array.dtype != dtypes[name]):
                raise _wrong(
                    f"the optimizer's {slot[:80]} of {name} must be {dtypes[name]} of shape {shapes[name]}, "
                    f"got {array.dtype} of shape {array.shape}"
                )
    steps = {name: _count(value, f"the steps of {name[:80]}") for name, value in state["steps"].items()}
    lr = _number(state["lr"], "lr")
    if not 0 <= lr < math.inf:
        raise _wrong(f"lr must be finite and not negative, got {lr}")
    return {**state, "lr": lr, "steps": steps, "slots": slots}


def _schedule_state(training: Training, numbers: dict[str, Any]) -> dict[str, Any] | None:
    """None: the checkpoint's is of another kind of schedule, and says nothing to this one."""
    schedule, state, kind = training.schedule, numbers["schedule"], numbers.get("schedule_kind")
    if kind is not None and type(kind) is not str:
        raise _wrong(f"the kind of the schedule must be a str, got {kind!r:.80}")
    if not isinstance(state, dict):
        raise _wrong(f"the state of the schedule must be a dict, got {type(state).__name__}")
    own = schedule.state_dict().keys()
    same = bool(own & state.keys()) or not (own or state) if kind is None else kind == resuming.kind(schedule)
    return _checked_state(schedule, state, training.model) if same else None


def _checked_state(owner: Any, state: Any, model: Trainable) -> dict[str, Any]:
    """The state of a callback or schedule: of the library's own, numbers of the kinds that they have now, and arrays
    as the model's parameters."""
    name = type(owner).__name__
    if not isinstance(state, dict):
        raise _wrong(f"the state of {name} must be a dict, got {type(state).__name__}")
    if not of_library(type(owner)):
        return state
    known = owner.state_dict()
    for key, value in state.items():
        what = f"{key[:80]} of {name}"
        if isinstance(value, np.ndarray):
            if value.shape != model._param_shapes.get(key) or value.dtype != model._param_dtypes()[key]:
                raise _wrong(f"{what} is not as the model's: {value.dtype} of shape {value.shape}")
        elif key not in known:
            raise _wrong(f"{name} does not know {key[:80]!r}")
        elif (check := _KINDS.get(type(known[key]))) is not None:
            number = check(value, what)
            if key == "factor" and not 0 <= number < math.inf:
                raise _wrong(f"{what} must be finite and not negative, got {number}")
    own = {key for key, value in state.items() if isinstance(value, np.ndarray)}
    if own and own != model._param_shapes.keys():
        raise _wrong(f"{name} has weights of some parameters only: {', '.join(sorted(own))[:300]}")
    return state


def _count(value: Any, what: str, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= _MOST:
        raise _wrong(f"{what} must be an integer in {least}..2^53, got {value!r:.80}")
    return value


def _number(value: Any, what: str) -> float:
    """A float; infinities and NaN are words in a file."""
    if type(value) is str and value in ("inf", "-inf", "nan"):
        return float(value)
    if type(value) not in (int, float) or abs(value) > 1.7e308:
        raise _wrong(f"{what} must be a number, got {value!r:.80}")
    return float(value)


_KINDS: dict[type, Callable[[Any, str], float]] = {int: lambda v, w: _count(v, w, -1), float: _number}
