"""Gates and states of every step, computed by `pylstm.reference`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import Array
from .._cells import CELLS
from ..reference import cells, sequence

if TYPE_CHECKING:
    from ..layers.recurrent import Recurrent


def trace(
    layer: Recurrent[Any], x: ArrayLike, state: Any = None, *, lengths: ArrayLike | None = None
) -> dict[str, Array]:
    """Gates and states of every step: see `LSTM.trace`."""
    time_major, batched = layer._take_x(x)
    steps, batch, _ = time_major.shape
    given = layer._take_states("state", state, batch, batched)
    lens = None if lengths is None else layer._take_lengths(lengths, steps, batch, batched)
    valid = sequence.valid_steps(lens, steps, batch)
    count = layer.num_layers * layer.num_directions
    states = [
        np.zeros((count, batch, size), layer.dtype) if s is None else s
        for s, size in zip(given, layer._state_sizes, strict=True)
    ]
    found: dict[str, Array] = {}
    below: Array = np.asarray(time_major)
    for depth in range(layer.num_layers):
        outputs = []
        for direction in range(layer.num_directions):
            suffix = f"_l{depth}" + ("_reverse" if direction else "")
            k = depth * layer.num_directions + direction
            own = _direction(layer, suffix, below, tuple(s[k] for s in states), valid, direction == 1)
            outputs.append(own["h"])
            found.update({name + suffix: value for name, value in own.items()})
        below = np.concatenate(outputs, axis=2)
    return {name: np.ascontiguousarray(layer._to_user(value, batched)) for name, value in found.items()}


def meanings_of(cell: str) -> dict[str, str]:
    """What letters of a trace mean to a reader; the cell by its name in the core."""
    return cells.BY_NAME[cell].meanings


def _direction(
    layer: Recurrent[Any], suffix: str, x: Array, state: tuple[Array, ...], valid: sequence.Mask, reverse: bool
) -> dict[str, Array]:
    """One direction of one layer: name -> (T, N, size), zero past a length."""
    params = {name[: -len(suffix)]: v for name, v in layer.params.items() if name.endswith(suffix)}
    cell = cells.BY_NAME[layer._cell_name](params, **layer._chosen())
    gates = [name for name in CELLS[layer._cell_name]["gates"] if name not in layer._state_names]
    sizes = dict.fromkeys(gates, layer.hidden_size) | dict(zip(layer._state_names, layer._state_sizes, strict=True))
    found = {name: np.zeros((*valid.shape, size), layer.dtype) for name, size in sizes.items()}
    bias = cell.params.get("bias_ih", 0)
    state = tuple(s.copy() for s in state)
    steps = range(x.shape[0])
    for t in reversed(steps) if reverse else steps:
        rows = np.flatnonzero(valid[t])
        a = x[t, rows] @ cell.params["weight_ih"].T + bias
        new, saved = cell.forward(a, tuple(s[rows] for s in state))
        for s, s_new in zip(state, new, strict=True):
            s[rows] = s_new
        values = dict(zip(cell.saves, saved, strict=True)) | dict(zip(layer._state_names, new, strict=True))
        for name, array in found.items():
            array[t, rows] = values[name]
    return found
