"""Recurrent layers as nodes: weights in the order of ONNX's gates, functions, lengths, projections.

Every layer of a layer, and with lengths every direction, is a node of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._arrays import Array
from ...layers.cell_functions import with_parameters
from ...layers.compiled import GRU, LSTM
from .emitting import Emitter, Name, Written
from .operators.activations import OURS

_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}  # their gate -> the place of ours


def _theirs(name: str, layer: Any, array: Array) -> Array:
    """Rows in the order of ONNX's gates; where the gates are coupled, zeros for the forget gate."""
    order = _ORDER[name]
    if getattr(layer, "coupled", False):
        i, g, o = np.asarray(array).reshape(3, -1, *array.shape[1:])
        return np.concatenate([i, o, np.zeros_like(i), g])
    return np.asarray(array).reshape(len(order), -1, *array.shape[1:])[list(order)].reshape(array.shape)


def write_recurrent(graph: Emitter, layer: Any, x: Name, lengths: str | None, state: Any) -> Written:
    """State: names of (layers * directions, N, size), one or two; None: zeros."""
    name = "LSTM" if isinstance(layer, LSTM) else "GRU" if isinstance(layer, GRU) else "RNN"
    directions, count = layer.num_directions, 2 if name == "LSTM" else 1
    given = [None] * count if state is None else list(state) if isinstance(state, (tuple, list)) else [state]
    y = x.name
    if x.ndim == 2:
        y = graph.unsqueezed(y, 1)
    elif layer.batch_first:
        y = graph.transposed(y, 1, 0, 2)
    lens = ""
    if lengths is not None:  # of sequences without steps every program makes something else: they get one, then none
        lens = graph.node("Cast", [graph.node("Max", [lengths, graph.integer(1)])], to=6)
    ends: list[list[str]] = [[] for _ in range(count)]
    for k in range(layer.num_layers):
        own = [
            "" if one is None else one if layer.num_layers == 1
            else graph.part(one, 0, k * directions, (k + 1) * directions)
            for one in given
        ]  # fmt: skip
        y, after = _one_layer(graph, layer, name, k, y, lens, own)
        for which, end in enumerate(after):
            ends[which].append(end)
    if x.ndim == 2:
        y = graph.squeezed(y, 1)
    elif layer.batch_first:
        y = graph.transposed(y, 1, 0, 2)
    found = [one[0] if len(one) == 1 else graph.node("Concat", one, axis=0) for one in ends]
    if lengths is not None:
        y = y if layer.batch_first else graph.transposed(y, 1, 0, 2)
        y = graph.masked(y, lengths)  # zeros already, but for OpenVINO, which leaves there what it has
        y = y if layer.batch_first else graph.transposed(y, 1, 0, 2)
        empty = graph.unsqueezed(graph.node("Equal", [lengths, graph.integer(0)]), 0, 2)
        zero = graph.number(0)
        found = [graph.node("Where", [empty, begin or zero, end]) for begin, end in zip(given, found, strict=True)]
    return Name(y, x.ndim, directions * layer.output_size), tuple(found)


def _one_layer(
    graph: Emitter, layer: Any, name: str, k: int, x: str, lens: str, states: list[str]
) -> tuple[str, list[str]]:
    params, directions, size = layer.params, layer.num_directions, layer.hidden_size
    suffixes = [f"_l{k}{end}" for end in ("", "_reverse")[:directions]]
    projection = (
        [np.asarray(params[f"weight_hr{suffix}"], np.float64) for suffix in suffixes] if _projects(layer) else []
    )
    weights = [np.stack([_theirs(name, layer, params[f"weight_ih{suffix}"]) for suffix in suffixes])]
    recurrent = [np.asarray(_theirs(name, layer, params[f"weight_hh{suffix}"])) for suffix in suffixes]
    if projection:  # h = P m, and so R h = (R P) m: the node keeps m, and its outputs are projected
        recurrent = [(r @ p).astype(graph.dtype) for r, p in zip(recurrent, projection, strict=True)]
    weights.append(np.stack(recurrent))
    if layer.bias:
        parts = []
        for suffix in suffixes:
            of_x = _theirs(name, layer, params[f"bias_ih{suffix}"])
            of_h = _theirs(name, layer, params[f"bias_hh{suffix}"]) if layer.recurrent_bias else np.zeros_like(of_x)
            parts.append(np.concatenate([of_x, of_h]))
        weights.append(np.stack(parts))
    if projection and states[0]:
        states = [_unprojected(graph, layer, states[0], projection), *states[1:]]
    options: dict[str, Any] = {"hidden_size": size}
    if directions == 2:
        options["direction"] = "bidirectional"
    if name == "GRU":
        options["linear_before_reset"] = int(layer.reset_after)
    options |= _functions(layer, name, directions)
    outputs, peepholes = 3 if name == "LSTM" else 2, []
    if getattr(layer, "peephole", False):
        zeros = np.zeros(size, graph.dtype)
        rows = [[params.get(f"weight_c{letter}{suffix}", zeros) for letter in "iof"] for suffix in suffixes]
        weights_p = np.stack([np.concatenate(row) for row in rows])
        peepholes = [weights_p]
    if directions == 2 and lens:
        y, *ends = _both_ways(graph, name, k, x, (weights, peepholes), lens, states, outputs, options)
    else:
        seen = [graph.constant(one, f"P_l{k}") for one in peepholes]
        y, *ends = graph.node(name, [x, *_constants(graph, k, weights), lens, *states, *seen], outputs, **options)
    if projection:
        matrices = graph.constant(np.stack([p.T for p in projection]), f"projection_l{k}")
        y = graph.node("MatMul", [y, matrices])  # (T, D, N, H) by (D, H, S)
        ends[0] = graph.node("MatMul", [ends[0], matrices])
    if directions == 1:
        return graph.squeezed(y, 1), ends
    return graph.reshaped(graph.transposed(y, 0, 2, 1, 3), 0, 0, 2 * layer.output_size), ends


