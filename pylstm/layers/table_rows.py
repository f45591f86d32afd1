"""Rows of a table by number: an embedding's output before anybody looks the rows up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _arrays, _checks
from .._arrays import Array
from .row_gradient import Index, RowGradient, sum_rows

_INT64 = np.dtype(np.int64)


# Of fewer, rows are looked up and multiplied in less time than it takes to keep them apart: 12 us of a call.
FEWEST_SYMBOLS = 64


class Edition:
    """The numbers of an embedding's table as they are now. Who reads them later says so, and is called before they
    change."""

    __slots__ = ("_readers",)

    def __init__(self) -> None:
        self._readers: WeakValueDictionary[int, Any] = WeakValueDictionary()

    def await_end(self, reader: Any) -> None:
        """Has `reader.read()` called before the table changes, if there is still a reader by then."""
        self._readers[id(reader)] = reader

    def end(self) -> None:
        """The table is about to change."""
        for reference in self._readers.valuerefs():
            if (reader := reference()) is not None:
                reader.read()


class TableRows:
    """`table[symbols]`, not looked up: what a recurrent layer takes in place of x, too.

    Where symbols repeat in a batch, the layer multiplies every row of the table by its weights once, however often it
    is named: the output has the same bits as for `np.asarray(rows)`. The gradient to such an x (`Gradients.x`) is a
    `RowGradient`, the one to the table; equal to that of the rows looked up but for rounding. Where too few repeat, the
    layer looks the rows up.

    `embedding.table_rows(symbols)` makes one; a chain (`Sequential`) hands its recurrent layer one by itself. So does
    `TableRows(np.eye(num), symbols)` for one-hot input, without multiplying by its zeros (pass `need_dx=False`).

        rows = embedding.table_rows(symbols)
        output, state, backward = lstm.forward(rows, lengths=lengths)
        backward(d_output).x                                    # the gradient to embedding.params["weight"]

    It holds both arrays, not copies: editing them edits x, until a layer has been called with it. `np.asarray` looks
    the rows up.

    Args:
        table: (num, dim), float32 or float64; whatever else is real becomes float32.
        symbols: integers in 0..num-1, of any shape; (N, T) or (T, N) for a layer, as its `batch_first` says, or (T,).
        padding_idx: a row that gets no gradient, or None.

    Raises TypeError or ValueError for a wrong argument, naming it, and IndexError for symbols out of range.

    Attributes:
        table: as given.
        symbols: as given.
        padding_idx: as given, in 0..num-1 or None.
    """

    __slots__ = ("_source", "padding_idx", "symbols", "table")
    table: Array
    symbols: NDArray[Any]
    padding_idx: int | None
    _source: tuple[Any, Edition] | None  # the embedding, and the edition of its table; None: a table that may change

    def __init__(self, table: ArrayLike, symbols: ArrayLike, padding_idx: int | None = None) -> None:
        rows = _arrays.float_array("table", table)
        if rows.ndim != 2:
            raise ValueError(f"table must have shape (num, dim), got {rows.shape}")
        num = rows.shape[0]
        if padding_idx is not None:
            padding_idx = _checks.integer("padding_idx", padding_idx, -num, num - 1) % num
        self.table, self.symbols, self.padding_idx = rows.view(), index_array("symbols", symbols).view(), padding_idx
        self._source = None
        check_range("symbols", self.symbols, num, "the table")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the rows, (\\*symbols.shape, dim)."""
        return (*self.symbols.shape, self.table.shape[1])

    @property
    def ndim(self) -> int:
        """Axes of the rows."""
        return self.symbols.ndim + 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the rows."""
        return self.table.dtype

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("TableRows cannot become an array without a copy")
        return self.looked_up().astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        num, dim = self.table.shape
        return f"TableRows({self.symbols.shape} of a table of {num} rows, {dim} columns)"

    def looked_up(self) -> Array:
        """`table[symbols]`, a new array."""
        check_range("symbols", self.symbols, len(self.table), "the table")  # an array may have been edited since
        return self._taken()

    # ---- for layers --------------------------------------------------------------------------------------------------

    def _taken(self) -> Array:
        """`looked_up` of symbols that were checked just now."""
        return self.table.take(self.symbols, axis=0, mode="clip")

    def _with(self, table: Array, symbols: NDArray[Any]) -> TableRows:
        made = TableRows.__new__(TableRows)
        made.table, made.symbols, made.padding_idx = table, symbols, self.padding_idx
        made._source = self._source if table is self.table else None
        return made

    def _copied(self) -> TableRows:
        """The same rows, whatever becomes of the caller's symbols."""
        return self._with(self.table, np.array(self.symbols))

    def _read_later(self, reader: Any) -> bool:
        """Has `reader.read()` called before the table changes. False: it may do so at any time."""
        if self._source is None:
            return False
        embedding, edition = self._source
        edition.await_end(reader)
        return embedding._edition is edition  # else it has called its readers by now

    def _edition(self) -> Edition | None:
        """What stands for the table's numbers as they are; None: they are nobody's to keep."""
        if self._source is None:
            return None
        embedding, edition = self._source
        return edition if embedding._edition is edition else None

    def __reduce__(self) -> tuple[Any, ...]:
        return TableRows, (self.table, self.symbols, self.padding_idx)

    def _gradient(self, d: Array, lengths: NDArray[np.int64] | None) -> RowGradient:
        """The gradient to the table, from that to the rows looked up, time-major. What is named behind the end of a
        sequence alone has none."""
        reached = None
        if lengths is not None:
            reached = np.flatnonzero(np.arange(len(d))[:, None] < lengths)
        return sum_rows(self.symbols, d.reshape(-1, d.shape[-1]), self.table.shape, self.padding_idx, reached)

    def _row_gradient(self, rows: Index, values: Array) -> RowGradient:
        """The same, from that to each distinct row: ascending numbers, and their gradients."""
        if self.padding_idx is not None:
            at = int(np.searchsorted(rows, self.padding_idx))
            if at < len(rows) and rows[at] == self.padding_idx:
                if at == 0:  # as mostly: nothing is copied
                    rows, values = rows[1:], values[1:]
                else:
                    rows, values = np.delete(rows, at), np.delete(values, at, axis=0)
        return RowGradient(rows, values, self.table.shape)


