"""What the core says of its cells: names, gates, states, parameters, functions. Nothing here computes."""

from __future__ import annotations

from collections.abc import Iterable

from . import _core

CELLS = _core.cells()
ACTIVATIONS = {name: number for number, name in enumerate(_core.activations())}  # those that constants choose


def suffixes(num_layers: int, bidirectional: bool) -> list[str]:
    """What follows the names of the parameters of every layer and direction, in the core's order."""
    directions = ("", "_reverse") if bidirectional else ("",)
    return [f"_l{layer}{direction}" for layer in range(num_layers) for direction in directions]


def parameter_shapes(
    cell: str,
    kinds: Iterable[str],
    input_size: int,
    hidden_size: int,
    output_size: int,
    num_layers: int,
    bidirectional: bool,
) -> dict[str, tuple[int, ...]]:
    """Of every parameter, layer by layer, of the kinds that there are. output_size: of one direction."""
    parameters, kinds = CELLS[cell]["parameters"], list(kinds)
    shapes: dict[str, tuple[int, ...]] = {}
    for suffix in suffixes(num_layers, bidirectional):
        first = suffix in ("_l0", "_l0_reverse")
        inputs = input_size if first else output_size * (2 if bidirectional else 1)
        widths = {"input": inputs, "hidden": hidden_size, "output": output_size}
        for kind in kinds:
            _, blocks, rows, columns, _ = parameters[kind]
            shapes[kind + suffix] = (blocks * widths[rows], *(() if columns == "one" else (widths[columns],)))
    return shapes
