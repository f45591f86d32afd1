"""Dropout between layers (Srivastava et al. 2014), with masks from a counter-based generator.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") turns a counter of four words and a
key of two into four random words. Taking the counter from an element's place makes its fate a function of seed, call
and place alone: no state, no order of drawing, so any backend and any number of threads draws the same mask.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]  # 32-bit words in 64-bit integers, so that products do not overflow

_WORD = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEPS = 0x9E3779B9, 0xBB67AE85  # the golden ratio and sqrt(3) - 1, as fractions of 2^32
_ROUNDS = 10


def philox(c0: Words, c1: Words, c2: Words, c3: Words, key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Philox4x32-10: the four words of the counter, arrays of one shape, become four random words."""
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1 = (p1 >> _SHIFT) ^ c1 ^ np.uint64(k0), p1 & _WORD
        c2, c3 = (p0 >> _SHIFT) ^ c3 ^ np.uint64(k1), p0 & _WORD
        k0, k1 = (k0 + _KEY_STEPS[0]) & 0xFFFFFFFF, (k1 + _KEY_STEPS[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def keep_mask(
    probability: float, shape: tuple[int, int, int], layer: int, num_layers: int, key: tuple[int, int]
) -> NDArray[np.bool_]:
    """Which elements of the output (T, N, W) of `layer` survive in the call `key` = (64-bit seed, call number).

    Element (t, n, j) is word j mod 4 of philox(j div 4, n, t, call·num_layers + layer), dropped if the word is below
    probability·2^32.
    """
    steps, batch, width = shape
    if probability >= 1.0:
        return np.zeros(shape, dtype=bool)
    seed, call = key
    t, n, j = np.indices((steps, batch, (width + 3) // 4), dtype=np.uint64)
    stream = np.full_like(j, (call * num_layers + layer) % 2**32)
    words = np.stack(philox(j, n, t, stream, (seed & 0xFFFFFFFF, seed >> 32)), axis=-1)
    words = words.reshape(steps, batch, words.shape[2] * 4)[..., :width]
    return np.asarray(words >= np.uint64(min(int(probability * 2**32), 2**32 - 1)))


def apply(values: NDArray[Any], keep: NDArray[np.bool_], probability: float) -> NDArray[Any]:
    """Zero where dropped; the kept rest grows by 1/(1-p), so that the expected value stays the same.

    The map is linear and its own transpose: the gradient goes through the same function.
    """
    scale = values.dtype.type(1.0 / (1.0 - probability) if probability < 1.0 else 0.0)
    return np.asarray(np.where(keep, values * scale, values.dtype.type(0)))
