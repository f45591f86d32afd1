"""What attention computes between checked arrays: scores, weights over what counts, and their gradients.

Every number is a sum in an order that neither other queries nor other sequences, nor padding behind a sequence, nor
threads change: so a whole target gives the bits of its steps one by one, and a batch those of each sequence alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .. import _core, _products
from .._arrays import Array

Lengths = NDArray[np.int64]

# Of tanh(W q + U k) at one time: they stay in the second-level cache from one pass over them to the next.
_BLOCK = 2**17


def multiplied(x: Array, weight: Array, bias: Array | None) -> Array:
    """x weightᵀ + bias: x (N, T, in), weight (out, in) -> (N, T, out)."""
    rows = _core.linear(x.reshape(-1, x.shape[2]), weight, bias, None)
    return rows.reshape(*x.shape[:2], len(weight))


def multiplied_backward(
    x: Array, weight: Array, has_bias: bool, d: Array, need_dx: bool, need_params: bool
) -> tuple[Array | None, tuple[Array, ...]]:
    """From the gradient to `multiplied` that to x, and those to weight and, if there is one, bias."""
    rows, d_rows = x.reshape(-1, x.shape[2]), d.reshape(-1, len(weight))
    if need_params:
        dx, *d_params = _core.linear_backward(rows, weight, d_rows, need_dx, has_bias, None)
    else:
        dx, d_params = (_core.matmul(d_rows, weight, False, None) if need_dx else None), []
    return (None if dx is None else dx.reshape(x.shape)), tuple([one for one in d_params if one is not None])


def weights_of(scores: Array, inside: NDArray[np.bool_] | None) -> Array:
    """softmax of scores (N, Q, K) over the keys that are inside (N, 1, K); None: all of them. 0 for the others."""
    keys = scores.shape[-1]
    if scores.size == 0:
        return np.zeros(scores.shape, scores.dtype)
    zero = scores.dtype.type(0)
    with np.errstate(invalid="ignore"):  # of scores that are infinite the weights are NaN, as torch has it
        if inside is None:
            weights = np.asarray(np.exp(scores - scores.max(axis=-1, keepdims=True)))
        else:
            some = inside.any(axis=-1, keepdims=True)
            largest = np.where(inside, scores, scores.dtype.type(-np.inf)).max(axis=-1, keepdims=True)
            weights = np.where(inside, np.exp(np.where(inside, scores - np.where(some, largest, zero), zero)), zero)
        # a product, whose chains go from the first key to the last: zeros behind them change nothing
        totals = _products.matmul(weights, np.ones((keys, 1), scores.dtype))
        # only what is inside: elsewhere NaN among the scores would show, and there 0 / 0 is
        np.divide(weights, totals, out=weights, where=True if inside is None else inside)
    return weights


def weights_backward(d_weights: Array, weights: Array, inside: NDArray[np.bool_] | None) -> Array:
    """From the gradient to the weights that to the scores. `d_weights` may be anything outside."""
    if inside is not None:
        d_weights = np.where(inside, d_weights, d_weights.dtype.type(0))
    return np.asarray(weights * (d_weights - np.add.reduce(d_weights * weights, axis=-1, keepdims=True)))


def context_of(weights: Array, keys: Array) -> Array:
    """weights (N, Q, K) @ keys (N, K, size)."""
    return _products.matmul(weights, keys)


def context_backward(weights: Array, keys: Array, d: Array) -> tuple[Array, Array]:
    """From the gradient to the context those to weights and keys."""
    d_weights, d_keys = _products.matmul_backward(weights, keys, d)
    assert d_weights is not None
    assert d_keys is not None
    return d_weights, d_keys


# ---- additive --------------------------------------------------------------------------------------------------------


def _blocks(queries: Array, lengths: Lengths) -> Iterator[tuple[slice, slice, int]]:
    """(sequences, queries, keys) that are looked at together: no keys that all of these sequences are shorter than."""
    (batch, steps, size), longest = queries.shape, int(lengths.max(initial=0))
    together = max(1, _BLOCK // max(1, steps * longest * size))
    for n in range(0, batch, together):
        sequences = slice(n, min(batch, n + together))
        count = int(lengths[sequences].max())
        rows = max(1, _BLOCK // max(1, count * size)) if together == 1 else steps
        if count and steps:
            for q in range(0, steps, rows):
                yield sequences, slice(q, min(steps, q + rows)), count


def _room(queries: Array, lengths: Lengths) -> Array:
    """For the largest of the blocks."""
    size = queries.shape[-1]
    most = 0
    for n, q, count in _blocks(queries, lengths):
        most = max(most, (n.stop - n.start) * (q.stop - q.start) * count * size)
    return np.empty(most, queries.dtype)


def _tanh(queries: Array, keys: Array, n: slice, q: slice, count: int, room: Array) -> Array:
    """tanh(queries + keys) of a block: (n, q, count, size), in `room`."""
    size = queries.shape[-1]
    shape = (n.stop - n.start, q.stop - q.start, count, size)
    t = room[: shape[0] * shape[1] * count * size].reshape(shape)
    np.add(queries[n, q, None], keys[n, None, :count], out=t)
    return np.tanh(t, out=t)


def additive(queries: Array, keys: Array, vector: Array, lengths: Lengths) -> Array:
    """vector . tanh(queries + keys): queries (N, Q, size), keys (N, K, size) -> (N, Q, K), 0 past the lengths."""
    scores = np.zeros((*queries.shape[:2], keys.shape[1]), queries.dtype)
    room = _room(queries, lengths)
    for n, q, count in _blocks(queries, lengths):
        t = _tanh(queries, keys, n, q, count, room)
        # a thread of its own: waking another takes longer than a block
        block = _core.linear(t.reshape(-1, t.shape[-1]), vector[None], None, 1)
        scores[n, q, :count] = block.reshape(t.shape[:-1])
    return scores


def additive_backward(
    queries: Array, keys: Array, vector: Array, lengths: Lengths, d: Array
) -> tuple[Array, Array, Array]:
    """From the gradient to the scores (N, Q, K), zero past the lengths, those to queries, keys and vector.

    The tanh is computed anew: it takes less time than to write it to memory and read it again.
    """
    d_queries, d_keys = np.zeros_like(queries), np.zeros_like(keys)
    d_vector = np.zeros_like(vector)
    one, room = queries.dtype.type(1), _room(queries, lengths)
    for n, q, count in _blocks(queries, lengths):
        t, own = _tanh(queries, keys, n, q, count, room), d[n, q, :count]
        d_vector += np.einsum("nqk,nqkj->j", own, t)
        np.multiply(t, t, out=t)
        np.subtract(one, t, out=t)
        d_queries[n, q] += np.einsum("nqk,nqkj->nqj", own, t)
        d_keys[n, :count] += np.einsum("nqk,nqkj->nkj", own, t)
    d_queries *= vector
    d_keys *= vector
    return d_queries, d_keys, d_vector


# ---- products --------------------------------------------------------------------------------------------------------


def dot(queries: Array, keys: Array, scale: float) -> Array:
    """scale * queries . keys: (N, Q, size), (N, K, size) -> (N, Q, K)."""
    scores = _products.matmul(queries, keys.swapaxes(1, 2))
    if scale != 1:
        scores *= scores.dtype.type(scale)
    return scores


def dot_backward(queries: Array, keys: Array, scale: float, d: Array) -> tuple[Array, Array]:
    """From the gradient to the scores those to queries and keys."""
    if scale != 1:
        d = d * d.dtype.type(scale)
    d_queries, d_keys = _products.matmul_backward(queries, keys.swapaxes(1, 2), d)
    assert d_queries is not None
    assert d_keys is not None
    return d_queries, d_keys.swapaxes(1, 2)
