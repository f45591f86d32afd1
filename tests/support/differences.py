"""Gradients by central differences in float64."""

from __future__ import annotations

import numpy as np

STEP = 1e-6


def slopes_agree(value, pairs, rng):
    """value() rises along random directions as the gradients say.

    pairs: (array, gradient to it); the arrays are those that value() computes with, and are as they were at the end.
    """
    for array, gradient in pairs:
        direction = rng.standard_normal(array.shape)
        before, ends = array.copy(), []
        for sign in (1, -1):
            array[...] = before + sign * STEP * direction
            ends.append(value())
        array[...] = before
        assert np.isclose((ends[0] - ends[1]) / (2 * STEP), (gradient * direction).sum(), rtol=1e-6, atol=1e-8)
