"""Data that comes batch by batch: from a function, or from an object that can be gone through.

`BatchInputs` and its `BatchTargets` stand where all data stand otherwise, and hold one batch at a time: the first one
as soon as they are made, so that training, which looks at everything before it begins, looks at that.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import _checks
from .counted import Counted, Indices
from .data import AllTargets, Inputs
from .splitting import Data

Pair = tuple[Inputs, AllTargets]
_HOLD = (np.ndarray, list, tuple, dict, str, bytes, bytearray, set, frozenset)
_KEYS = Data._fields
_ARRAY_LIKE = ("__array__", "__array_interface__", "__dlpack__", "dtype")
_ERRORS = (TypeError, ValueError, IndexError, FloatingPointError)
_AGAIN = (
    "Give the function that makes it (x=batches, not x=batches()), an object whose __iter__ begins anew, or "
    "steps_per_epoch for epochs that go on where the last one ended"
)


def gives_batches(x: object) -> bool:
    """Whether x is no data, but something that gives them batch by batch."""
    if isinstance(x, _HOLD) or any(hasattr(x, name) for name in _ARRAY_LIKE):
        return False
    return callable(x) or _can_be_gone_through(x)


def _can_be_gone_through(value: object) -> bool:
    return isinstance(value, Iterable) or (hasattr(value, "__getitem__") and hasattr(value, "__len__"))


def opened(data: Data, convert: Callable[[Data], Pair], name: str = "x") -> Pair | None:
    """The first batch, if x gives batches; None if it is all data itself.

    convert: makes the pair of what a batch holds. Raises TypeError if y is neither there nor in batches, or in both.
    """
    x, several = data.x, gives_batches(data.x)
    if several and (given := [key for key in _KEYS[1:] if getattr(data, key) is not None]):
        raise TypeError(f"{name} gives batches, and {given[0]} belongs into them: (x, y), (x, y, lengths), ..")
    if data.y is not None:
        return None
    if not several and not (isinstance(x, list) and x and all(isinstance(item, (tuple, dict)) for item in x)):
        raise TypeError("y is missing: it may be left out where x gives batches (x, y), as a function or iterable")
    inputs = BatchInputs(x, convert, name)
    return inputs, inputs.targets


def planned(
    inputs: Inputs, validation: Pair | None, epochs: int, steps_per_epoch: object, class_weight: object
) -> None:
    """Raises TypeError or ValueError if it is known that batches will not do for a training."""
    steps = None if steps_per_epoch is None else _checks.integer("steps_per_epoch", steps_per_epoch)
    if isinstance(inputs, BatchInputs):
        inputs.source.limit = steps
        if isinstance(class_weight, str):
            raise ValueError(f"class_weight={class_weight!r} needs all of y, and x gives it batch by batch")
    elif steps is not None:
        raise ValueError("steps_per_epoch is for x that gives batches: of arrays and lists an epoch is all")
    for one in (inputs, None if validation is None else validation[0]):
        if isinstance(one, BatchInputs):
            one.source.check(epochs)


def inputs_of(item: Any) -> tuple[Any, Any]:
    """x and its lengths, for `predict`: of a tuple as fit takes it, or of x itself. A list may be either."""
    if isinstance(item, dict) and "x" in item and item.keys() <= set(_KEYS):
        return item["x"], item.get("lengths")
    if isinstance(item, tuple) or _is_pair(item):
        return _parts(item, "x")[:3:2]
    return item, None


def _is_pair(item: Any) -> bool:
    """Whether a list, as loaders give it, is x and y: arrays that are not sequences of one model."""
    if not isinstance(item, list) or not 2 <= len(item) <= len(_KEYS):
        return False
    x, y = (tuple(getattr(one, "shape", ())) for one in item[:2])
    return len(x) > 1 and len(y) > 0 and x[0] == y[0] and x[1:] != y[1:]


def _parts(item: Any, name: str) -> Data:
    """A batch (x, y), (x, y, lengths), .. as `Data` has them, or a dict of these."""
    if isinstance(item, dict) and {"x", "y"} <= item.keys() <= set(_KEYS):
        return Data(**item)
    if isinstance(item, (tuple, list)) and 2 <= len(item) <= len(_KEYS):
        return Data(*item)
    shown = f"a {type(item).__name__} of {len(item)}" if isinstance(item, (tuple, list)) else _checks.kind(item)
    if isinstance(item, dict):
        shown = f"a dict of {', '.join(map(repr, item))}"
    raise TypeError(f"{name} must give batches (x, y) or (x, y, lengths), or dicts of these, got {shown}")


_END: Any = object()


class Source:
    """Where batches come from.

    Attributes:
        limit: how many of them are an epoch; None: all.
        count: how many an epoch has had, or says that it has; None while that is not known.
        failed: the error that came from here, if one did.
    """

    def __init__(self, given: Any, name: str = "x") -> None:
        self._given, self._name = given, name
        self._once = isinstance(given, Iterator)
        self._by_epoch = callable(given) and "epoch" in _checks.keywords(given)
        self._passes = 0
        self._first: tuple[int, Iterator[Any], Any] | None = None  # epoch, and what `peek` has begun to read
        self.limit: int | None = None
        self.count: int | None = len(given) if hasattr(given, "__len__") else None
        self.failed: BaseException | None = None

    @property
    def goes_on(self) -> bool:
        """Whether an epoch begins where the one before has ended."""
        return self._once

    def check(self, epochs: int) -> None:
        """Raises ValueError if it is known that there are not enough batches for so many epochs."""
        if self._once and epochs > 1 and self.limit is None:
            kind = "a generator" if inspect.isgenerator(self._given) else f"an iterator ({_checks.kind(self._given)})"
            raise ValueError(f"{self._name} is {kind}, which gives its batches once, and epochs is {epochs}. {_AGAIN}")

    def peek(self) -> Any:
        """The first batch, with which the next `items` begin all the same."""
        iterator = self._begin(0)
        for item in iterator:
            self._first = 0, iterator, item
            return item
        raise ValueError(f"{self._name} gave no batch")

    def items(self, epoch: int) -> Iterator[Any]:
        """The batches of an epoch. Raises ValueError if there are none, or fewer than `limit`."""
        first, self._first = self._first, None
        found, iterator = 0, None
        try:
            if first is not None and (first[0] == epoch or not self._by_epoch):
                _, iterator, item = first
                first, found = None, 1
                yield item
            else:
                iterator = self._begin(epoch)
            for item in iterator if self.limit is None else _some(iterator, self.limit - found):
                found += 1
                yield item
            self._passes += 1
            if not found:
                again = f" when it was gone through again. {_AGAIN}" if self._passes > 1 else ""
                raise ValueError(f"{self._name} gave no batch{again}")
            if self.limit is not None and found < self.limit:
                raise ValueError(f"{self._name} ended after {found} batches, and steps_per_epoch is {self.limit}")
            self.count = found
        except Exception as error:
            self.failed = error
            raise
        finally:
            close = None if self._once else getattr(iterator, "close", None)
            if close is not None:  # files that a generator has open
                close()

    def _begin(self, epoch: int) -> Iterator[Any]:
        given = self._given
        if callable(given):
            given = given(epoch=epoch) if self._by_epoch else given()
            if isinstance(given, (tuple, dict, str, bytes, np.ndarray)) or not _can_be_gone_through(given):
                raise TypeError(
                    f"{self._name}() must return an iterator over batches, got {_checks.kind(given)}: write "
                    "`yield x, y` for each"
                )
        return iter(given) if isinstance(given, Iterable) else (given[i] for i in range(len(given)))


def _some(iterator: Iterator[Any], count: int) -> Iterator[Any]:
    """Not one more is asked for."""
    while count and (item := next(iterator, _END)) is not _END:
        count -= 1
        yield item


class BatchInputs(Inputs):
    """`Inputs` of one batch at a time; `targets` are those beside it.

    look: what every batch is looked at with, but the first, which training looks at before it begins.
    """

    look: Callable[[Inputs, AllTargets], None] | None = None

    def __init__(self, given: Any, convert: Callable[[Data], Pair], name: str = "x") -> None:
        self.source, self._convert, self._name = Source(given, name), convert, name
        self._number, self._place = 1, ""
        self.targets = BatchTargets()
        first = self.source.peek()
        with self.naming():
            self._take(first)
        self._forms = self._form()

    def batches(self, size: int, rng: np.random.Generator | None, epoch: int = 0) -> Any:  # noqa: ARG002
        """The rows of the batches as they come, one after another the one that is held."""
        return _Pass(self, epoch, f" of epoch {epoch + 1}")

    def sorted_batches(self, size: int) -> Any:  # noqa: ARG002
        return _Pass(self, 0, "")

    def naming(self) -> contextlib.AbstractContextManager[None]:
        """Within it, errors that data can be the cause of name the batch."""
        return self._naming()

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except _ERRORS as error:
            if error is self.source.failed or type(error) not in _ERRORS:
                raise
            name = "" if self._name == "x" else f"{self._name}: "
            raise type(error)(f"{name}batch {self._number}{self._place}: {error}") from error

    def go_through(self, epoch: int, place: str) -> Iterator[Indices]:
        self._place = place
        self._number = 0
        for item in self.source.items(epoch):
            self._number += 1
            self._take(item)
            self._check_form()
            if self.look is not None:
                self.look(self, self.targets)
            yield np.arange(len(self))

    def _take(self, item: Any) -> None:
        """Hold another batch."""
        inputs, targets = self._convert(_parts(item, self._name))
        self.__dict__.update(vars(inputs))
        self.targets.current = targets

    def _form(self) -> list[tuple[str, Any, str]]:
        """Name, axes and what of their sizes is the same in all batches, and how an error shows them."""
        parts = [*self.parts, *self.targets.all_parts]
        return [(part.name, (len(part.form), part.form[2:]), part.shown) for part in parts]

    def _check_form(self) -> None:
        found = self._form()
        if [form[:2] for form in found] == [form[:2] for form in self._forms]:
            return
        shown = [" and ".join(f"{name} of {shape}" for name, _, shape in forms) for forms in (found, self._forms)]
        raise ValueError(f"it has {shown[0]}, and the first batch {shown[1]}")


class BatchTargets:
    """The targets of the batch that a `BatchInputs` holds, which sets `current`."""

    current: AllTargets

    def __len__(self) -> int:
        return len(self.current)

    @property
    def all_parts(self) -> Sequence[Counted]:
        return self.current.all_parts

    def batch(self, rows: Indices, steps: int) -> tuple[Any, Any]:
        return self.current.batch(rows, steps)


def held(targets: AllTargets) -> AllTargets:
    """Those of a batch, where they come batch by batch."""
    return targets.current if isinstance(targets, BatchTargets) else targets


class _Pass:
    """One time through all batches."""

    def __init__(self, inputs: BatchInputs, epoch: int, place: str) -> None:
        self._inputs, self._epoch, self._place = inputs, epoch, place

    def __iter__(self) -> Iterator[Indices]:
        return self._inputs.go_through(self._epoch, self._place)

    def __len__(self) -> int:
        """0 while it is not known."""
        source = self._inputs.source
        return source.limit or source.count or 0
