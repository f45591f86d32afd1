"""Which checkpoint a training goes on from, and what counts where that and the arguments of fit differ.

What a training has come to is the file's: weights, the optimizer's state and learning rate, the state of the schedule
and of the callbacks, the order of the data. How it goes on is said by fit: which callbacks there are, and the options
of optimizer, schedule and callbacks. So that nobody is misled, a difference is told by a warning.
"""

from __future__ import annotations

import errno
import glob
import math
import os
import re
import string
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _checks
from .._arrays import Array
from .._warn import warn
from ..files.paths import check_template
from ..files.reading import read_model
from ..files.strict_json import ModelFileError
from ..files.tensors import opened
from ..layers.freezing import frozen_names
from .schedules import FunctionSchedule, Schedule

if TYPE_CHECKING:
    from ..models.trainable import Trainable
    from .loop import Training
    from .progress import Progress

Contents = tuple["Trainable", dict[str, Any], dict[str, Array]]  # of a checkpoint: numbers and arrays of its training

_AUTO = "auto"
_EXACT = re.compile(  # forms of whole numbers whose words say which number it is
    "(?:(?:[^0-9a-zA-Z]?[<>=^])?[-+ ]?#?(?:[1-9][0-9]*)?|[-+ ]?#?0[0-9]*|0[>=][-+ ]?#?[0-9]*)[,_]?[dxXob]?"
)
_BASES = {"x": 16, "X": 16, "o": 8, "b": 2}


# ---- which file ------------------------------------------------------------------------------------------------------


class Source(NamedTuple):
    """A checkpoint that was read."""

    path: str
    contents: Contents

    @property
    def epoch(self) -> int:
        """After which it was written, from 1."""
        return int(self.contents[1]["epoch"])


def find(training: Training, resume: Any, written: list[str]) -> Source | None:
    """The checkpoint that `resume` means; None: "auto", and there is none. `written`: what the training writes, paths
    of `ModelCheckpoint`.

    Raises ModelFileError (a ValueError), ValueError or OSError.
    """
    if resume == _AUTO:
        return _newest_of_all(training, written)
    path = str(_checks.path("resume", resume))
    if os.path.lexists(path) or not _is_pattern(path):
        return Source(path, read(training, path))
    if (found := _newest_of_all(training, [path])) is None:
        raise FileNotFoundError(errno.ENOENT, "no checkpoint of this training has such a name", path)
    return found


def read(training: Training, path: str) -> Contents:
    """A checkpoint of this model. Raises ModelFileError, ValueError or OSError."""
    with opened(Path(path)) as contents:
        model, numbers, arrays = read_model(contents, training=True)
    if numbers is None:
        raise ValueError(f"{path} is a model without the state of a training: only ModelCheckpoint writes it")
    if repr(model) != repr(training.model):
        raise ValueError(f"the checkpoint is of another model: {repr(model)[:1000]}")
    return model, numbers, arrays


def _newest_of_all(training: Training, paths: list[str]) -> Source | None:
    if not paths:
        raise ValueError("resume='auto' looks where a ModelCheckpoint writes, and there is none in callbacks: give one")
    found: Source | None = None
    for path in paths:
        source = _newest(training, path)
        if source is not None and (found is None or source.epoch > found.epoch):
            found = source
    return found


def _is_pattern(path: str) -> bool:
    try:
        check_template(path)
        return any(name is not None for _, name, _, _ in string.Formatter().parse(path))
    except ValueError:
        return False


def _newest(training: Training, template: str) -> Source | None:
    """Of the files that a `ModelCheckpoint` of that path writes, the last one; what is none of this training's, or is
    damaged, is left out, with a warning."""
    name = _Name(template)
    found, left = sorted(name.files(), key=lambda file: file[1], reverse=True), []
    newest: Source | None = None
    for path, most in found:
        if newest is not None and newest.epoch >= most:
            break
        try:
            source = Source(path, read(training, path))
            if type(source.contents[1].get("epoch")) is not int or not name.fits(path, source.epoch):
                raise ModelFileError("it holds another epoch than its name says")
        except FileNotFoundError:
            continue
        except ValueError as error:
            left.append(f"{path}: {str(error)[:200]}")
            continue
        if newest is None or source.epoch > newest.epoch:
            newest = source
    if left:
        instead = "training begins anew" if newest is None else f"training goes on from {newest.path}"
        warn(f"resume leaves out what it cannot go on from ({'; '.join(left[:5])}): {instead}")
    return newest


