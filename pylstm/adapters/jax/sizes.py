"""What the names and shapes of parameters say of a recurrent network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..._cells import CELLS, parameter_shapes, suffixes


class Sizes(NamedTuple):
    """All that the core needs besides numbers."""

    cell: str
    input_size: int
    hidden_size: int
    output_size: int  # the size of h in one direction
    num_layers: int
    bidirectional: bool
    names: tuple[str, ...]  # of the parameters, layer by layer, in the core's order

    @property
    def width(self) -> int:
        return self.output_size * (2 if self.bidirectional else 1)

    def state_shapes(self, batch: int) -> list[tuple[int, int, int]]:
        sizes = {"output": self.output_size, "hidden": self.hidden_size}
        rows = self.num_layers * (2 if self.bidirectional else 1)
        return [(rows, batch, sizes[width]) for width in CELLS[self.cell]["states"].values()]

    def nested(self, arrays: Mapping[str, Any]) -> list[list[Any]]:
        """As the core takes parameters: a list for every layer and direction, None for what is absent."""
        return [[arrays.get(kind + suffix) for kind in CELLS[self.cell]["parameters"]] for suffix in self._suffixes()]

    def flat(self, nested: list[list[Any]]) -> dict[str, Any]:
        """The way back, name -> array."""
        kinds = CELLS[self.cell]["parameters"]
        found = {
            kind + suffix: value
            for suffix, row in zip(self._suffixes(), nested, strict=True)
            for kind, value in zip(kinds, row, strict=True)
        }
        return {name: found[name] for name in self.names}

    def _suffixes(self) -> list[str]:
        return suffixes(self.num_layers, self.bidirectional)


def sizes_of(cell: str, params: Any) -> Sizes:
    """Raises TypeError or ValueError, naming what is missing, too much, or of another shape."""
    if not isinstance(params, Mapping):
        raise TypeError(f"params must be a dict of arrays as `layer.params`, got {type(params).__name__}")
    shapes = {name: tuple(value.shape) for name, value in params.items()}
    for name in ("weight_ih_l0", "weight_hh_l0"):
        if len(shapes.get(name, ())) != 2:
            raise ValueError(f"params must have a matrix {name}, got {shapes.get(name, sorted(shapes))}")
    cell = f"{cell}_projected" if "weight_hr_l0" in shapes else cell
    kinds = CELLS[cell]["parameters"]
    layers = next(k for k in range(len(shapes) + 1) if f"weight_ih_l{k}" not in shapes)
    both = "weight_ih_l0_reverse" in shapes
    blocks, output = kinds["weight_hh"][1], shapes["weight_hh_l0"][1]
    hidden, inputs = shapes["weight_hh_l0"][0] // blocks, shapes["weight_ih_l0"][1]
    there = [kind for kind, (*_, optional) in kinds.items() if not optional or f"{kind}_l0" in shapes]
    wanted = parameter_shapes(cell, there, inputs, hidden, output, layers, both)
    if shapes != wanted:
        wrong = sorted(name for name in {*shapes, *wanted} if shapes.get(name) != wanted.get(name))
        parts = [f"{name}: expected {wanted.get(name, 'none')}, got {shapes.get(name, 'none')}" for name in wrong]
        raise ValueError(f"params do not belong together: {'; '.join(parts)}")
    return Sizes(cell, inputs, hidden, output, layers, both, tuple(wanted))
