"""Attention as nodes: those of the arithmetic of `attention_scores`, in its order, so that the bits are the layer's.

Softmax is not among them: the layer's own sum goes from the first key to the last, which a product with ones is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...layers.attention import Attention
from .emitting import Emitter, Name


@dataclass(frozen=True)
class MemoryNames:
    """Names of what a layer keeps of its keys: (N, K, key_size), (N, K, ..), and the lengths; None: all keys count."""

    keys: str
    projected: str
    lengths: str | None


def write_memory(graph: Emitter, layer: Attention, keys: str, lengths: str | None) -> MemoryNames:
    """The keys, zero past the lengths, and multiplied by their weights."""
    if lengths is not None:
        keys = graph.masked(keys, lengths)
    projected, params = keys, layer.params
    if layer._key_weight is not None:
        projected = graph.node("MatMul", [keys, graph.constant(params[layer._key_weight].T, layer._key_weight)])
    if layer.score == "additive":
        projected = graph.node("Add", [projected, graph.constant(params["bias"], "bias")])
    return MemoryNames(keys, projected, lengths)


def write_attention(graph: Emitter, layer: Attention, query: Name, memory: MemoryNames) -> tuple[str, str]:
    """Context and weights, (N, Q, ..), or of a query of one step (N, ..)."""
    one_step = query.ndim == 2
    queries = graph.unsqueezed(query.name, 1) if one_step else query.name
    if layer.score == "additive":
        scores = _additive(graph, layer, queries, memory.projected)
    else:
        scores = graph.node("MatMul", [queries, graph.transposed(memory.projected, 0, 2, 1)])
        if layer._scale != 1:
            scores = graph.node("Mul", [scores, graph.number(layer._scale)])
    weights = _weights(graph, scores, memory)
    context = graph.node("MatMul", [weights, memory.keys])
    return (graph.squeezed(context, 1), graph.squeezed(weights, 1)) if one_step else (context, weights)


def _additive(graph: Emitter, layer: Attention, queries: str, projected: str) -> str:
    """vector . tanh(queries + keys), of every query and key."""
    queries = graph.node("MatMul", [queries, graph.constant(layer.params["query_weight"].T, "query_weight")])
    both = graph.node("Add", [graph.unsqueezed(queries, 2), graph.unsqueezed(projected, 1)])
    vector = graph.constant(layer.params["v"][:, None], "v")
    return graph.squeezed(graph.node("MatMul", [graph.node("Tanh", [both]), vector]), 3)


def _weights(graph: Emitter, scores: str, memory: MemoryNames) -> str:
    """Softmax over the keys that count; zeros for the others, and where none does."""
    lengths = memory.lengths
    some = ""
    if lengths is not None:
        some = graph.unsqueezed(graph.node("Greater", [lengths, graph.integer(0)]), 1, 2)
        inside = graph.node("Less", [graph.counted(scores, 2), graph.unsqueezed(lengths, 1)])
        scores = graph.node("Where", [graph.unsqueezed(inside, 1), scores, graph.number(-np.inf)])
    largest = graph.node("ReduceMax", [scores], axes=[2], keepdims=1)
    if some:
        largest = graph.node("Where", [some, largest, graph.number(0)])
    weights = graph.node("Exp", [graph.node("Sub", [scores, largest])])
    shape = graph.node("Concat", [graph.part(graph.node("Shape", [scores]), 0, 2, 3), graph.integers(1)], axis=0)
    totals = graph.node("MatMul", [weights, graph.node("Expand", [graph.number(1), shape])])
    if some:  # of a sequence without keys it would be 0 / 0
        totals = graph.node("Where", [some, totals, graph.number(1)])
    return graph.node("Div", [weights, totals])  # type: ignore[no-any-return]