class _Name:
    """What files are called that a path with an epoch and figures in it becomes.

    A name may be read in several ways, as 1 and 16 in m-1-6.npz or 116.npz: only the file says which epoch it is of.
    Its name says which it can be of at most, and so in which order to look.
    """

    def __init__(self, template: str) -> None:
        self.parts = [(text, name, form or "") for text, name, form, _ in string.Formatter().parse(template)]
        self.first = next((i for i, (_, name, _) in enumerate(self.parts) if name == "epoch"), None)

    def files(self) -> list[tuple[str, float]]:
        """All that may be meant: path, and the last epoch that its name can stand for."""
        wanted = "".join(glob.escape(text) + ("" if name is None else "*") for text, name, _ in self.parts)
        hidden = re.sub(r"(^|[/\\])\*", r"\1.*", wanted)  # a form can fill up with dots
        paths = [path for pattern in dict.fromkeys([wanted, hidden]) for path in glob.glob(pattern)]
        if self.first is None:
            pattern = re.compile(self._pattern(self.parts, None), re.DOTALL)
            return [(path, math.inf) for path in paths if pattern.fullmatch(path) and os.path.isfile(path)]
        text, _, form = self.parts[self.first]
        before = re.compile(self._pattern(self.parts[: self.first], None) + re.escape(text), re.DOTALL)
        after = re.compile(self._pattern(self.parts[self.first + 1 :], None), re.DOTALL)
        longest, found = _longest(form), []
        for path in paths:
            most = max((
                _at_most(path[start:end], form)
                for start in range(len(path)) if before.fullmatch(path, 0, start)
                for end in range(start + 1, min(start + longest, len(path)) + 1) if after.fullmatch(path, end)
            ), default=-1.0)  # fmt: skip
            if most >= 0 and os.path.isfile(path):
                found.append((path, most))
        return found

    def fits(self, path: str, epoch: int) -> bool:
        """Whether a checkpoint of that epoch may be called so."""
        return re.fullmatch(self._pattern(self.parts, epoch), path, re.DOTALL) is not None

    @staticmethod
    def _pattern(parts: list[tuple[str, str | None, str]], epoch: int | None) -> str:
        """As a regular expression; where no epoch is given, any number stands for it."""
        pattern = ""
        for text, name, form in parts:
            pattern += re.escape(text)
            if name == "epoch" and epoch is not None:
                pattern += re.escape(format(epoch, form))
            elif name is not None:  # and whatever the form fills up with
                letters = re.escape("+-.,_%eEinfINFaA " + form) + ("a-fA-FxX" if name == "epoch" else "")
                pattern += f"[0-9{letters}]{{1,{_longest(form)}}}?"
        return pattern


def _longest(form: str) -> int:
    """Characters that a number may take."""
    return min(40 + sum(map(int, re.findall("[0-9]{1,3}", form))), 300)


def _at_most(word: str, form: str) -> float:
    """The last epoch that is written so; -1 if none is."""
    if not _EXACT.fullmatch(form):  # as 1e+02, which many are
        return math.inf
    base = _BASES.get(form[-1:], 10)
    digits = re.sub("[^0-9a-fA-F]" if base == 16 else f"[^0-{min(base, 10) - 1}]", "", word)
    number = int(digits, base) if digits else -1
    return number if number >= 0 and format(number, form) == word else -1


# ---- what counts -----------------------------------------------------------------------------------------------------


def settings(training: Training) -> dict[str, Any]:
    """What a checkpoint says about how it was made, so that another way is noticed."""
    return {
        "lr": training.first_rate,
        "optimizer": _described(training.optimizer, ("lr",)),
        "schedule": _described(training.schedule, ()),
        "stateful": str(training.stateful),
        "truncate": str(training.truncate),
        "frozen": ", ".join(frozen_names(training.model)) or "none",
    }


def kind(schedule: object) -> str:
    """Its class, and those of schedules inside of it: what the state of another kind says nothing to."""
    inner = [kind(value) for _, value in sorted(vars(schedule).items()) if isinstance(value, Schedule)]
    return f"{type(schedule).__name__}({', '.join(inner)})"


