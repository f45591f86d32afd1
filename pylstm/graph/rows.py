"""Rows of tables in a model's run that nobody has looked up.

What an embedding gives is such a value. A recurrent layer takes the table and the symbols in place of x, and multiplies
a row once however often it is named; so it does with several joined on their last axis. With any other use the rows are
looked up, and the value is one as all are. In a recorded run only those are handed on of which enough repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._arrays import Array
from ..layers.repeated_rows import combined, repeat
from ..layers.table_rows import TableRows, back_to_table
from . import operations
from .nodes import Operation
from .values import Place, Slot, Value

Dense = tuple[Array, Callable[[Array], tuple[Any, ...]], Sequence[Place | None]]  # output, backward, inputs


class Rows(Value):
    """A value that is rows of a table, until somebody looks at its numbers."""

    __slots__ = ()

    @property
    def _data(self) -> Array:  # type: ignore[override]
        run = self._run
        source: _Lookup | _Join = _DATA.__get__(self)
        array, backward, inputs = source.look_up()
        slot = None
        if run.tape is not None and inputs.count(None) < len(inputs):
            slot = Slot(array.shape, array.dtype)
            run.tape.append(Operation(backward, inputs, slot))
        _DATA.__set__(self, array)
        self._slot = slot
        self.__class__ = Value  # type: ignore[assignment]
        return array

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = _DATA.__get__(self).shape
        return shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = _DATA.__get__(self).dtype
        return dtype

    def __len__(self) -> int:
        return self.shape[0]

    def given_to(self, layer: Any, run: Any) -> TableRows | None:
        """What a layer of the run takes in place of the array; `_slot` is the place of its gradient. None: nothing."""
        if run is not self._run or layer.dtype != self.dtype or not layer._takes_table_rows():
            return None
        found: tuple[TableRows, Place | None] | None = _DATA.__get__(self).as_table_rows(run)
        if found is None:
            return None
        self._slot = found[1]
        return found[0]


_DATA: Any = Value.__dict__["_data"]  # where a value keeps its array


class _Lookup:
    """Of one table. Where that is about to change, the rows are read before."""

    __slots__ = ("__weakref__", "array", "dtype", "pays", "place", "rows", "shape")

    def __init__(self, rows: TableRows, place: Place | None) -> None:
        self.rows, self.place = rows, place
        self.shape, self.dtype = rows.shape, rows.dtype
        self.array: Array | None = None
        self.pays: bool | None = None if place is not None else True  # kept products of the table may pay in any case
        if not rows._read_later(self):
            self.read()

    def read(self) -> None:
        if self.array is None:
            self.array = self.rows._taken()

    def look_up(self) -> Dense:
        rows = self.rows
        back = back_to_table(rows.symbols, rows.table.shape, rows.padding_idx)
        array = rows._taken() if self.array is None else self.array
        return array, lambda d: (back(d),), [self.place]

    def as_table_rows(self, run: Any) -> tuple[TableRows, Place | None] | None:  # noqa: ARG002
        if self.pays is None:
            self.pays = repeat(self.rows)
        return (self.rows, self.place) if self.pays and self.array is None else None


class _Join:
    """Of several tables side by side."""

    __slots__ = ("dtype", "found", "lookups", "parts", "shape")

    def __init__(self, parts: Sequence[Rows]) -> None:
        self.parts = parts
        self.lookups: list[_Lookup] = [_DATA.__get__(part) for part in parts]
        self.shape = (*parts[0].shape[:-1], sum(part.shape[-1] for part in parts))
        self.dtype = parts[0].dtype
        self.found: Any = ...  # nobody has asked

    def look_up(self) -> Dense:
        arrays, inputs = [part._data for part in self.parts], [part._slot for part in self.parts]
        needs = tuple(slot is not None for slot in inputs)
        return *operations.concatenate(needs, *arrays, axis=-1), inputs

    def as_table_rows(self, run: Any) -> tuple[TableRows, Place | None] | None:
        if self.found is ...:
            self.found = self._join(run)
        found: tuple[TableRows, Place | None] | None = self.found
        return found

    def _join(self, run: Any) -> tuple[TableRows, Place | None] | None:
        if any(one.array is not None for one in self.lookups):
            return None
        if (made := combined([one.rows for one in self.lookups])) is None:
            return None
        rows, split = made
        places = [one.place for one in self.lookups]
        if run.tape is None or places.count(None) == len(places):
            return rows, None
        place = Place()
        run.tape.append(Operation(split, places, place))
        return rows, place


def _rows(source: _Lookup | _Join, run: Any, place: Place | None) -> Rows:
    value: Rows = object.__new__(Rows)
    _DATA.__set__(value, source)
    value._run, value._slot, value._held = run, place, False
    return value


def new_rows(run: Any, layer: Any, rows: TableRows, backward: Callable[..., Any]) -> Rows:
    """What a layer gives in a run, and its node. The symbols are copied: callers may write to theirs."""
    place = None
    if run.tape is not None and layer._trained_shapes():
        place = Place()
        run.tape.append((backward, layer, True, None, place, None))
    return _rows(_Lookup(rows._copied(), place), run, place)


def concatenated(values: Sequence[Any], axis: Any) -> Rows | None:
    """Values joined along an axis, as rows if all of them are and it is the last one; else None."""
    first = values[0]
    if type(first) is not Rows or axis not in (-1, first.ndim - 1):
        return None
    for value in values:
        if type(value) is not Rows or value._run is not first._run or type(_DATA.__get__(value)) is not _Lookup:
            return None
        if value.shape[:-1] != first.shape[:-1] or value.dtype != first.dtype:
            return None
    run = first._run
    run.check()
    return _rows(_Join(values), run, Place() if run.tape is not None else None)
