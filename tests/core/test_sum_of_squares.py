"""The core's sum of squares: exact to rounding, bits that depend on nothing, and what it says of NaN and infinity."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pylstm import _core
from pylstm.training.gradients import all_finite, sum_of_squares
from support.isas import isas, use_isa

# on both sides of the edges of a vector, a line and a block; the last one is for four threads
SIZES = [0, 1, 7, 8, 15, 16, 17, 100, 16_383, 16_384, 16_385, 50_000, 2**20 + 1]


def numbers(size, dtype):
    return np.random.default_rng(size).standard_normal(size).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES)
def test_the_sum(size, dtype):
    x = numbers(size, dtype)
    want = math.fsum(value * value for value in x.tolist())
    assert sum_of_squares(x) == pytest.approx(want, rel=1e-14, abs=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES)
def test_bits_depend_on_nothing(size, dtype):
    x = numbers(size, dtype)
    found = set()
    for name in isas():
        with use_isa(name):
            found |= {_core.sum_of_squares(x, threads) for threads in (1, 2, 3, 8)}
    assert len(found) == 1


@pytest.mark.parametrize("layout", ["strided", "transposed", "unaligned", "of the other byte order", "read-only"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_of_every_kind(dtype, layout):
    x = numbers(30_000, dtype).reshape(300, 100)
    if layout == "strided":
        x = x[::2, ::3]
    elif layout == "transposed":
        x = x.T
    elif layout == "unaligned":
        room = np.zeros(x.nbytes + 1, np.uint8)
        view = room[1:].view(dtype).reshape(x.shape)
        view[...] = x
        x = view
    elif layout == "of the other byte order":
        x = x.astype(x.dtype.newbyteorder())
    else:
        x.flags.writeable = False
    want = math.fsum(value * value for value in x.ravel().tolist())
    assert sum_of_squares(x) == pytest.approx(want, rel=1e-14, abs=0)
    assert all_finite(x)
    if layout != "read-only":
        x[7, 11] = np.nan
        assert math.isnan(sum_of_squares(x))
        assert not all_finite(x)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_one_number_that_is_not_finite(dtype, wrong):
    for size in (1, 16, 50_000):
        for place in {0, size // 2, size - 1}:
            x = np.ones(size, dtype)
            x[place] = wrong
            assert not all_finite(x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_numbers_are_finite(dtype):
    largest = np.finfo(dtype).max
    x = np.full(40_000, largest, dtype)
    with np.errstate(over="ignore"):
        assert all_finite(x)
    if dtype == "float32":  # whose squares no double loses
        assert sum_of_squares(x) == pytest.approx(40_000 * float(largest) ** 2, rel=1e-14)
        least = np.full(40_000, np.finfo(dtype).tiny, dtype)
        assert sum_of_squares(least) == pytest.approx(40_000 * float(np.finfo(dtype).tiny) ** 2, rel=1e-14)


def test_what_the_core_refuses():
    with pytest.raises(TypeError, match="x: wrong dtype"):
        _core.sum_of_squares(np.ones(3, np.int64), None)
    with pytest.raises(ValueError, match="x: expected a C-contiguous array"):
        _core.sum_of_squares(np.ones((4, 4))[:, ::2], None)
