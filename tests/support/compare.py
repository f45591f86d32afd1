"""Comparisons of results, name -> array."""

from __future__ import annotations

import numpy as np


def assert_close(got, want, tolerance, what="", floor=0.0):
    """Every array within `tolerance` of its counterpart, relative to the largest element of the latter.

    The terms of a gradient may cancel and leave an array small in every element, but not its rounding errors: an
    array counts as at least `floor` times the largest of its pass.
    """
    assert got.keys() == want.keys()
    largest = {}
    for name, expected in want.items():
        back = name.startswith("d_")
        largest[back] = max(largest.get(back, 1e-30), np.abs(expected).max(initial=0))
    for name, expected in want.items():
        assert got[name].shape == expected.shape, (what, name)
        assert np.isfinite(got[name]).all(), (what, name)
        if expected.size:
            scale = max(np.abs(expected).max(), floor * largest[name.startswith("d_")])
            error = np.abs(got[name].astype(np.float64) - expected).max() / max(scale, 1e-30)
            assert error <= tolerance, f"{what} {name}: {error:.2e} > {tolerance:.2e}"


def assert_same_bits(got, want, what=""):
    assert got.keys() == want.keys()
    for name, expected in want.items():
        assert got[name].dtype == expected.dtype, (what, name)
        assert np.ascontiguousarray(got[name]).tobytes() == np.ascontiguousarray(expected).tobytes(), (what, name)