def _described(thing: object, without: tuple[str, ...]) -> str:
    """Class and options, those of a schedule inside of it, too."""
    if isinstance(thing, FunctionSchedule):
        return str(thing)
    options = []
    for name, value in sorted(vars(thing).items()):
        if name.startswith("_") or name in without:
            continue
        if isinstance(value, (bool, int, float, str, tuple, type(None))):
            options.append(f"{name}={value!r:.80}")
        elif isinstance(value, Schedule):
            options.append(f"{name}={_described(value, ())}")
    return f"{type(thing).__name__}({', '.join(options)})"


def watched(callback: object) -> list[Any]:
    """Which figure it compares, and in which direction: the best of another one says nothing."""
    monitor, sign = getattr(callback, "monitor", None), getattr(callback, "_sign", None)
    return [monitor, sign] if isinstance(monitor, str) and isinstance(sign, float) else []


def pair(training: Training, items: list[dict[str, Any]]) -> list[int | None]:
    """For each callback of fit, which of the checkpoint's it goes on from."""
    left, found = list(range(len(items))), list[int | None]()
    for callback in training.callbacks:
        own = type(callback).__name__, watched(callback)
        fits = (i for i in left if (items[i]["class"], items[i].get("watches", own[1])) == own)
        found.append(place := next(fits, None))
        if place is not None:
            left.remove(place)
    return found


def tell_differences(
    training: Training, items: list[dict[str, Any]], states: list[dict[str, Any]], paired: list[int | None],
    before: Mapping[str, Any], seed: int, rates: tuple[float, float], *, began: bool,
) -> None:  # fmt: skip
    """Warn of what fit was given and the checkpoint has otherwise; `before`: its settings; `rates`: its first and last
    learning rate; `began`: the schedule is of another kind, and does not go on from its state."""
    lost = [items[i]["class"] for i, state in enumerate(states) if state and i not in paired]
    new = [
        type(callback).__name__
        for callback, place in zip(training.callbacks, paired, strict=True)
        if place is None and callback.state_dict() and getattr(callback, "best_only", True)
    ]
    if lost or new:
        warn(
            "resume with other callbacks than the checkpoint was written with: those that fit is given count. "
            + (f"{', '.join(lost)[:300]} of the checkpoint will not go on. " if lost else "")
            + (f"{', '.join(new)[:300]} of fit will begin now." if new else "")
        )
    if training.rate not in rates:
        warn(
            f"resume with another learning rate: the checkpoint's counts, {rates[1]:g}, not the optimizer's "
            f"{training.rate:g}. For another rate from here on, give a schedule, or set training.optimizer.lr in a "
            "callback; or begin a new training with pylstm.load(path).fit(..)"
        )
    if training._seeded and training.entropy != seed:
        warn(f"resume with another seed: the checkpoint's counts, not {training.entropy}")
    for name, own in settings(training).items():
        known = before.get(name)
        anew = began and name == "schedule"
        if name != "lr" and (anew or (isinstance(known, str) and known != own)):
            instead = f", not {known[:300]}" if isinstance(known, str) else ""
            state = ", and begins with its own state" if anew else ""
            what = f"another {name}: what fit is given counts"
            if name == "frozen":
                what = "other frozen layers: those of the model that is trained count"
            warn(f"resume with {what}, {own[:300]}{instead}{state}")


def tell(training: Training, source: Source, auto: bool, epochs: int, progress: Progress) -> None:
    """Say from where training goes on, or why it does not."""
    done = source.epoch
    if training._stopped:
        text = (
            f"{source.path}: this training was ended by a callback after epoch {done}, and so nothing is added. "
            "EarlyStopping goes on with more patience; pylstm.load(path).fit(..) begins a new training"
        )
    elif done >= epochs:
        text = (
            f"{source.path} is of epoch {done}, and epochs={epochs} counts from the beginning, those of the checkpoint "
            "among them: nothing is added"
        )
    else:
        progress.say(f"going on after epoch {done} of {source.path}")
        return
    if auto and (progress.verbose or not training._stopped):
        progress.say(text)
    else:
        warn(text)
