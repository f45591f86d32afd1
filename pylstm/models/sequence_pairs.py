"""Sources and targets of an `EncoderDecoder`: lists of sequences, checked as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._arrays import length_array, number_array

_TOGETHER = 4096  # sequences that are looked at together
Symbols = NDArray[np.int64]


def as_sequences(name: str, given: Any, lengths: Any = None) -> list[Any]:
    """A list of sequences: as they are, or those of a padded array. Raises TypeError or ValueError."""
    if isinstance(given, np.ndarray) or hasattr(given, "__array__"):
        array = number_array(name, given)
        if array.ndim < 2:
            raise ValueError(f"{name} must be a list of sequences or an array (N, T), got shape {array.shape}")
        if lengths is None:
            return list(array)
        counts = length_array(lengths, array.shape[1], len(array))
        return [row[:count] for row, count in zip(array, counts, strict=True)]
    if not isinstance(given, (list, tuple)):
        raise TypeError(f"{name} must be a list of sequences, got {_checks.kind(given)}")
    if lengths is not None:
        raise ValueError(f"lengths are for a padded array: the sequences of the list {name} have lengths of their own")
    return list(given)


def as_symbols(name: str, given: Any, lengths: Any, count: int, table: object) -> list[Symbols]:
    """A list of int64 arrays of symbols in 0..count-1.

    Raises TypeError or ValueError for what is no sequence of symbols, naming its place, and IndexError for symbols that
    `table` does not have.
    """
    items = [_symbols(name, i, one) for i, one in enumerate(as_sequences(name, given, lengths))]
    for start in range(0, len(items), _TOGETHER):
        some = items[start : start + _TOGETHER]
        flat = np.concatenate(some)
        if flat.size and (int(flat.min()) < 0 or int(flat.max()) >= count):
            for i, one in enumerate(some, start):
                if (wrong := one[(one < 0) | (one >= count)]).size:
                    raise IndexError(f"{name}[{i}] holds {wrong[0]}, but the symbols of {table} are 0..{count - 1}")
    return items


def refuse(name: str, items: list[Symbols], symbol: int, what: str) -> None:
    """Raises ValueError if any of them holds the symbol."""
    for start in range(0, len(items), _TOGETHER):
        some = items[start : start + _TOGETHER]
        if (np.concatenate(some) == symbol).any():
            i = start + next(k for k, one in enumerate(some) if (one == symbol).any())
            raise ValueError(f"{name}[{i}] holds {symbol}, the symbol for {what}, which the model adds itself")


def _symbols(name: str, index: int, value: Any) -> Symbols:
    if type(value) is np.ndarray and value.dtype == np.int64 and value.ndim == 1:
        return value
    if isinstance(value, str) or (isinstance(value, (list, tuple)) and value and isinstance(value[0], str)):
        raise TypeError(
            f"{name}[{index}] must be a sequence of symbols, integers, got text: pylstm.Vocabulary makes numbers of it"
        )
    array = number_array(f"{name}[{index}]", value)
    if array.ndim != 1:
        raise ValueError(f"{name}[{index}] must be one sequence of symbols, (T,), got shape {array.shape}")
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name}[{index}] must hold symbols, integers, got dtype {array.dtype}")
    if array.dtype.kind == "u" and array.size and int(array.max()) >= 2**63:
        raise IndexError(f"{name}[{index}] holds {array.max()}, which is no symbol")
    return array.astype(np.int64)
