"""Attention and its gradients, a sequence and a query at a time: the twin of `pylstm.Attention`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def attention(
    query: Array, keys: Array, lengths: NDArray[np.int64], score: str, params: Mapping[str, Array]
) -> tuple[Array, Array]:
    """context (N, Q, key_size) and weights (N, Q, K) of query (N, Q, query_size), keys (N, K, key_size)."""
    context = np.zeros((*query.shape[:2], keys.shape[2]), query.dtype)
    weights = np.zeros((*query.shape[:2], keys.shape[1]), query.dtype)
    for n, length in enumerate(lengths):
        for i, q in enumerate(query[n]):
            if length:
                scores = np.array([_score(q, k, score, params) for k in keys[n, :length]])
                e = np.exp(scores - scores.max())
                weights[n, i, :length] = e / e.sum()
                context[n, i] = weights[n, i, :length] @ keys[n, :length]
    return context, weights


def attention_backward(
    query: Array,
    keys: Array,
    lengths: NDArray[np.int64],
    score: str,
    params: Mapping[str, Array],
    d_context: Array,
    d_weights: Array,
) -> tuple[Array, Array, dict[str, Array]]:
    """From the gradients to context and weights those to query, keys and the parameters."""
    d_query, d_keys = np.zeros_like(query), np.zeros_like(keys)
    d_params = {name: np.zeros_like(value) for name, value in params.items()}
    weights = attention(query, keys, lengths, score, params)[1]
    for n, length in enumerate(lengths):
        for i, q in enumerate(query[n]):
            w, own = weights[n, i, :length], keys[n, :length]
            d_w = d_weights[n, i, :length] + own @ d_context[n, i]
            d_keys[n, :length] += np.outer(w, d_context[n, i])
            d_scores = w * (d_w - w @ d_w)
            for j, d in enumerate(d_scores):
                _score_backward(d, q, own[j], score, params, d_query[n, i], d_keys[n, j], d_params)
    return d_query, d_keys, d_params


def _score(q: Array, k: Array, score: str, p: Mapping[str, Array]) -> Any:
    if score == "additive":
        return p["v"] @ np.tanh(p["query_weight"] @ q + p["key_weight"] @ k + p["bias"])
    if score == "general":
        return q @ p["weight"] @ k
    return q @ k / (np.sqrt(len(q)) if score == "scaled_dot" else 1)


def _score_backward(
    d: Any, q: Array, k: Array, score: str, p: Mapping[str, Array], d_q: Array, d_k: Array, d_p: dict[str, Array]
) -> None:
    """Adds to the gradients to q, k and the parameters what a score's gives."""
    if score == "additive":
        t = np.tanh(p["query_weight"] @ q + p["key_weight"] @ k + p["bias"])
        d_p["v"] += d * t
        d_sum = d * p["v"] * (1 - t * t)
        d_p["bias"] += d_sum
        d_p["query_weight"] += np.outer(d_sum, q)
        d_p["key_weight"] += np.outer(d_sum, k)
        d_q += p["query_weight"].T @ d_sum
        d_k += p["key_weight"].T @ d_sum
    elif score == "general":
        d_p["weight"] += d * np.outer(q, k)
        d_q += d * (p["weight"] @ k)
        d_k += d * (q @ p["weight"])
    else:
        scale = np.sqrt(len(q)) if score == "scaled_dot" else 1
        d_q += d * k / scale
        d_k += d * q / scale
