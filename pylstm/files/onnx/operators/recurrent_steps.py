"""Recurrent nodes step by step in NumPy: the equations of ONNX with every attribute, for cells that the core lacks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...._arrays import Array
from .activations import Function
from .products import product


def direction_of_steps(
    kind: Any,
    activations: tuple[Function, ...],
    x: Array,
    weights: list[Any],
    lengths: Array | None,
    states: list[Array | None],
    products: tuple[Any, Any] | None = None,
) -> tuple[Array, list[Array]]:
    """One direction, from the first step to the last.

    x: (T, N, I). weights: W (g·H, I), R (g·H, H), B (2·g·H,) or None, P (3·H,) or None, gates in the order of ONNX.
    states: (N, H) or None. products: of an LSTM, functions in place of the products with W and R. Returns the outputs (T, N, H), zero past a length, and the states at the sequences' ends.
    """
    w, r, b, p = weights
    steps, batch, _ = x.shape
    x = x.astype(w.dtype, copy=False)
    size = r.shape[1]
    of_x, of_h = np.zeros((2, len(w)), w.dtype) if b is None else b.reshape(2, -1)
    current = [np.zeros((batch, size), w.dtype) if one is None else one.astype(w.dtype) for one in states]
    outputs = np.zeros((steps, batch, size), w.dtype)
    inputs = (product(x, np.ascontiguousarray(w.T)) if products is None else products[0](x)) + of_x
    if products is not None:
        r = products[1]
    step = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}[kind.operator]
    with np.errstate(all="ignore"):
        for t in range(steps):
            new = step(kind, activations, inputs[t], current, r, of_h, p)
            if lengths is not None:
                runs = (t < lengths)[:, None]
                outputs[t] = np.where(runs, new[0], 0)
                current = [np.where(runs, after, before) for after, before in zip(new, current, strict=True)]
            else:
                outputs[t], current = new[0], new
    return outputs, current


def _clipped(kind: Any, x: Array) -> Array:
    return x if kind.clip is None else np.clip(x, x.dtype.type(-kind.clip), x.dtype.type(kind.clip))


def _lstm(
    kind: Any, functions: tuple[Function, ...], x: Array, states: list[Array], r: Array, bias: Array, p: Array | None
) -> list[Array]:
    f, g, h = functions
    hidden, cell = states
    of_h = r(hidden) if callable(r) else product(hidden, r.T)
    i, o, forget, c = np.split(x + of_h + bias, 4, axis=1)
    p_i, p_o, p_f = (0, 0, 0) if p is None else np.split(p, 3)
    i = f(_clipped(kind, i + p_i * cell))
    forget = 1 - i if kind.coupled else f(_clipped(kind, forget + p_f * cell))
    cell = forget * cell + i * g(_clipped(kind, c))
    o = f(_clipped(kind, o + p_o * cell))
    return [o * h(cell), cell]  # of c, which is no sum of products, onnxruntime clips nothing, either


def _gru(
    kind: Any,
    functions: tuple[Function, ...],
    x: Array,
    states: list[Array],
    r: Array,
    bias: Array,
    p: Array | None,  # noqa: ARG001
) -> list[Array]:
    f, g = functions
    (hidden,) = states
    size = hidden.shape[1]
    x_zr, x_h = x[:, : 2 * size], x[:, 2 * size :]
    z, reset = np.split(f(_clipped(kind, x_zr + product(hidden, r[: 2 * size].T) + bias[: 2 * size])), 2, axis=1)
    if kind.reset_after:
        new = x_h + reset * (product(hidden, r[2 * size :].T) + bias[2 * size :])
    else:
        new = x_h + product(reset * hidden, r[2 * size :].T) + bias[2 * size :]
    return [(1 - z) * g(_clipped(kind, new)) + z * hidden]


def _rnn(
    kind: Any,
    functions: tuple[Function, ...],
    x: Array,
    states: list[Array],
    r: Array,
    bias: Array,
    p: Array | None,  # noqa: ARG001
) -> list[Array]:
    return [functions[0](_clipped(kind, x + product(states[0], r.T) + bias))]
