"""What the core says of the cell of a case.

Only the parent asks it: a worker holds one library and no other, so it is told.
"""

from __future__ import annotations

from typing import NamedTuple


class Cell(NamedTuple):
    """Of pylstm's layer of that name, with its default arguments."""

    gates: int
    activations: int  # calls of sigmoid, tanh and exp, a unit and step
    states: list[str]


_known: dict[str, Cell] = {}


def cell_of(name: str) -> Cell:
    if name not in _known:
        import pylstm
        from pylstm._cells import CELLS

        cell = CELLS[getattr(pylstm, name.upper())(1, 1)._cell_name]
        _known[name] = Cell(len(cell["gates"]), cell["activations"], list(cell["states"]))
    return _known[name]


def tell(name: str, cell: Cell) -> None:
    """In a worker: what the parent knows."""
    _known[name] = cell
