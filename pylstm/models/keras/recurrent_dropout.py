"""Recurrent layers with masks on the states that gates are given: Keras' recurrent_dropout (Gal & Ghahramani 2016).

The core has no such mask. So where it is active, in training, the cells are written out here in operations of a model's
run, step by step. As in Keras 3 every gate of an LSTM or GRU has masks of its own, one for all steps of a sequence: of
h before the product with its recurrent weights, and then of x before that with its others, too. A SimpleRNN has one of
either. What enters the next state beside the gates, f c and z h, is not masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..._active import ACTIVE
from ...files.keras.recurrent import GATES
from ...graph.functions import stack, where
from ...layers.dropout import Dropout
from . import activations
from .cells import Cell
from .noise import drawn


class Direction(NamedTuple):
    """A cell as it reads one way, and what it drops."""

    cell: Cell
    dropout: Dropout | None
    recurrent: Dropout | None


def drops_of(cell: Cell) -> tuple[Dropout | None, Dropout | None]:
    """Of what goes in, and of h."""
    first = Dropout(cell.dropout, same_for_all_steps=True) if cell.dropout else None
    return first, Dropout(cell.recurrent_dropout) if cell.recurrent_dropout else None


def dropouts_of(directions: Sequence[Direction]) -> dict[str, list[Dropout]]:
    """Those that there are, by the names of Keras' arguments."""
    found = {
        "dropout": [one.dropout for one in directions if one.dropout],
        "recurrent_dropout": [one.recurrent for one in directions if one.recurrent],
    }
    return {name: drops for name, drops in found.items() if drops}


def stepwise(layer: Any, directions: list[Direction], x: Any, state: Any, lengths: Any) -> tuple[Any, Any]:
    """What `layer(x, state, lengths=lengths)` gives in training, with masks.

    Args:
        layer: of ours, with one or two directions.
        directions: its cells.
        x: (N, T, F).
        state: as the layer takes it; None: zeros.
        lengths: (N,), or None.

    Returns:
        The output (N, T, directions * H), zero past the lengths, and the state.
    """
    run: Any = ACTIVE.get()
    params = run.parameters(layer)
    lstm = directions[0].cell.kind == "LSTM"
    outputs, after = [], []
    for at, one in enumerate(directions):
        own = {name.removesuffix("_reverse").removesuffix("_l0"): value for name, value in params.items()
               if name.endswith("_reverse") == bool(at)}  # fmt: skip
        zeros = run.constant(np.zeros((x.shape[0], layer.hidden_size), layer.dtype), "h")
        begin = [part[at] for part in (state if lstm else (state,))] if state is not None else [zeros] * (1 + lstm)
        y, last = _one_way(_Cell(one, own, x), begin, lengths, backwards=bool(at))
        outputs.append(y)
        after.append(last)
    joined = outputs[0] if len(outputs) == 1 else stack(outputs, axis=2).reshape(*x.shape[:2], -1)
    final = tuple(stack(list(parts)) for parts in zip(*after, strict=True))
    return joined, (final if lstm else final[0])


def _one_way(cell: _Cell, state: list[Any], lengths: Any, backwards: bool) -> tuple[Any, list[Any]]:
    steps = cell.entering.shape[2]
    found: list[Any] = [None] * steps
    for t in reversed(range(steps)) if backwards else range(steps):
        after = cell.step(cell.entering[:, :, t], state)
        counts = None if lengths is None else (np.asarray(lengths) > t)[:, None]
        if counts is None or counts.all():
            found[t] = after[0]
        else:
            found[t] = where(counts, after[0], 0.0)
            after = [where(counts, new, old) for new, old in zip(after, state, strict=True)]
        state = after
    return stack(found, axis=1), state


class _Cell:
    """One step of a cell, with the masks of one call.

    Attributes:
        entering: (gates, N, T, H): what x and the biases give to every gate.
    """

    def __init__(self, direction: Direction, params: dict[str, Any], x: Any) -> None:
        cell = self.cell = direction.cell
        gates = GATES[cell.kind]
        size = params["weight_hh"].shape[1]
        self.weights = params["weight_hh"].reshape(gates, size, size).swapaxes(1, 2)
        first, recurrent = direction.dropout, direction.recurrent
        shared = 1 if gates == 1 or recurrent is None else gates  # masks: one for all gates, or one for each
        count, _, width = x.shape
        x = x.reshape(1, *x.shape)
        if first is not None:
            x = x * drawn(first, (shared, count, 1, width), x.dtype)
        self.mask = None if recurrent is None else drawn(recurrent, (gates, count, size), x.dtype)
        entering = x @ params["weight_ih"].reshape(gates, 1, size, width).swapaxes(2, 3)
        biases = {name: params[name].reshape(gates, 1, size) for name in ("bias_ih", "bias_hh") if name in params}
        self.inner_bias = biases.pop("bias_hh", None) if cell.after else None  # the reset gate is on it
        for bias in biases.values():
            entering = entering + bias.reshape(gates, 1, 1, size)
        self.entering = entering
        self.f, self.g = (_function(name) for name in cell.functions)

    def step(self, a: Any, state: list[Any]) -> list[Any]:
        h = state[0]
        masked = h.reshape(1, *h.shape)
        if self.mask is not None:
            masked = masked * self.mask
        if self.cell.kind == "GRU" and not self.cell.after:
            return [self._reset_before(a, h, masked)]
        u = masked @ self.weights
        if self.cell.kind == "RNN":
            return [self.g((a + u)[0])]
        if self.cell.kind == "GRU":
            u = u if self.inner_bias is None else u + self.inner_bias
            r, z = self.f(a[0] + u[0]), self.f(a[1] + u[1])
            return [self._mixed(z, self.g(a[2] + r * u[2]), h)]
        s = a + u
        c = self.f(s[1]) * state[1] + self.f(s[0]) * self.g(s[2])
        return [self.f(s[3]) * self.g(c), c]

    def _reset_before(self, a: Any, h: Any, masked: Any) -> Any:
        first = masked if self.mask is None else masked[:2]
        s = a[:2] + first @ self.weights[:2]
        r, z = self.f(s[0]), self.f(s[1])
        reset = r * (h if self.mask is None else masked[2])
        return self._mixed(z, self.g(a[2] + reset @ self.weights[2]), h)

    @staticmethod
    def _mixed(z: Any, n: Any, h: Any) -> Any:
        return z * h + (1 - z) * n


def _function(name: str) -> Any:
    return activations.function(name) or (lambda x: x)
