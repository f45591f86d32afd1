"""Layers as nodes: a function a class, (graph, layer, x, lengths, state) -> (y, state after it)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._arrays import Array
from ...layers.activation import Activation
from ...layers.compiled import GRU, LSTM, RNN
from ...layers.containers import Columns, Container, Residual
from ...layers.convolution import Conv1d
from ...layers.dropout import Dropout
from ...layers.embedding import Embedding
from ...layers.layer import Layer
from ...layers.linear import Linear
from ...layers.normalization import LayerNorm
from ...layers.pooling import BothEnds, LastStep, MaxOverTime, MeanOverTime
from .emitting import Emitter, Name

Written = tuple[Name, Any]
_WRITERS: dict[type[Any], Callable[..., Written]] = {}
States = dict[int, Any]  # id of a recurrent layer -> names of its states, before or after


def writer(*kinds: type[Any]) -> Callable[[Callable[..., Written]], Callable[..., Written]]:
    def add(function: Callable[..., Written]) -> Callable[..., Written]:
        for kind in kinds:
            _WRITERS[kind] = function
        return function

    return add


def write_layer(graph: Emitter, layer: Layer, x: Name, lengths: str | None = None, state: Any = None) -> Written:
    """Write what a layer computes. Raises ValueError for one that cannot be written."""
    function = _WRITERS.get(type(layer))
    if function is None:
        chain = isinstance(layer, Container) and type(layer)._run is Container._run
        if not (chain and type(layer).__call__ is Container.__call__):
            raise ValueError(
                f"{type(layer).__name__} is not written to ONNX files: "
                f"{', '.join(sorted(kind.__name__ for kind in _WRITERS))} and chains of them are. Of a model with a run "
                "of its own, give an example of its input: "
                "to_onnx(model, path, x)"
            )
        return _chain(graph, layer, x, lengths, state)
    return function(graph, layer, x, lengths, state)


def recurrent_layers(layer: Layer) -> list[Any]:
    """Those with states in a layer or chain, in their order."""
    if isinstance(layer, Container):
        return [inner for one in layer.layers for inner in recurrent_layers(one)]
    return [layer] if layer.returns_state else []


def output_lengths(graph: Emitter, layer: Layer, lengths: str | None) -> str | None:
    """The lengths behind a layer."""
    if lengths is None or not layer.keeps_time:
        return None
    if not isinstance(layer, Conv1d):
        if isinstance(layer, Container):
            for inner in layer.layers:
                lengths = output_lengths(graph, inner, lengths)
        return lengths
    reach = graph.node("Add", [lengths, graph.constant(np.int64(layer._left + layer._right - layer._span - 1))])
    # a division of integers rounds towards zero: of what is below zero nothing is left in any case
    zero = graph.constant(np.int64(0))
    count = graph.node("Div", [graph.node("Max", [reach, zero]), graph.constant(np.int64(layer.stride))])
    count = graph.node("Add", [count, graph.constant(np.int64(1))])
    runs = graph.node("And", [graph.node("Greater", [lengths, zero]), graph.node("GreaterOrEqual", [reach, zero])])
    return graph.node("Where", [runs, count, zero])  # type: ignore[no-any-return]


def _chain(graph: Emitter, layer: Any, x: Name, lengths: str | None, state: States | None) -> Written:
    """Layers one after another; states: {id of a layer: its states}, and so is what comes back."""
    after: States = {}
    scope = graph.scope
    for at, inner in enumerate(layer.layers):
        graph.scope = f"{scope}{at}."
        own = state.get(id(inner)) if state and inner.returns_state else state
        x, found = write_layer(graph, inner, x, lengths, own)
        lengths = output_lengths(graph, inner, lengths)
        if inner.returns_state:
            after[id(inner)] = found
        elif isinstance(found, dict):
            after.update(found)
    graph.scope = scope
    return x, after


@writer(Residual)
def _residual(graph: Emitter, layer: Any, x: Name, lengths: str | None, state: Any) -> Written:
    y, after = _chain(graph, layer, x, lengths, state)
    return Name(graph.node("Add", [x.name, y.name]), x.ndim, y.width), after


@writer(Columns)
def _columns(graph: Emitter, layer: Any, x: Name, lengths: str | None, state: Any) -> Written:  # noqa: ARG001
    parts = []
    for k, inner in enumerate(layer.layers):
        column = graph.node("Gather", [x.name, graph.constant(np.int64(k))], axis=x.ndim - 1)
        parts.append(write_layer(graph, inner, Name(column, x.ndim - 1), lengths)[0])
    width = sum(part.width or 0 for part in parts)
    return Name(graph.node("Concat", [part.name for part in parts], axis=-1), x.ndim, width), None


@writer(Dropout)
def _dropout(graph: Emitter, layer: Any, x: Name, lengths: str | None, state: Any) -> Written:  # noqa: ARG001
    return x, None


@writer(Embedding)
def _embedding(graph: Emitter, layer: Any, x: Name, lengths: str | None, state: Any) -> Written:  # noqa: ARG001
    table = graph.constant(layer.state_dict()["weight"], "weight")
    return Name(graph.node("Gather", [table, x.name], axis=0), x.ndim + 1, layer.dim), None


@writer(Linear)
def _linear(graph: Emitter, layer: Any, x: Name, lengths: str | None, state: Any) -> Written:  # noqa: ARG001
    weight = graph.constant(layer.params["weight"].T, "weight")
    y = graph.node("MatMul", [x.name, weight])
    if layer.bias:
        y = graph.node("Add", [y, graph.constant(layer.params["bias"], "bias")])
    return Name(y, x.ndim, layer.out_features), None


@writer(Activation)
def _activation(graph: Emitter, layer: Any, x: Name, lengths: str | None, state: Any) -> Written:  # noqa: ARG001
    name = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "softmax": "Softmax"}[layer.function]
    options = {"axis": -1} if name == "Softmax" else {}
    return Name(graph.node(name, [x.name], **options), x.ndim, x.width), None


@writer(LayerNorm)
def _layer_norm(graph: Emitter, layer: Any, x: Name, lengths: str | None, state: Any) -> Written:  # noqa: ARG001
    weights = [graph.constant(layer.params[name], name) for name in ("weight", "bias")]
    y = graph.node("LayerNormalization", [x.name, *weights], axis=-1, epsilon=float(layer.eps))
    return Name(y, x.ndim, x.width), None


@writer(Conv1d)
def _convolution(graph: Emitter, layer: Any, x: Name, lengths: str | None, state: Any) -> Written:  # noqa: ARG001
    given = x.name if lengths is None else graph.masked(x.name, lengths)
    inputs = [graph.transposed(given, 0, 2, 1), graph.constant(layer.params["weight"], "weight")]
    if layer.bias:
        inputs.append(graph.constant(layer.params["bias"], "bias"))
    y = graph.node(
        "Conv", inputs, kernel_shape=[layer.kernel_size], strides=[layer.stride], dilations=[layer.dilation],
        pads=[layer._left, layer._right],
    )  # fmt: skip
    y = graph.transposed(y, 0, 2, 1)
    if lengths is not None:
        y = graph.masked(y, output_lengths(graph, layer, lengths))  # type: ignore[arg-type]
    return Name(y, 3, layer.out_size), None


# ---- from steps to one vector ----------------------------------------------------------------------------------------


def _at_end(graph: Emitter, x: Name, lengths: str | None) -> str:
    """x (N, T, F) at each sequence's last step, (N, F)."""
    if lengths is None:
        return graph.node("Gather", [x.name, graph.constant(np.int64(-1))], axis=1)  # type: ignore[no-any-return]
    one, zero = graph.constant(np.int64(1)), graph.constant(np.int64(0))
    last = graph.node("Max", [graph.node("Sub", [lengths, one]), zero])
    return graph.node("GatherND", [x.name, graph.unsqueezed(last, 1)], batch_dims=1)  # type: ignore[no-any-return]


