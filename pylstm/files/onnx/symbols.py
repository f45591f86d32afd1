"""Integers and bools of a model's run that are written down: what goes in as such, and what is compared and counted
with it.

They are plain arrays to the run. What NumPy makes of them by other means than those here has no name in the graph: it
is a constant then, and a second run with other numbers shows that it is none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph.marked import Marked

_UFUNCS: dict[Any, str] = {
    np.less: "Less", np.less_equal: "LessOrEqual", np.greater: "Greater", np.greater_equal: "GreaterOrEqual",
    np.equal: "Equal", np.not_equal: "Equal", np.add: "Add", np.subtract: "Sub", np.multiply: "Mul",
    np.maximum: "Max", np.minimum: "Min", np.logical_and: "And", np.logical_or: "Or", np.logical_not: "Not",
    np.bitwise_and: "And", np.bitwise_or: "Or", np.invert: "Not",
}  # fmt: skip
_OF_BOOLS = ("And", "Or", "Not")


class Symbols(Marked):
    """Integers (int64) or bools that know the name they have in a graph.

    Attributes:
        run: the run that is written down; None: they have no name.
        mark: their name; "": lengths that are all there are.
    """

    run: Any = None
    mark: str | None = None

    def __array_finalize__(self, other: Any) -> None:
        self.run = self.mark = None  # what is computed of them is another thing

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [np.asarray(one).view(np.ndarray) if isinstance(one, Symbols) else one for one in inputs]
        if "out" in options:
            options["out"] = tuple(one.view(np.ndarray) for one in options["out"])
        found = getattr(ufunc, method)(*plain, **options)
        name = _UFUNCS.get(ufunc)
        run = next((one.run for one in inputs if isinstance(one, Symbols) and one.mark), None)
        if name is None or method != "__call__" or options or run is None:
            return found
        kinds = {np.asarray(one).dtype.kind for one in plain}
        if not (kinds <= {"b"} if name in _OF_BOOLS else kinds <= {"i", "u"} or (name == "Equal" and kinds == {"b"})):
            return found
        names = [run.named_symbols(one) for one in inputs]
        made = run.graph.node(name, names)
        return named(found, run, run.graph.node("Not", [made]) if ufunc is np.not_equal else made)

    def __getitem__(self, index: Any) -> Any:
        found = self.view(np.ndarray)[index]
        entries = index if isinstance(index, tuple) else (index,)
        if not self.mark or not all(one is None or one is Ellipsis or type(one) in (int, slice) for one in entries):
            return found
        return named(found, self.run, self.run.indexed(self.mark, self, index))


def named(array: Any, run: Any, mark: str) -> Symbols:
    """An array that has this name in the run's graph."""
    array = np.asarray(array)
    symbols: Symbols = (array if array.dtype.kind == "b" else array.astype(np.int64)).view(Symbols)
    symbols.run, symbols.mark = run, mark
    return symbols