_THEIRS = {own: name for name, own in OURS.items()} | {"linear": "Affine"}
_USUAL = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


def _functions(layer: Any, name: str, directions: int) -> dict[str, Any]:
    """The attributes for a layer's functions, its clip and coupled gates."""
    if name == "RNN":
        chosen = [layer.nonlinearity]
    else:
        chosen = [layer.recurrent_activation, layer.activation]
        if name == "LSTM":
            chosen.append(layer.activation if layer.output_activation is None else layer.output_activation)
    names, alpha, beta = [], [], []
    for one in chosen:
        own, numbers = with_parameters(one)
        if own not in _THEIRS:
            raise ValueError(f"{layer!r} has the function {own!r}, which ONNX's recurrent nodes do not know")
        names.append(_THEIRS[own])
        numbers = (1.0, 0.0) if own == "linear" else numbers
        alpha += list(numbers[:1])
        beta += list(numbers[1:])
    found: dict[str, Any] = {}
    if names != _USUAL[name]:
        found["activations"] = names * directions
        if alpha:
            found["activation_alpha"] = [float(one) for one in alpha] * directions
        if beta:
            found["activation_beta"] = [float(one) for one in beta] * directions
    if layer.clip is not None:
        found["clip"] = float(layer.clip)
    if getattr(layer, "coupled", False):
        found["input_forget"] = 1
    return found


def _constants(graph: Emitter, k: int, weights: list[Array]) -> list[str]:
    """W, R and B, which may be none."""
    names = [graph.constant(array, f"{which}_l{k}") for which, array in zip("WRB", weights, strict=False)]
    return [*names, *[""] * (3 - len(names))]


def _both_ways(
    graph: Emitter, name: str, k: int, x: str, weights: tuple[list[Array], list[Array]], lens: str, states: list[str],
    outputs: int, options: dict[str, Any],
) -> list[str]:  # fmt: skip
    """A bidirectional node with lengths as two that go forward: where sizes are open OpenVINO does not heed the lengths
    of a node, and would begin its way back at what is no step."""
    options = {
        key: option[: len(option) // 2] if isinstance(option, list) else option for key, option in options.items()
    }
    del options["direction"]
    turn = {"batch_axis": 1, "time_axis": 0}
    long = graph.node("Cast", [lens], to=7)
    found = []
    for d in (0, 1):
        given = graph.node("ReverseSequence", [x, long], **turn) if d else x
        own = _constants(graph, k, [array[d : d + 1] for array in weights[0]])
        seen = [graph.constant(array[d : d + 1], f"P_l{k}") for array in weights[1]]
        begin = [graph.part(one, 0, d, d + 1) if one else "" for one in states]
        y, *ends = graph.node(name, [given, *own, lens, *begin, *seen], outputs, **options)
        if d:
            y = graph.unsqueezed(graph.node("ReverseSequence", [graph.squeezed(y, 1), long], **turn), 1)
        found.append([y, *ends])
    return [graph.node("Concat", list(pair), axis=1 - min(at, 1)) for at, pair in enumerate(zip(*found, strict=True))]


def _projects(layer: Any) -> bool:
    return bool(getattr(layer, "proj_size", 0))


def _unprojected(graph: Emitter, layer: Any, state: str, projection: list[Array]) -> str:
    """m with P m = h, of the states h (D, N, S)."""
    for p in projection:
        if np.linalg.matrix_rank(p) < len(p):
            raise ValueError(
                f"the projection of {layer!r} has rows that depend on each other: no state leads to some h"
            )
    back = np.stack([np.linalg.pinv(p).T for p in projection])
    return graph.node("MatMul", [state, graph.constant(back, "unprojection")])  # type: ignore[no-any-return]
