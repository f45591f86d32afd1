"""Windows over a long series: what a forecast is made from, and what it should have been."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import _checks
from .._arrays import Array, number_array

Column = int | str
Columns = Column | Iterable[Column] | slice | None


class Windows(tuple[Array, Array]):
    """The pair (x, y) that `windows` makes of a series, for `fit(x, y)`; `split` cuts it in time.

    Attributes:
        x: (N, past, F), what is known: a view, read-only.
        y: (N, future, F), what comes next: a view, read-only.
        starts: the step of the series at which each window begins, a range.
    """

    starts: range

    def __new__(cls, x: Array, y: Array, starts: range, steps: int) -> Windows:
        made = super().__new__(cls, (x, y))
        made.starts, made._steps = starts, steps
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self.x, self.y, self.starts, self._steps

    _steps: int  # of the series

    @property
    def x(self) -> Array:
        return self[0]

    @property
    def y(self) -> Array:
        return self[1]

    def split(self, *cuts: float) -> tuple[Windows, ...]:
        """Parts of the series one after another, the first one to train on and the last ones to validate and test.

        The steps to be forecast, y, lie wholly in one part: windows with y on both sides of a cut are left out, and so
        no number that a part is judged by is in the y of another one. x may reach back over a cut: to what is known
        when the forecast is made.

        Args:
            cuts: where the series is cut, in rising order: integers are steps of it, floats in (0, 1) shares.

        Returns:
            One `Windows` more than there are cuts. They are views, too.

        Raises TypeError or ValueError for wrong cuts, and ValueError for a part without any window.

        >>> train, validation = windows(np.arange(100.0), past=10, future=2).split(0.8)
        >>> train.y[-1], validation.y[0]
        (array([78., 79.]), array([80., 81.]))
        """
        if not cuts:
            raise TypeError("split takes the places to cut at: steps of the series, or shares of it, e.g. split(0.8)")
        edges = [0, *(_cut(cut, self._steps) for cut in cuts), self._steps]
        past, future, stride = self.x.shape[1], self.y.shape[1], self.starts.step
        found = []
        for begin, end in itertools.pairwise(edges):
            if end <= begin:
                raise ValueError(f"cuts must rise, got {', '.join(map(str, cuts))}")
            first = max(0, -(-(begin - past - self.starts.start) // stride))
            last = max(first, (end - future - past - self.starts.start) // stride + 1)
            part = slice(first, min(last, len(self.starts)))
            if not self.starts[part]:
                raise ValueError(
                    f"steps {begin} to {end} of the series hold no window: {past} steps known before them or in them, "
                    f"and {future} to forecast in them"
                )
            found.append(Windows(self.x[part], self.y[part], self.starts[part], self._steps))
        return tuple(found)

    def __repr__(self) -> str:
        return f"Windows(x={self.x.shape}, y={self.y.shape}, starts={self.starts})"


def windows(
    series: Any,
    past: int,
    future: int,
    stride: int = 1,
    *,
    inputs: Columns = None,
    targets: Columns = None,
) -> Windows:
    """All windows over a series: `past` steps to forecast the next `future` steps from.

    Nothing is copied: x and y are views of the series, whether in memory or in a file (`np.load(path, mmap_mode="r")`),
    and `fit`, `evaluate` and `predict` copy what a batch needs. `np.array(x)` copies all of it. Missing values stay as
    they are.

    Args:
        series: (T, F), or (T,) for a single column: an array, or what NumPy makes an array of.
        past: steps in x.
        future: steps in y, right behind those in x.
        stride: steps from one window to the next; with `future`, no step is forecast twice.
        inputs: the columns in x: an index or, of a data frame, a name; several of them, or a slice; None: all. One
            alone makes x (N, past), without an axis for columns: symbols for an `Embedding`.
        targets: the columns in y, likewise. One alone makes y (N, future).

    Returns:
        `Windows`, a pair (x, y) with x (N, past, F) and y (N, future, F), where N is (T - past - future) // stride + 1.
        Of a series (T,) x is (N, past, 1), as layers take it, and y (N, future).

    Raises:
        TypeError: a series that does not hold numbers, numbers of steps that are no integers, wrong columns.
        ValueError: a series of other axes, or shorter than a single window.
        IndexError: a column that it does not have.

    Several columns that are not evenly spaced, such as [0, 1, 5], are no view of the series: these columns are copied,
    once.

    >>> series = np.arange(1000.0).reshape(500, 2)
    >>> x, y = windows(series, past=24, future=6, targets=1)
    >>> x.shape, y.shape
    ((471, 24, 2), (471, 6))
    >>> y[0]
    array([49., 51., 53., 55., 57., 59.])
    """
    past, future = _checks.size("past", past), _checks.size("future", future)
    stride = _checks.size("stride", stride)
    array = number_array("series", series)
    if array.ndim not in (1, 2):
        raise ValueError(f"series must have shape (T, F) or (T,), got {array.shape}")
    if len(array) < past + future:
        raise ValueError(
            f"series has {len(array)} steps, and a window takes {past + future}: past {past} and future {future}"
        )
    table = array[:, None] if array.ndim == 1 else array
    names = _names(series)
    x = _columns("inputs", table, inputs, names)
    y = array if array.ndim == 1 and targets is None else _columns("targets", table, targets, names)
    starts = range(0, len(array) - past - future + 1, stride)
    return Windows(_sliding(x, past, 0, starts), _sliding(y, future, past, starts), starts, len(array))


def _sliding(array: Array, size: int, offset: int, starts: range) -> Array:
    """(N, size, ...): from `offset` steps behind each of the starts."""
    view = np.lib.stride_tricks.sliding_window_view(array, size, axis=0)
    return np.moveaxis(view[offset : offset + starts[-1] + 1 : starts.step], -1, 1)


def _columns(name: str, array: Array, chosen: Columns, names: list[Any]) -> Array:
    """Some columns of (T, F), a view if it can be: (T, n), or (T,) of one."""
    if chosen is None:
        return array
    if isinstance(chosen, slice):
        found = array[:, chosen]
        if not found.shape[1]:
            raise ValueError(f"{name} chooses no column: {chosen} of {array.shape[1]}")
        return found
    if isinstance(chosen, str) or not isinstance(chosen, Iterable):
        return array[:, _column(name, chosen, array.shape[1], names)]
    places = [_column(f"{name}[{i}]", one, array.shape[1], names) for i, one in enumerate(chosen)]
    if not places:
        raise ValueError(f"{name} chooses no column")
    step = places[1] - places[0] if len(places) > 1 else 1
    if step and places == list(range(places[0], places[0] + step * len(places), step)):
        end = places[-1] + step
        return array[:, places[0] : None if end < 0 else end : step]
    return array[:, places]


def _column(name: str, value: Any, count: int, names: list[Any]) -> int:
    if isinstance(value, str):
        if value not in names:
            known = f"there are {', '.join(map(str, names))}" if names else "the series has no names of columns"
            raise IndexError(f"{name} is {value!r}: {known}")
        return names.index(value)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be the index or name of a column, several, or a slice, got {_checks.kind(value)}")
    place = int(value)
    if not -count <= place < count:
        raise IndexError(f"{name} is {place}, and the series has {count} column{'s' * (count > 1)}")
    return place % count


def _names(series: Any) -> list[Any]:
    """Of the columns of a data frame."""
    found = getattr(series, "columns", None)
    return [] if found is None else list(found)


def _cut(cut: Any, steps: int) -> int:
    """A place to cut at, in steps."""
    share = _checks.number("a cut", cut)
    if isinstance(cut, numbers.Integral):
        place = int(cut)
    else:
        if not 0 < share < 1:
            raise ValueError(f"a cut must be a step, an integer, or a share between 0 and 1, got {share:g}")
        place = round(share * steps)
    if not 0 < place < steps:
        raise ValueError(f"a cut must lie inside of the series of {steps} steps, got {place}")
    return place
