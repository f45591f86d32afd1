"""Whether rows of a table repeat in a batch; and rows of several tables side by side as rows of one table, of the
combinations of symbols that the batch has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from .. import _core
from .._arrays import Array
from .row_gradient import Index, RowGradient, sum_rows
from .table_rows import TableRows, back_to_table, int64

Split = Callable[[Any], tuple[RowGradient, ...]]


def repeat(rows: TableRows) -> bool:
    """Whether enough of them do to be multiplied once each, if all sequences are as long as the longest."""
    return _core.symbols(int64(rows.symbols).reshape(-1, 1), None, *rows.table.shape) is not None


def combined(parts: Sequence[TableRows]) -> tuple[TableRows, Split] | None:
    """`np.concatenate(parts, axis=-1)` as rows of a table of all combinations that occur, each once, and the way from
    the gradient to that table to those to the parts' tables. None where too few combinations repeat.

    parts: of one dtype, with symbols of one shape. The gradients are of the symbols as they are now.
    """
    columns = _columns(parts)
    combinations = _combinations(parts, columns[-1].stop)
    if combinations is None:
        return None
    places, named = combinations
    table = np.concatenate([part.table.take(ids, axis=0) for part, ids in zip(parts, named, strict=True)], axis=1)
    forms = [(part.table.shape, part.padding_idx) for part in parts]

    def split(d: RowGradient) -> tuple[RowGradient, ...]:
        return tuple(
            sum_rows(ids[d.rows], d.values[:, own], shape, padding_idx)
            for ids, own, (shape, padding_idx) in zip(named, columns, forms, strict=True)
        )

    return TableRows(table, places.reshape(parts[0].symbols.shape)), split


def joined(parts: Sequence[TableRows]) -> tuple[TableRows | Array, Split]:
    """The same; where too few combinations repeat the rows looked up, and the way from the gradient to them."""
    if (found := combined(parts)) is not None:
        return found
    backs = [back_to_table(part.symbols.copy(), part.table.shape, part.padding_idx) for part in parts]
    columns = _columns(parts)

    def split(d: Array) -> tuple[RowGradient, ...]:
        return tuple(back(d[..., own]) for back, own in zip(backs, columns, strict=True))

    return np.concatenate([part._taken() for part in parts], axis=-1), split


def _columns(parts: Sequence[TableRows]) -> list[slice]:
    ends = accumulate((part.table.shape[1] for part in parts), initial=0)
    return [slice(begin, end) for begin, end in pairwise(ends)]


def _combinations(parts: Sequence[TableRows], width: int) -> tuple[Index, list[Index]] | None:
    """Of each row which combination it is; and of each combination the symbols, part by part."""
    places: Index = np.zeros((parts[0].symbols.size, 1), np.int64)
    named: list[Index] = []
    combinations = 1
    for part in parts:
        # of the part alone first: there are at least as many combinations, and to look for them among those of what
        # is there, not of what may be, is quick
        own = _core.symbols(int64(part.symbols).reshape(-1, 1), None, len(part.table), width)
        if own is None:
            return None
        count = len(own.rows)
        found = _core.symbols(places * count + own.places, None, combinations * count, width)
        if found is None:
            return None
        before, last = np.divmod(found.rows, count)
        places, named = int64(found.places), [*(ids[before] for ids in named), own.rows[last]]
        combinations = len(found.rows)
    return places, named