def back_to_table(
    symbols: NDArray[Any], shape: tuple[int, ...], padding_idx: int | None
) -> Callable[[Array], RowGradient]:
    """The backward of a look-up: from the gradient to the rows that to the table, of `shape`."""

    def backward(d: Array) -> RowGradient:
        own = symbols
        if d.ndim == 3 and not d.flags.c_contiguous:  # of a recurrent layer, which runs time-major: spare a copy
            d, own = d.swapaxes(0, 1), own.swapaxes(0, 1)
        return sum_rows(own, d.reshape(-1, shape[1]), shape, padding_idx)

    return backward


def int64(ids: NDArray[Any]) -> NDArray[np.int64]:
    """Symbols as the core takes them."""
    if ids.dtype is not _INT64:
        ids = ids.astype(np.int64, copy=False)
    return ids if ids.flags.aligned else ids.copy()


def index_array(name: str, value: object) -> NDArray[Any]:
    """`value` as an array of native integers."""
    ids = _arrays.array_of(name, value, "a plain array of integers")
    if ids.size == 0 and not isinstance(value, np.ndarray):
        ids = ids.astype(np.int64)  # the list [] has no dtype of its own
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, the rows of the embedding, got dtype {ids.dtype}")
    return ids if ids.dtype.isnative else ids.astype(ids.dtype.newbyteorder("="))


def check_range(name: str, ids: NDArray[Any], num: int, table: object) -> None:
    """Raises IndexError, which names the table, unless all are in 0..num-1."""
    if ids.size:
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= num:
            wrong = low if low < 0 else high
            raise IndexError(f"{name} holds {wrong}, but the rows of {table} are 0..{num - 1}")
