"""What fit, evaluate and predict are given: sequences, padded or as a list, their targets, and how batches are cut."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _checks
from .._arrays import Array, length_array

Indices = NDArray[np.int64]

_POOL = 64  # batches' worth of sequences that are sorted by length together: more pads less and shuffles less


class Sequences:
    """N inputs: an array (N, ...), a padded array with `lengths`, or a list of sequences of differing length.

    lengths: (N,) int64, or None where every input has the same shape.
    """

    def __init__(self, x: Any, lengths: ArrayLike | None = None, *, rows: bool | None = None) -> None:
        """rows: whether lists of numbers are rows of features, one per input, or sequences of symbols. None: they are
        sequences of symbols if all of them hold integers."""
        self._items: list[Array] | None = None
        if isinstance(x, (list, tuple)):
            items = [_item(i, value) for i, value in enumerate(x)]
            _alike("x", items, lengths=False)
            flat = bool(items) and items[0].ndim == 1
            if flat and rows is None:
                rows = any(item.dtype.kind == "f" for item in items)
            if not items or items[0].ndim > 1 or (flat and not rows):
                if lengths is not None:
                    raise ValueError("lengths is for a padded array: a list of sequences has lengths of its own")
                _alike("x", items)
                for i, item in enumerate(items if flat else []):
                    if item.dtype.kind == "f" and item.size:
                        raise TypeError(f"x[{i}] must hold integers, symbols for the first layer, got {item.dtype}")
                self._items = [item.astype(np.int64) if flat and item.dtype.kind == "f" else item for item in items]
                self.lengths: Indices | None = np.array([len(item) for item in items], np.int64)
                self._kind = np.result_type(*{item.dtype for item in self._items}) if items else np.dtype(np.int64)
        if self._items is None:
            self._array = _numbers("x", x)
            if self._array.ndim == 0:
                raise TypeError(f"x must be an array of numbers or a list of sequences, got {_checks.kind(x)}")
            self.lengths = None
            if lengths is not None:
                if self._array.ndim < 2:
                    raise ValueError(f"lengths needs x of shape (N, T, ...), got {self._array.shape}")
                self.lengths = length_array(lengths, self._array.shape[1], len(self._array))

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
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        if rng is None or self.lengths is None:
            return [order[start : start + size] for start in range(0, len(order), size)]
        batches = []
        for start in range(0, len(order), size * _POOL):
            pool = order[start : start + size * _POOL]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches += [pool[at : at + size] for at in range(0, len(pool), size)]
        return [batches[i] for i in rng.permutation(len(batches))]

    def sorted_batches(self, size: int) -> list[Indices]:
        """All rows in batches of `size`, by length: the least padding."""
        order = np.arange(len(self)) if self.lengths is None else np.argsort(self.lengths, kind="stable")
        return [order[start : start + size] for start in range(0, len(order), size)]


class Targets:
    """N targets: one per sequence, or, with `per_step`, one per step, as a list or a padded array (N, T, ...)."""

    def __init__(self, y: Any, x: Sequences, per_step: bool) -> None:
        self._items: list[Array] | None = None
        self._cut = False
        if not isinstance(y, (list, tuple)):
            y = _numbers("y", y)
        if isinstance(y, np.ndarray) and y.ndim == 0:
            raise TypeError(f"y must be an array or a list, one target per sequence, got {y.dtype} without axes")
        if len(y) != len(x):
            raise ValueError(f"x holds {len(x)} sequences and y {len(y)} targets")
        if per_step and x.lengths is not None and isinstance(y, (list, tuple)):
            self._items = [_item(i, value, "y") for i, value in enumerate(y)]
            _alike("y", self._items)
            for i, (item, length) in enumerate(zip(self._items, x.lengths, strict=True)):
                if item.ndim == 0 or len(item) != length:
                    raise ValueError(f"y[{i}] must have a target for each of the {length} steps, got {item.shape}")
            self._kind = np.result_type(*{item.dtype for item in self._items}) if self._items else np.dtype(np.int64)
            return
        self._array = _numbers("y", y)
        if per_step and x.lengths is not None:
            steps = x.steps if x.steps is not None else int(x.lengths.max(initial=0))
            if self._array.ndim < 2 or self._array.shape[1] != steps:
                raise ValueError(f"the model gives one output per step: y must have shape (N, {steps}, ...), "
                                 f"got {self._array.shape}")  # fmt: skip
            self._cut = True

    def batch(self, rows: Indices, steps: int) -> Array:
        """The targets of these rows; per step, those of the first `steps` steps."""
        if self._items is not None:
            return pad([self._items[i] for i in rows], steps, self._kind)
        return self._array[rows, :steps] if self._cut else self._array[rows]


def pad(items: list[Array], steps: int, dtype: Any) -> Array:
    """Sequences (T_i, ...) as one array (N, steps, ...), zero past their ends."""
    out = np.zeros((len(items), steps, *(items[0].shape[1:] if items else ())), dtype)
    for row, item in zip(out, items, strict=True):
        row[: len(item)] = item
    return out


def _numbers(name: str, value: Any) -> Array:
    """`value` as an array of numbers, of the dtype it has."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array, got a masked array; fill or drop the masked entries first")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} cannot be made an array: {error}") from error
    if array.dtype.kind not in "biuf":
        hint = ": name the classes 0, 1, 2, ..." if name == "y" and array.dtype.kind in "OUS" else ""
        raise TypeError(f"{name} must hold numbers, got {_checks.kind(value)} of dtype {array.dtype}{hint}")
    return array


def _item(index: int, value: Any, name: str = "x") -> Array:
    item = _numbers(f"{name}[{index}]", value)
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