def _unless_empty(graph: Emitter, y: str, lengths: str | None) -> str:
    """y (N, F), zero where there are no steps."""
    if lengths is None:
        return y
    some = graph.unsqueezed(graph.node("Greater", [lengths, graph.constant(np.int64(0))]), 1)
    return graph.node("Where", [some, y, graph.constant(np.float32(0))])  # type: ignore[no-any-return]


@writer(LastStep)
def _last_step(graph: Emitter, layer: Any, x: Name, lengths: str | None, state: Any) -> Written:  # noqa: ARG001
    return Name(_unless_empty(graph, _at_end(graph, x, lengths), lengths), 2, x.width), None


@writer(BothEnds)
def _both_ends(graph: Emitter, layer: Any, x: Name, lengths: str | None, state: Any) -> Written:
    if x.width is None:
        raise ValueError(f"how many features {layer!r} gets is not known: it cannot be written")
    half = x.width // 2
    forward = graph.part(_at_end(graph, x, lengths), 1, 0, half)
    first = graph.node("Gather", [x.name, graph.constant(np.int64(0))], axis=1)
    y = graph.node("Concat", [forward, graph.part(first, 1, half, x.width)], axis=1)
    del state
    return Name(_unless_empty(graph, y, lengths), 2, x.width), None


@writer(MeanOverTime)
def _mean(graph: Emitter, layer: Any, x: Name, lengths: str | None, state: Any) -> Written:  # noqa: ARG001
    if lengths is None:
        count = graph.size(x.name, 1)
    else:
        x = Name(graph.masked(x.name, lengths), x.ndim, x.width)
        count = graph.unsqueezed(lengths, 1)
    count = graph.node("Cast", [graph.node("Max", [count, graph.constant(np.int64(1))])], to=1)
    total = graph.node("ReduceSum", [x.name, graph.integers(1)], keepdims=0)
    return Name(graph.node("Mul", [total, graph.node("Reciprocal", [count])]), 2, x.width), None


