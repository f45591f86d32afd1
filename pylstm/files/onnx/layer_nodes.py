"""Layers as nodes: a function a class, (graph, layer, x, lengths, state) -> (y, state after it)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

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
from .emitting import Emitter, Name, Written
from .recurrent_nodes import write_recurrent

_WRITERS: dict[type[Any], Callable[..., Written]] = {}
States = dict[int, Any]  # id of a recurrent layer -> names of its states, before or after


def writer(*kinds: type[Any]) -> Callable[[Callable[..., Written]], Callable[..., Written]]:
    def add(function: Callable[..., Written]) -> Callable[..., Written]:
        for kind in kinds:
            _WRITERS[kind] = function
        return function

    return add


writer(LSTM, GRU, RNN)(write_recurrent)


def write_layer(graph: Emitter, layer: Layer, x: Name, lengths: str | None = None, state: Any = None) -> Written:
    """Write what a layer computes. Raises ValueError for one that cannot be written."""
    function = _WRITERS.get(type(layer))
    if function is None:
        chain = isinstance(layer, Container) and type(layer)._run is Container._run
        if not (chain and type(layer).__call__ is Container.__call__):
            raise ValueError(
                f"{type(layer).__name__} is not written to ONNX files, which hold no Python: "
                f"{', '.join(sorted(kind.__name__ for kind in _WRITERS))}, chains of them, and Attention in a model's "
                "run are. Make it of these and of operations on values, as a Model"
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
    reach = graph.node("Add", [lengths, graph.integer(layer._left + layer._right - layer._span - 1)])
    # a division of integers rounds towards zero: of what is below zero nothing is left in any case
    zero = graph.integer(0)
    count = graph.node("Div", [graph.node("Max", [reach, zero]), graph.integer(layer.stride)])
    count = graph.node("Add", [count, graph.integer(1)])
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
        column = graph.node("Gather", [x.name, graph.integer(k)], axis=x.ndim - 1)
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
        return graph.node("Gather", [x.name, graph.integer(-1)], axis=1)  # type: ignore[no-any-return]
    one, zero = graph.integer(1), graph.integer(0)
    last = graph.node("Max", [graph.node("Sub", [lengths, one]), zero])
    return graph.node("GatherND", [x.name, graph.unsqueezed(last, 1)], batch_dims=1)  # type: ignore[no-any-return]


def _unless_empty(graph: Emitter, y: str, lengths: str | None) -> str:
    """y (N, F), zero where there are no steps."""
    if lengths is None:
        return y
    some = graph.unsqueezed(graph.node("Greater", [lengths, graph.integer(0)]), 1)
    return graph.node("Where", [some, y, graph.number(0)])  # type: ignore[no-any-return]


@writer(LastStep)
def _last_step(graph: Emitter, layer: Any, x: Name, lengths: str | None, state: Any) -> Written:  # noqa: ARG001
    return Name(_unless_empty(graph, _at_end(graph, x, lengths), lengths), 2, x.width), None


@writer(BothEnds)
def _both_ends(graph: Emitter, layer: Any, x: Name, lengths: str | None, state: Any) -> Written:
    if x.width is None:
        raise ValueError(f"how many features {layer!r} gets is not known: it cannot be written")
    half = x.width // 2
    forward = graph.part(_at_end(graph, x, lengths), 1, 0, half)
    first = graph.node("Gather", [x.name, graph.integer(0)], axis=1)
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
    count = graph.as_floats(graph.node("Max", [count, graph.integer(1)]))
    total = graph.node("ReduceSum", [x.name, graph.integers(1)], keepdims=0)
    return Name(graph.node("Mul", [total, graph.node("Reciprocal", [count])]), 2, x.width), None


@writer(MaxOverTime)
def _max(graph: Emitter, layer: Any, x: Name, lengths: str | None, state: Any) -> Written:  # noqa: ARG001
    given = x.name if lengths is None else graph.masked(x.name, lengths, -np.inf)
    y = graph.node("ReduceMax", [given], axes=[1], keepdims=0)
    return Name(_unless_empty(graph, y, lengths), 2, x.width), None
