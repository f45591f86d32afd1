"""Gates and states of every step, computed by `pylstm.reference`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import Array
from ..reference import cells, sequence

if TYPE_CHECKING:
    from ..layers.recurrent import Recurrent

# What the cells of the reference save of a step, by the equations' names; None: not shown (the old state is the step
# before, and h is added for all).
_SAVED: dict[type, tuple[str | None, ...]] = {
    cells.LSTM: (None, None, "i", "f", "g", "o", None, None),
    cells.GRU: (None, "r", "z", "n", None),
    cells.GRUResetBefore: (None, "r", "z", "n", None),
    cells.RNN: (None, None),
}


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
    below: Array = time_major
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


def _cell(layer: Recurrent[Any], suffix: str) -> cells.Cell:
    params = {name[: -len(suffix)]: v for name, v in layer.params.items() if name.endswith(suffix)}
    options = layer._config()
    if "proj_size" in options:
        return cells.LSTM(params)
    if "reset_after" in options:
        return cells.GRU(params) if options["reset_after"] else cells.GRUResetBefore(params)
    return cells.RNN(params, options["nonlinearity"])


def _direction(
    layer: Recurrent[Any], suffix: str, x: Array, state: tuple[Array, ...], valid: sequence.Mask, reverse: bool
) -> dict[str, Array]:
    """One direction of one layer: name -> (T, N, size), zero past a length."""
    cell = _cell(layer, suffix)
    names = (*_SAVED[type(cell)], *layer._state_names)
    found: dict[str, Array] = {}
    bias = cell.params.get("bias_ih", 0)
    state = tuple(s.copy() for s in state)
    steps = range(x.shape[0])
    for t in reversed(steps) if reverse else steps:
        rows = np.flatnonzero(valid[t])
        a = x[t, rows] @ cell.params["weight_ih"].T + bias
        new, saved = cell.forward(a, tuple(s[rows] for s in state))
        for s, s_new in zip(state, new, strict=True):
            s[rows] = s_new
        for name, value in zip(names, (*saved, *new), strict=True):
            if name is not None:
                array = found.setdefault(name, np.zeros((*valid.shape, value.shape[1]), layer.dtype))
                array[t, rows] = value
    for name, size in zip(layer._state_names, layer._state_sizes, strict=True):
        found.setdefault(name, np.zeros((*valid.shape, size), layer.dtype))  # there was no step
    return found