@writer(MaxOverTime)
def _max(graph: Emitter, layer: Any, x: Name, lengths: str | None, state: Any) -> Written:  # noqa: ARG001
    given = x.name if lengths is None else graph.masked(x.name, lengths, -np.inf)
    y = graph.node("ReduceMax", [given], axes=[1], keepdims=0)
    return Name(_unless_empty(graph, y, lengths), 2, x.width), None


# ---- recurrent layers ------------------------------------------------------------------------------------------------

_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}  # their gate -> the place of ours


def _theirs(name: str, array: Array) -> Array:
    """Rows in the order of ONNX's gates."""
    order = _ORDER[name]
    return np.asarray(array).reshape(len(order), -1, *array.shape[1:])[list(order)].reshape(array.shape)


@writer(LSTM, GRU, RNN)
def _recurrent(graph: Emitter, layer: Any, x: Name, lengths: str | None, state: Any) -> Written:
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
    if (
        lengths is not None
    ):  # of sequences without steps every program makes something else: they get one, and then none
        lens = graph.node("Cast", [graph.node("Max", [lengths, graph.constant(np.int64(1))])], to=6)
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
        empty = graph.unsqueezed(graph.node("Equal", [lengths, graph.constant(np.int64(0))]), 0, 2)
        zero = graph.constant(np.float32(0))
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
    weights = [np.stack([_theirs(name, params[f"weight_ih{suffix}"]) for suffix in suffixes])]
    recurrent = [np.asarray(_theirs(name, params[f"weight_hh{suffix}"])) for suffix in suffixes]
    if projection:  # h = P m, and so R h = (R P) m: the node keeps m, and its outputs are projected
        recurrent = [(r @ p).astype(np.float32) for r, p in zip(recurrent, projection, strict=True)]
    weights.append(np.stack(recurrent))
    if layer.bias:
        parts = []
        for suffix in suffixes:
            of_x = _theirs(name, params[f"bias_ih{suffix}"])
            of_h = _theirs(name, params[f"bias_hh{suffix}"]) if layer.recurrent_bias else np.zeros_like(of_x)
            parts.append(np.concatenate([of_x, of_h]))
        weights.append(np.stack(parts))
    if projection and states[0]:
        states = [_unprojected(graph, layer, states[0], projection), *states[1:]]
    options: dict[str, Any] = {"hidden_size": size}
    if directions == 2:
        options["direction"] = "bidirectional"
    if name == "GRU":
        options["linear_before_reset"] = int(layer.reset_after)
    if name == "RNN" and layer.nonlinearity == "relu":
        options["activations"] = ["Relu"] * directions
    outputs = 3 if name == "LSTM" else 2
    if directions == 2 and lens:
        y, *ends = _both_ways(graph, name, k, x, weights, lens, states, outputs, options)
    else:
        y, *ends = graph.node(name, [x, *_constants(graph, k, weights), lens, *states], outputs, **options)
    if projection:
        matrices = graph.constant(np.stack([p.T for p in projection]).astype(np.float32), f"projection_l{k}")
        y = graph.node("MatMul", [y, matrices])  # (T, D, N, H) by (D, H, S)
        ends[0] = graph.node("MatMul", [ends[0], matrices])
    if directions == 1:
        return graph.squeezed(y, 1), ends
    return graph.reshaped(graph.transposed(y, 0, 2, 1, 3), 0, 0, 2 * layer.output_size), ends


def _constants(graph: Emitter, k: int, weights: list[Array]) -> list[str]:
    """W, R and B, which may be none."""
    names = [graph.constant(array, f"{which}_l{k}") for which, array in zip("WRB", weights, strict=False)]
    return [*names, *[""] * (3 - len(names))]


def _both_ways(
    graph: Emitter, name: str, k: int, x: str, weights: list[Array], lens: str, states: list[str], outputs: int,
    options: dict[str, Any],
) -> list[str]:  # fmt: skip
    """A bidirectional node with lengths as two that go forward: where sizes are open OpenVINO does not heed the lengths
    of a node, and would begin its way back at what is no step."""
    options = {key: option[:1] if isinstance(option, list) else option for key, option in options.items()}
    del options["direction"]
    turn = {"batch_axis": 1, "time_axis": 0}
    long = graph.node("Cast", [lens], to=7)
    found = []
    for d in (0, 1):
        given = graph.node("ReverseSequence", [x, long], **turn) if d else x
        own = _constants(graph, k, [array[d : d + 1] for array in weights])
        begin = [graph.part(one, 0, d, d + 1) if one else "" for one in states]
        y, *ends = graph.node(name, [given, *own, lens, *begin], outputs, **options)
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
    back = np.stack([np.linalg.pinv(p).T for p in projection]).astype(np.float32)
    return graph.node("MatMul", [state, graph.constant(back, "unprojection")])  # type: ignore[no-any-return]
