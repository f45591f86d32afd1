"""What the core says of its cells: names, gates, states, parameters, functions. Nothing here computes."""

from __future__ import annotations

from . import _core

CELLS = _core.cells()
ACTIVATIONS = {name: number for number, name in enumerate(_core.activations())}  # those that constants choose
