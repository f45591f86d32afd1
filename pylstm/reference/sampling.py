"""Symbols drawn from one row of logits: the twin of pylstm/decoding/sampling.py and csrc/sampling.cpp.

Nucleus sampling: Holtzman, Buys, Du, Forbes & Choi 2020, "The Curious Case of Neural Text Degeneration", section 3.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def probabilities(
    logits: Array, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Array:
    """logits (V,) -> the probability (V,) with which each symbol is drawn."""
    order = sorted(range(len(logits)), key=lambda symbol: (-logits[symbol], symbol))  # the likeliest first
    chances = np.zeros(len(logits))
    if temperature == 0:
        chances[order[0]] = 1
        return chances
    kept = order if top_k is None else order[:top_k]
    z = logits[kept].astype(np.float64)
    chances[kept] = np.exp((z - z[0]) / temperature)
    chances /= chances.sum()
    if top_p is not None and top_p < 1:
        size, reached = 0, 0.0
        while size == 0 or (size < len(kept) and reached < top_p):
            reached += chances[kept[size]]
            size += 1
        chances[kept[size:]] = 0
    return np.asarray(chances / chances.sum())


def sample(chances: Array, number: float) -> int:
    """The symbol that a number in [0, 1) stands for: each has as much of it as its probability."""
    return int(np.searchsorted(np.cumsum(chances), number, side="right"))
