"""Embedding, and the gradient of its rows."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from pylstm.layers import row_gradient as rows

F64 = np.float64
N, T, F = 3, 5, 4


def embedding(num=6, dim=F, **options):
    return pylstm.Embedding(num, dim, dtype=F64, **{"seed": 3, **options})


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, ">i4"])
def test_embedding_takes_any_integers(dtype):
    layer = embedding()
    ids = np.array([[1, 2], [5, 0]], dtype)
    np.testing.assert_array_equal(layer(ids), layer.params["weight"][ids.astype(int)])
    assert layer([]).shape == (0, F)


def test_embedding_refuses_what_is_no_row():
    layer = embedding()
    with pytest.raises(IndexError, match=r"x holds 6, but the rows of Embedding.* are 0\.\.5"):
        layer(np.array([0, 6]))
    with pytest.raises(IndexError, match="x holds -1"):
        layer.forward(np.array([0, -1]))
    with pytest.raises(TypeError, match="integers"):
        layer(np.array([0.0, 1.0]))
    with pytest.raises(TypeError, match="masked"):
        layer(np.ma.masked_array([0, 1]))


def test_padding_row_is_zero_and_stays_so():
    layer = embedding(padding_idx=2)
    assert (layer.params["weight"][2] == 0).all()
    _, backward = layer.forward(np.array([2, 1, 2]))
    grad = backward(np.ones((3, F)))[1]["weight"]
    assert grad.rows.tolist() == [1]
    for optimizer in (pylstm.Adam(0.1), pylstm.SGD(0.1), pylstm.Adam(0.1, lazy=True)):
        optimizer.step(layer, {"weight": grad})
        assert (layer.params["weight"][2] == 0).all()
    assert embedding(padding_idx=-1).padding_idx == 5


@pytest.mark.parametrize("num", [5, 70_000])
@pytest.mark.parametrize("count", [0, 1, 7, 500])
def test_sum_rows_equals_adding_one_by_one(num, count):
    rng = np.random.default_rng(count)
    ids = np.minimum(rng.zipf(1.3, count) - 1, num - 1)  # a few very frequent ones
    values = rng.standard_normal((count, 3))
    want = np.zeros((num, 3))
    np.add.at(want, ids, values)
    got = rows.sum_rows(ids, values, (num, 3))
    assert (np.diff(got.rows) > 0).all()
    np.testing.assert_allclose(got.dense(), want, rtol=1e-12, atol=1e-12)
    skipped = rows.sum_rows(ids, values, (num, 3), skip=0)
    want[0] = 0
    np.testing.assert_allclose(np.asarray(skipped), want, rtol=1e-12, atol=1e-12)


def test_arithmetic_of_row_gradients():
    rng = np.random.default_rng(0)
    a = rows.sum_rows(rng.integers(0, 9, 6), rng.standard_normal((6, 2)), (9, 2))
    b = rows.sum_rows(rng.integers(0, 9, 6), rng.standard_normal((6, 2)), (9, 2))
    np.testing.assert_allclose((a + b).dense(), a.dense() + b.dense())
    dense = rng.standard_normal((9, 2))
    for total in (a + dense, dense + a):
        np.testing.assert_allclose(total, a.dense() + dense)
    np.testing.assert_allclose((2 * a).dense(), a.dense() * 2)
    with pytest.raises(ValueError, match="different shapes"):
        a + rows.RowGradient(a.rows, a.values, (10, 2))
