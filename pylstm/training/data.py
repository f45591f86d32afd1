"""What fit, evaluate and predict are given: one input or several, padded or as lists, and how batches are cut."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._arrays import Array, length_array, number_array
from .counted import Counted, Indices

_POOL = 64  # batches' worth of sequences that are sorted by length together: more pads less and shuffles less
_CLASSES = ": name the classes 0, 1, 2, ..."


class Sequences(Counted):
    """N inputs: an array (N, ...), a padded array with `lengths`, or a list of sequences of differing length.

    lengths: (N,) int64, or None where every input has the same shape.
    """

    def __init__(self, x: Any, lengths: ArrayLike | None = None, *, rows: bool | None = None, name: str = "x") -> None:
        """rows: whether lists of numbers are rows of features, one per input, or sequences of symbols. None: they are
        sequences of symbols if all of them hold integers. name: what errors call x."""
        self.name = name
        if isinstance(x, (list, tuple)):
            items = [_item(i, value, name) for i, value in enumerate(x)]
            _alike(name, items, lengths=False)
            flat = bool(items) and items[0].ndim == 1
            if flat and rows is None:
                rows = any(item.dtype.kind == "f" for item in items)
            if not items or items[0].ndim > 1 or (flat and not rows):
                if lengths is not None:
                    raise ValueError("lengths is for a padded array: a list of sequences has lengths of its own")
                _alike(name, items)
                for i, item in enumerate(items if flat else []):
                    if item.dtype.kind == "f" and item.size:
                        raise TypeError(
                            f"{name}[{i}] must hold integers, symbols for the first layer, got {item.dtype}"
                        )
                self._items = [item.astype(np.int64) if flat and item.dtype.kind == "f" else item for item in items]
                self.lengths: Indices | None = np.array([len(item) for item in items], np.int64)
                self._kind = _common(self._items)
        if self._items is None:
            self._array = number_array(name, x)
            if self._array.ndim == 0:
                raise TypeError(f"{name} must be an array of numbers or a list of sequences, got {_checks.kind(x)}")
            self.lengths = None
            if lengths is not None:
                if self._array.ndim < 2:
                    raise ValueError(f"lengths needs {name} of shape (N, T, ...), got {self._array.shape}")
                self.lengths = self.counts = length_array(lengths, self._array.shape[1], len(self._array))

    def __len__(self) -> int:
        return len(self._array) if self._items is None else len(self._items)

    @property
    def is_list(self) -> bool:
        """Whether results per step go back as a list, too."""
        return self._items is not None

    @property
    def steps(self) -> int | None:
        """T of a padded array."""
        return self._array.shape[1] if self._items is None and self._array.ndim > 1 else None

    def batch(self, rows: Indices) -> tuple[Array, Indices | None]:
        """The inputs of these rows, padded with zeros to the longest of them, and their lengths."""
        if self.lengths is None:
            return self._array[rows], None
        lengths = self.lengths[rows]
        steps = int(lengths.max(initial=0))
        if self._items is None:
            return self._array[rows, :steps], lengths
        return pad([self._items[i] for i in rows], steps, self._kind), lengths

    def batches(self, size: int, rng: np.random.Generator | None) -> list[Indices]:
        """All rows in batches of `size`: shuffled and of similar lengths with `rng`, else in the given order."""
        return batches(len(self), self.lengths, size, rng)


def batches(count: int, lengths: Indices | None, size: int, rng: np.random.Generator | None) -> list[Indices]:
    """Rows 0..count-1 in batches of `size`: shuffled and of similar lengths with `rng`, else in the given order."""
    order = np.arange(count) if rng is None else rng.permutation(count)
    if rng is None or lengths is None:
        return [order[start : start + size] for start in range(0, len(order), size)]
    found = []
    for start in range(0, len(order), size * _POOL):
        pool = order[start : start + size * _POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        found += [pool[at : at + size] for at in range(0, len(pool), size)]
    return [found[i] for i in rng.permutation(len(found))]


class Batch(NamedTuple):
    """Inputs of some sequences: as positional arguments of the model or by name, and their lengths.

    lengths: (N,), None where all steps count; where several inputs have lengths a tuple or dict of theirs.
    place: of which of several inputs, where one of them has lengths.
    """

    inputs: tuple[Array, ...]
    named: dict[str, Array]
    lengths: Any
    place: Any = None

    @property
    def steps(self) -> int:
        """T of the first input."""
        first = self.first
        return first.shape[1] if first.ndim > 1 else 0

    @property
    def first(self) -> Array:
        return self.inputs[0] if self.inputs else next(iter(self.named.values()))

    @property
    def given(self) -> Any:
        """As fit was given them."""
        return self.named or (self.inputs if len(self.inputs) > 1 else self.inputs[0])


def first_steps(batch: Batch, steps: int | None) -> Batch:
    """A batch of one input, cut to its first `steps` steps; None: as it is."""
    if steps is None:
        return batch
    return Batch((batch.first[:, :steps],), {}, None if batch.lengths is None else np.minimum(batch.lengths, steps))


class Inputs:
    """N inputs of a model: `Sequences`, or with `several` a tuple of such, or a dict by name.

    keys: the places of several inputs; lengths: (N,) by which batches are made, of several inputs their sum.
    """

    def __init__(self, x: Any, lengths: Any = None, *, several: bool = False, rows: bool | None = None) -> None:
        self.keys: tuple[Any, ...] | None = None
        self.stride: int | None = None  # of windows over a series: steps from one to the next
        if several and isinstance(x, (tuple, dict)):
            self.keys = tuple(x) if isinstance(x, dict) else tuple(range(len(x)))
            self.named = isinstance(x, dict)
            if not self.keys:
                raise ValueError("x holds no inputs")
            if wrong := [key for key in self.keys if self.named and not isinstance(key, str)]:
                raise TypeError(f"the keys of x must be names of the model's inputs, got {wrong[0]!r}")
            own = _parallel("lengths", lengths, self.keys, self.named)
            self.parts = [Sequences(x[key], own[key], rows=rows, name=f"x[{key!r}]") for key in self.keys]
            for key, part in zip(self.keys, self.parts, strict=True):
                if len(part) != len(self.parts[0]):
                    raise ValueError(
                        f"x[{self.keys[0]!r}] holds {len(self.parts[0])} sequences and x[{key!r}] {len(part)}"
                    )
        else:
            self.named = False
            self.parts = [Sequences(x, lengths, rows=rows)]
        found = [part.lengths for part in self.parts if part.lengths is not None]
        self.lengths: Indices | None = found[0] if len(found) == 1 else np.sum(found, axis=0) if found else None
        # the one input whose steps those of an output can be
        self.sequence = next(part for part in self.parts if part.lengths is not None) if len(found) == 1 else None
        self.several_lengths = len(found) > 1

    def __len__(self) -> int:
        return len(self.parts[0])

    @property
    def is_list(self) -> bool:
        """Whether results per step go back as a list, too."""
        return any(part.is_list for part in self.parts)

    @property
    def steps(self) -> int | None:
        """T of the padded array whose steps those of an output can be."""
        return self.parts[0].steps if len(self.parts) == 1 else None if self.sequence is None else self.sequence.steps

    def batch(self, rows: Indices) -> Batch:
        """The inputs of these rows, padded with zeros to the longest of them, and their lengths."""
        if self.keys is None:
            array, lengths = self.parts[0].batch(rows)
            return Batch((array,), {}, lengths)
        found = {key: part.batch(rows) for key, part in zip(self.keys, self.parts, strict=True)}
        lengths_of: dict[Any, Any] = {key: lengths for key, (_, lengths) in found.items()}
        place, lengths = next(((key, own) for key, own in lengths_of.items() if own is not None), (None, None))
        all_lengths: Any = lengths
        if self.several_lengths:
            all_lengths, place = (lengths_of if self.named else tuple(lengths_of.values())), None
        arrays = {key: array for key, (array, _) in found.items()}
        return Batch(() if self.named else tuple(arrays.values()), arrays if self.named else {}, all_lengths, place)

    def batches(self, size: int, rng: np.random.Generator | None, epoch: int = 0) -> list[Indices]:  # noqa: ARG002
        """All rows in batches of `size`: shuffled and of similar lengths with `rng`, else in the given order."""
        return batches(len(self), self.lengths, size, rng)

    def naming(self) -> contextlib.AbstractContextManager[None]:
        """Within it, errors name the batch, where there is no other way to find it."""
        return contextlib.nullcontext()

    def sorted_batches(self, size: int) -> list[Indices]:
        """All rows in batches of `size`, by length: the least padding."""
        order = np.arange(len(self)) if self.lengths is None else np.argsort(self.lengths, kind="stable")
        return [order[start : start + size] for start in range(0, len(order), size)]


def _parallel(name: str, value: Any, keys: tuple[Any, ...], named: bool) -> dict[Any, Any]:
    """What is given beside several inputs or targets: one of it for each, None for those without."""
    if value is None:
        return dict.fromkeys(keys)
    if named:
        if not isinstance(value, Mapping) or (unknown := [key for key in value if key not in keys]):
            shown = f"the name {unknown[0]!r}" if isinstance(value, Mapping) else _checks.kind(value)
            raise TypeError(f"{name} must be a dict with names of {', '.join(keys)}, got {shown}")
        return {key: value.get(key) for key in keys}
    if not isinstance(value, tuple) or len(value) != len(keys):
        shown = f"a tuple of {len(value)}" if isinstance(value, tuple) else _checks.kind(value)
        raise TypeError(f"{name} must be a tuple of {len(keys)}, one for each (None for one without), got {shown}")
    return dict(zip(keys, value, strict=True))


class Targets(Counted):
    """N targets: one per sequence; one per step, as a list or a padded array (N, T, ...); or sequences of their own.

    per_step: the model gives an output for each step of its input, and there is a target for each. None: a model that
    does not say; then a list of sequences is padded, and counts up to their own lengths. free: so it is in any case,
    whatever the lengths of the input. lengths: of padded targets.
    """

    def __init__(
        self,
        y: Any,
        x: Inputs,
        per_step: bool | None,
        *,
        free: bool = False,
        lengths: ArrayLike | None = None,
        name: str = "y",
    ) -> None:
        self.name = name
        self._cut = False
        self.lengths: Indices | None = None  # of their own
        if not isinstance(y, (list, tuple)):
            y = number_array(name, y, _CLASSES)
        if isinstance(y, np.ndarray) and y.ndim == 0:
            raise TypeError(f"{name} must be an array or a list, one target per sequence, got {y.dtype} without axes")
        if len(y) != len(x):
            raise ValueError(f"x holds {len(x)} sequences and {name} {len(y)} targets")
        if lengths is not None:
            self._array = number_array(name, y, _CLASSES)
            if self._array.ndim < 2:
                raise ValueError(f"target_lengths needs {name} of shape (N, T, ...), got {self._array.shape}")
            self.lengths, self._cut = length_array(lengths, self._array.shape[1], len(self._array)), True
            self.counts = self.lengths
            return
        if isinstance(y, (list, tuple)) and (free or per_step is None) and _ragged(y, free):
            self.lengths = np.array([len(item) for item in self._take_items(y, name)], np.int64)
            return
        per_step = per_step and not free
        if per_step and x.several_lengths:
            raise ValueError(
                f"several inputs have lengths, so that those of the outputs are not known: give {name} as a list of "
                "sequences, or target_lengths"
            )
        if per_step and x.lengths is not None and isinstance(y, (list, tuple)):
            items = self._take_items(y, name)
            for i, (item, length) in enumerate(zip(items, x.lengths, strict=True)):
                if item.ndim and len(item) == x.steps:  # padded as x is
                    items[i] = item[:length]
                elif item.ndim == 0 or len(item) != length:
                    raise ValueError(f"{name}[{i}] must have a target for each of the {length} steps, got {item.shape}")
            return
        self._array = number_array(name, y, _CLASSES)
        if x.lengths is None or per_step is False or free:
            return
        steps = x.steps if x.steps is not None else int(x.lengths.max(initial=0))
        if per_step is None:
            if self._array.ndim > 1 and self._array.shape[1] == steps:
                raise ValueError(
                    f"{name} of shape {self._array.shape} may hold a target for each of {steps} steps: say "
                    "keeps_time = True in the model's class if so, keeps_time = False if not, or give target_lengths"
                )
            return
        if self._array.ndim < 2 or self._array.shape[1] != steps:
            raise ValueError(f"the model gives one output per step: {name} must have shape (N, {steps}, ...), "
                             f"got {self._array.shape}")  # fmt: skip
        self._cut, self.counts = True, x.lengths

    def __len__(self) -> int:
        return len(self._array) if self._items is None else len(self._items)

    @property
    def all_parts(self) -> list[Targets]:
        """Those of one output each."""
        return [self]

    def _take_items(self, y: Any, name: str) -> list[Array]:
        self._items = items = [_item(i, value, name) for i, value in enumerate(y)]
        _alike(name, items)
        self._kind = _common(items)
        return items

    def batch(self, rows: Indices, steps: int) -> tuple[Array, Indices | None]:
        """The targets of these rows, and their lengths where they have such of their own; per step of the input, those
        of its first `steps` steps."""
        lengths = None if self.lengths is None else self.lengths[rows]
        if lengths is not None:
            steps = int(lengths.max(initial=0))
        if self._items is not None:
            return pad([self._items[i] for i in rows], steps, self._kind), lengths
        return (self._array[rows, :steps] if self._cut else self._array[rows]), lengths


def _ragged(y: Any, free: bool) -> bool:
    """Whether a list holds sequences of differing length; `free`: sequences at all."""
    if not all(hasattr(value, "__len__") for value in y):  # numbers
        return False
    return free or len({len(value) for value in y}) > 1


class SeveralTargets:
    """`Targets` in a tuple, or in a dict by name, for a model of several outputs."""

    def __init__(
        self,
        y: Any,
        x: Inputs,
        per_step: bool | None,
        *,
        free: bool = False,
        lengths: Any = None,
        name: str = "y",
    ) -> None:
        self.named = isinstance(y, dict)
        keys = tuple(y) if self.named else tuple(range(len(y)))
        if not keys:
            raise ValueError(f"{name} holds no targets")
        own = _parallel("target_lengths", lengths, keys, self.named)
        self.parts = {
            key: Targets(y[key], x, per_step, free=free, lengths=own[key], name=f"{name}[{key!r}]") for key in keys
        }

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    @property
    def all_parts(self) -> list[Targets]:
        """Those of one output each."""
        return list(self.parts.values())

    def batch(self, rows: Indices, steps: int) -> tuple[Any, Any]:
        """The targets of these rows and their own lengths, in that form."""
        found = {key: part.batch(rows, steps) for key, part in self.parts.items()}
        targets = {key: array for key, (array, _) in found.items()}
        lengths = {key: own for key, (_, own) in found.items()}
        any_own = any(own is not None for own in lengths.values())
        if self.named:
            return targets, lengths if any_own else None
        return tuple(targets.values()), tuple(lengths.values()) if any_own else None


class AllTargets(Protocol):
    """Targets of a model, in batches."""

    def __len__(self) -> int:
        """How many there are."""

    @property
    def all_parts(self) -> Sequence[Counted]:
        """Those of one output each."""

    def batch(self, rows: Indices, steps: int) -> tuple[Any, Any]:
        """The targets of these rows, and their lengths where they have such of their own."""


def _common(items: list[Array]) -> np.dtype[Any]:
    """A dtype that holds the numbers of all items: integers stay integers."""
    kinds = {item.dtype for item in items}
    kind: np.dtype[Any] = np.result_type(*kinds) if items else np.dtype(np.int64)
    if kind.kind == "f" and not any(one.kind == "f" for one in kinds):  # what NumPy makes of uint64 and signed ones
        full = [item for item in items if item.size]
        if all(item.max() < 2**63 for item in full):
            return np.dtype(np.int64)
        if all(item.min() >= 0 for item in full):
            return np.dtype(np.uint64)
    return kind


def pad(items: list[Array], steps: int, dtype: Any) -> Array:
    """Sequences (T_i, ...) as one array (N, steps, ...), zero past their ends."""
    out = np.zeros((len(items), steps, *(items[0].shape[1:] if items else ())), dtype)
    for row, item in zip(out, items, strict=True):
        row[: len(item)] = item
    return out


def _item(index: int, value: Any, name: str = "x") -> Array:
    item = number_array(f"{name}[{index}]", value)
    if item.size == 0 and not isinstance(value, np.ndarray):
        item = item.astype(np.int64)  # [] has no dtype of its own
    return item


def _alike(name: str, items: list[Array], *, lengths: bool = True) -> None:
    for i, item in enumerate(items):
        if item.ndim != items[0].ndim or (lengths and item.shape[1:] != items[0].shape[1:]):
            raise ValueError(
                f"the sequences in {name} must differ in length only: {name}[0] is {items[0].shape}, "
                f"{name}[{i}] {item.shape}"
            )
