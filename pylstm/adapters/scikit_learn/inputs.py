"""X as users have it: tables, arrays and lists of sequences, checked in scikit-learn's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from ..._arrays import Array, array_of

_REAL = (np.float64, np.float32)  # what keeps its dtype; all else becomes the first


@dataclass(frozen=True)
class Given:
    """N sequences: an array (N, T, F), or of symbols (N, T), or a list of arrays (T_i, F) or (T_i,)."""

    data: Any

    @property
    def width(self) -> int:
        """F; 1 of symbols."""
        shape = np.shape(self.data[0]) if isinstance(self.data, list) else self.data.shape[1:]
        return int(shape[1]) if len(shape) > 1 else 1

    @property
    def dtype(self) -> np.dtype[Any]:
        found: np.dtype[Any] = self.data[0].dtype if isinstance(self.data, list) else self.data.dtype
        return found

    def part(self, rows: Array) -> Given:
        """These sequences."""
        return Given([self.data[i] for i in rows] if isinstance(self.data, list) else self.data[rows])


def given(estimator: Any, x: Any, *, symbols: bool, reset: bool, dtype: Any = None) -> Given:
    """X, checked. Sets `n_features_in_` and `feature_names_in_` of the estimator, or compares with them.

    symbols: integers for an embedding, in place of numbers. reset: whether this is a fit. dtype: float32 or float64;
    None: as X has it.

    A table (N, T) has steps of one number, and the same columns ever after, as everywhere in scikit-learn; an array
    (N, T, F) and a list of arrays hold sequences, which have F features each and any length. Lists that look like a
    table may be sequences of other lengths in `predict`.
    """
    kinds: Any = np.float64 if symbols else _REAL if dtype is None else np.dtype(dtype).type
    name = type(estimator).__name__
    items = sequences(x, tables=not symbols and (reset or not estimator._from_lists))
    if reset:
        estimator._from_lists = isinstance(x, (list, tuple))
    if items is None and _axes(x) < 3 and (reset or estimator._columns is not None):
        table = np.asarray(validate_data(estimator, x, reset=reset, dtype=kinds))
        estimator._columns = table.shape[1]
        return Given(_symbols(table) if symbols else table[:, :, None])
    if items is None:
        array = np.asarray(check_array(x, dtype=kinds, allow_nd=True, estimator=estimator, input_name="X"))
        array = array[:, :, None] if array.ndim == 2 else array
        if array.ndim != 3:
            raise ValueError(f"Found array with dim {array.ndim}, while {name} expected <= 3: (N, T, F).")
        found = Given(array)
    else:
        found = Given(_checked(estimator, items, kinds))
    if symbols and (width := found.width) != 1:
        raise ValueError(f"embedding needs X of symbols, (N, T) or a list of arrays (T_i,), got {width} features")
    if reset:
        estimator.n_features_in_, estimator._columns = found.width, None
        vars(estimator).pop("feature_names_in_", None)
    elif found.width != (expected := 1 if estimator._columns is not None else estimator.n_features_in_):
        raise ValueError(f"X has {found.width} features, but {name} is expecting {expected} features as input.")
    if symbols:
        data = found.data
        return Given([_symbols(item[:, 0]) for item in data] if isinstance(data, list) else _symbols(data[:, :, 0]))
    return found


def sequences(x: Any, *, tables: bool) -> list[Any] | None:
    """The items of an X that is a list of sequences; None: a table or an array, or what becomes one.

    tables: whether a list of lists of numbers that are all of one length is a table, as everywhere in scikit-learn. A
    list of arrays is one of sequences, whatever their lengths.
    """
    one = getattr(x, "ndim", None) == 1
    if isinstance(x, np.ndarray) and one and x.dtype == object:
        items = list(x)
    elif one and hasattr(x, "to_list"):  # a column of a data frame
        items = x.to_list()
    elif isinstance(x, (list, tuple)):
        items = list(x)
    else:
        return None
    if not items or not all(_is_sequence(item) for item in items):
        return None
    if tables and all(isinstance(item, (list, tuple)) for item in items) and len({len(item) for item in items}) == 1:
        inner = [part for item in items for part in item]
        if not any(_is_sequence(part) for part in inner) or len({_length(part) for part in inner}) == 1:
            return None
    return items


def _is_sequence(item: Any) -> bool:
    return isinstance(item, (list, tuple)) or getattr(item, "ndim", 0) > 0


def _length(item: Any) -> int:
    return len(item) if _is_sequence(item) else -1


def _axes(x: Any) -> int:
    """How many axes X has, as far as it says; nested lists by the first item of each."""
    if isinstance(x, (list, tuple)):
        return 1 + _axes(x[0]) if len(x) else 1
    own = getattr(x, "ndim", 0)
    return own if isinstance(own, int) else 0


def _checked(estimator: Any, items: list[Any], kinds: Any) -> list[Array]:
    """Arrays (T_i, F) of one dtype, of which every number has been looked at."""
    arrays = []
    for i, item in enumerate(items):
        array = array_of(f"X[{i}]", item)
        if array.ndim not in (1, 2):
            raise ValueError(f"X[{i}] must have shape (T, F) or (T,), got {array.shape}")
        arrays.append(array)
    first = next((array for array in arrays if array.shape != (0,)), arrays[0])
    for i, array in enumerate(arrays):
        if array.shape == (0,):  # [] says nothing of features
            arrays[i] = array = np.zeros((0, *first.shape[1:]))
        if array.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"the sequences in X must differ in length only: one has shape {first.shape}, X[{i}] {array.shape}"
            )
    lengths = [len(array) for array in arrays]
    width = first.shape[1] if first.ndim == 2 else 1
    full = [array.reshape(len(array), width) for array in arrays if len(array)]
    if not full:
        raise ValueError(f"Found array with 0 sample(s): all {len(arrays)} sequences in X are empty.")
    whole = check_array(np.concatenate(full), dtype=kinds, estimator=estimator, input_name="X")
    return np.split(np.asarray(whole), np.cumsum(lengths)[:-1])


def _symbols(array: Array) -> Array:
    """Integers from 0, of floats that are whole, too."""
    if array.size and (array.min() < 0 or (array != np.floor(array)).any()):
        raise ValueError("embedding needs X of symbols, integers from 0, got other numbers")
    found: Array = array.astype(np.int64)
    return found


def symbols_in(found: Given) -> int:
    """One more than the largest symbol."""
    parts: Sequence[Array] = found.data if isinstance(found.data, list) else [found.data]
    return 1 + max(int(part.max()) for part in parts if part.size)


def check_symbols(found: Given, num: int) -> None:
    """Raises ValueError for symbols that an embedding of `num` does not have."""
    if (wanted := symbols_in(found)) > num:
        raise ValueError(
            f"X holds the symbol {wanted - 1}, but the embedding has {num}, 0..{num - 1}: say how many there are, "
            f"embedding=(number, size)"
        )
