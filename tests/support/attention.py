"""Attention layers with random weights, their inputs, and a decoder that goes step by step."""

from __future__ import annotations

import numpy as np

import pylstm

SCORES = ("additive", "general", "dot", "scaled_dot")
N, Q, K = 4, 3, 5
LENGTHS = np.array([5, 2, 0, 4])


def layer_of(score, dtype=np.float64, seed=1, query_size=4, key_size=6, size=None):
    if score in ("dot", "scaled_dot"):
        key_size = query_size
    layer = pylstm.Attention(query_size, key_size, size, score, dtype=dtype, seed=seed)
    rng = np.random.default_rng(seed)  # the bias, too, is not 0
    layer.load_state_dict({name: rng.standard_normal(value.shape) for name, value in layer.params.items()})
    return layer


def inputs_of(layer, rng, n=N, q=Q, k=K):
    return (
        rng.standard_normal((n, q, layer.query_size)).astype(layer.dtype),
        rng.standard_normal((n, k, layer.key_size)).astype(layer.dtype),
    )


class Decoder(pylstm.Model):
    """Steps over a memory that is prepared once."""

    def __init__(self, attention):
        self.attention = attention

    def run(self, query, keys, lengths=None):
        memory = self.attention.prepare(keys, lengths=lengths)
        found = [self.attention(query[:, step], memory) for step in range(query.shape[1])]
        return tuple(pylstm.stack(parts, axis=1) for parts in zip(*found, strict=True))
