"""From one step to whole sequences: time, directions, layers and lengths, forward and backward. It names no cell.

Arrays are time-major: x (T, N, I), output (T, N, D·S), states one after another per layer and direction (L·D, N, size).
`valid` (T, N) tells the steps inside a sequence from its padding. Only valid steps are computed: padding may hold
anything, even NaN. As a state does not move while its sequence is padded, running time backwards starts every sequence
at its own end, and the states left over are those at each sequence's end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import dropout
from .activations import Array
from .cells import Cell, State

Mask = NDArray[np.bool_]
Gradients = dict[str, Array]


class Dropout(NamedTuple):
    """Dropout of one call: the probability and `key` = (64-bit seed, call number)."""

    probability: float
    key: tuple[int, int]


def valid_steps(lengths: NDArray[np.int64] | None, steps: int, batch: int) -> Mask:
    """(T, N): True where step t belongs to sequence n."""
    if lengths is None:
        return np.ones((steps, batch), dtype=bool)
    return np.asarray(np.arange(steps)[:, None] < lengths)


# ---- one direction of one layer --------------------------------------------------------------------------------------


def run_direction(
    cell: Cell, x: Array, state: State, valid: Mask, reverse: bool, output: Array
) -> tuple[State, Callable[[Array, State], tuple[Array, State, Gradients]]]:
    """Run `cell` through time and write `output` (T, N, S). Returns the final state, and the way back."""
    steps = range(x.shape[0])
    W, b = cell.params["weight_ih"], cell.params.get("bias_ih")
    a = np.zeros((*valid.shape, W.shape[0]), x.dtype)
    a[valid] = x[valid] @ W.T  # every step at once: unlike the recurrent product, this one does not wait
    if b is not None:
        a[valid] += b

    state = tuple(s.copy() for s in state)
    output[...] = 0
    tape = []
    for t in reversed(steps) if reverse else steps:
        rows = np.flatnonzero(valid[t])
        new, saved = cell.forward(a[t, rows], tuple(s[rows] for s in state))
        for s, s_new in zip(state, new, strict=True):
            s[rows] = s_new
        output[t, rows] = new[0]
        tape.append((t, rows, saved))

    def back(d_output: Array, d_state: State) -> tuple[Array, State, Gradients]:
        """From the gradients to output and final state: those to x, the initial state, the parameters."""
        d_state = tuple(d.copy() for d in d_state)
        grads = {name: np.zeros_like(value) for name, value in cell.params.items()}
        da = np.zeros_like(a)
        for t, rows, saved in reversed(tape):
            dh, *others = (d[rows] for d in d_state)
            dh = dh + d_output[t, rows]  # h is used twice: as output of this step and as state of the next
            da[t, rows], d_old = cell.backward(saved, (dh, *others), grads)
            for d, d_new in zip(d_state, d_old, strict=True):
                d[rows] = d_new
        grads["weight_ih"] += da[valid].T @ x[valid]
        if b is not None:
            grads["bias_ih"] += da[valid].sum(axis=0)
        dx = np.zeros(x.shape, x.dtype)
        dx[valid] = da[valid] @ W
        return dx, d_state, grads

    return state, back


# ---- the stack of layers ---------------------------------------------------------------------------------------------


def run(
    layers: Sequence[Sequence[Cell]],
    x: Array,
    states: State,
    lengths: NDArray[np.int64] | None,
    out: Array,
    drop: Dropout | None = None,
) -> tuple[State, Callable[[Array, State], tuple[Array, State, dict[str, Array]]]]:
    """Run `layers` (each one cell per direction) over x and write `out`. Returns the final states, and the way back.

    The way back takes the gradients to `out` and to the final states, and returns those to x, to the initial states
    and to the parameters, whose names get the suffix `_l{layer}` or `_l{layer}_reverse`.
    """
    valid = valid_steps(lengths, *x.shape[:2])
    directions = len(layers[0])
    width = out.shape[2] // directions  # of one direction's output
    final = tuple(np.empty_like(s) for s in states)
    backs: list[list[Any]] = []
    keeps: list[Mask] = []
    for layer, cells in enumerate(layers):
        y = out if layer == len(layers) - 1 else np.empty_like(out)
        backs.append([])
        for direction, cell in enumerate(cells):
            k = layer * directions + direction
            columns = y[:, :, direction * width : (direction + 1) * width]
            state, back = run_direction(cell, x, tuple(s[k] for s in states), valid, direction == 1, columns)
            for s, s_new in zip(final, state, strict=True):
                s[k] = s_new
            backs[layer].append(back)
        if drop is not None and layer < len(layers) - 1:
            keeps.append(dropout.keep_mask(drop.probability, y.shape, layer, len(layers), drop.key))
            y = dropout.apply(y, keeps[layer], drop.probability)
        x = y

    def run_back(d_out: Array, d_states: State) -> tuple[Array, State, dict[str, Array]]:
        d_initial = tuple(np.empty_like(d) for d in d_states)
        d_params = {}
        dy = d_out
        for layer in reversed(range(len(layers))):
            if drop is not None and layer < len(layers) - 1:
                dy = dropout.apply(dy, keeps[layer], drop.probability)
            dxs = []
            for direction, back in enumerate(backs[layer]):
                k = layer * directions + direction
                columns = dy[:, :, direction * width : (direction + 1) * width]
                dx, d_state, grads = back(columns, tuple(d[k] for d in d_states))
                for d, d_new in zip(d_initial, d_state, strict=True):
                    d[k] = d_new
                suffix = f"_l{layer}" + ("_reverse" if direction else "")
                d_params.update({name + suffix: grad for name, grad in grads.items()})
                dxs.append(dx)
            dy = sum(dxs[1:], dxs[0])  # both directions read the same x
        return dy, d_initial, d_params

    return final, run_back
