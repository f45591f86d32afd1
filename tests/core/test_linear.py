"""The core's matrix products beside their NumPy twin: values, strides, threads, bits."""

from __future__ import annotations

import numpy as np
import pytest

from pylstm import _core
from pylstm.reference.linear import linear, linear_backward
from support.isas import isas, use_isa

# rows, in, out: on both sides of a tile's, a block's and a chain's edge; one and two outputs have kernels of their own
SHAPES = [
    (1, 1, 1), (1, 40, 3), (5, 1, 1), (7, 16, 1), (130, 33, 1), (513, 17, 2), (6, 64, 64), (13, 65, 63), (32, 128, 10),
    (100, 5, 70), (40, 513, 20), (3, 1100, 5), (9, 30, 1200), (700, 20, 130), (0, 4, 3),
]  # fmt: skip


def problem(shape, dtype, strided):
    rows, width, out = shape
    rng = np.random.default_rng([rows, width, out])

    def normal(n, m):
        whole = rng.standard_normal((2 * n + 1, m + 3)).astype(dtype)
        return whole[1::2, 2 : m + 2] if strided else whole[:n, :m].copy()

    return normal(rows, width), normal(out, width), rng.standard_normal(out).astype(dtype), normal(rows, out)


def results(x, weight, bias, d_y, threads=1):
    return _core.linear(x, weight, bias, threads), *_core.linear_backward(x, weight, d_y, True, True, threads)


@pytest.mark.parametrize("strided", [False, True], ids=["whole", "strided"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_twin_agrees(shape, dtype, strided):
    x, weight, bias, d_y = problem(shape, dtype, strided)
    exact = [a.astype(np.float64) for a in (x, weight, bias, d_y)]
    want = [linear(*exact[:3]), *linear_backward(*exact[:2], exact[3])]
    terms = [shape[1], shape[2], shape[0], shape[0]]
    for isa in isas():
        with use_isa(isa):
            for got, expected, count in zip(results(x, weight, bias, d_y), want, terms, strict=True):
                assert got.shape == expected.shape
                assert got.dtype == dtype
                bound = 4 * np.finfo(dtype).eps * (count + 1) ** 0.5
                scale = max(1.0, np.abs(expected).max(initial=0))
                assert np.abs(got - expected).max(initial=0) <= bound * scale


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_same_bits_for_any_threads_and_rows(shape, dtype):
    x, weight, bias, d_y = problem(shape, dtype, False)
    sets = set()
    for isa in [isa for isa in isas() if isa != "baseline"]:
        with use_isa(isa):
            sets |= {b"".join(a.tobytes() for a in results(x, weight, bias, d_y, n)) for n in (1, 2, 3, 7, 16)}
    assert len(sets) <= 1
    whole = _core.linear(x, weight, bias, 2)
    for row in range(0, shape[0], 50):
        assert _core.linear(x[row : row + 1], weight, bias, 1).tobytes() == whole[row : row + 1].tobytes()
    d_x = _core.linear_backward(x, weight, d_y, True, False, 2)
    assert d_x[2] is None
    for row in range(0, shape[0], 50):
        alone = _core.linear_backward(x[row : row + 1], weight, d_y[row : row + 1], True, True, 1)[0]
        assert alone.tobytes() == d_x[0][row : row + 1].tobytes()


def test_no_gradient_to_x_and_no_bias():
    x, weight, bias, d_y = problem((9, 20, 30), "float32", False)
    full = _core.linear_backward(x, weight, d_y, True, True, 1)
    some = _core.linear_backward(x, weight, d_y, False, False, 1)
    assert some[0] is None
    assert some[2] is None
    assert np.array_equal(some[1], full[1])
    assert np.allclose(_core.linear(x, weight, None, 1) + bias, _core.linear(x, weight, bias, 1), atol=1e-5)


def test_nan_stays_in_its_row():
    x, weight, bias, _ = problem((64, 20, 30), "float32", False)
    want = _core.linear(x, weight, bias, 1)
    x[7, 3] = np.nan
    got = _core.linear(x, weight, bias, 1)
    assert np.isnan(got[7]).all()
    assert np.array_equal(np.delete(got, 7, axis=0), np.delete(want, 7, axis=0))


def test_arrays_that_do_not_fit():
    x, weight, bias, d_y = problem((4, 5, 6), "float32", False)
    for bad in (
        lambda: _core.linear(x[:, :4], weight, bias, 1), lambda: _core.linear(x, weight.astype(np.float64), bias, 1),
        lambda: _core.linear(x, weight, bias[:5], 1), lambda: _core.linear(x.T.copy().T, weight, bias, 1),
        lambda: _core.linear(x[0], weight, bias, 1), lambda: _core.linear(x.astype(np.int32), weight, bias, 1),
        lambda: _core.linear_backward(x, weight, d_y[:3], True, True, 1), lambda: _core.linear(x, weight, bias, 0),
        lambda: _core.linear_backward(x, weight, d_y[:, ::2], True, True, 1),
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError)):
            bad()
