"""Matrix products of the core beside their NumPy twin: values, gradients, strides, batches, threads, bits."""

from __future__ import annotations

import numpy as np
import pytest

from pylstm import _core, _products
from pylstm.reference import products
from support.isas import isas, use_isa

# rows, k, columns: on both sides of the edges of tiles, panels, chains and groups of panels
SHAPES = [
    (1, 1, 1), (1, 40, 3), (7, 16, 1), (9, 3, 49), (8, 64, 48), (13, 65, 97), (130, 129, 31), (40, 513, 20),
    (3, 1100, 5), (9, 30, 1200), (65, 700, 530), (2, 20, 2000),
    (9, 600, 1700), (10, 20, 64), (20, 530, 257), (520, 700, 500),
]  # fmt: skip
EMPTY = [(0, 4, 3), (4, 0, 3), (4, 3, 0), (0, 0, 0)]
# batch axes of a and of b
BATCHES = [((), ()), ((5,), ()), ((5,), (5,)), ((5,), (1,)), ((1,), (5,)), ((2, 1, 3), (4, 1)), ((0,), ()), ((), (9,))]
LAYOUTS = ["whole", "rows apart", "transposed", "neither contiguous", "backwards"]


def laid_out(array, layout):
    """The same values with other strides."""
    rows, columns = array.shape[-2:]
    if layout == "rows apart":
        room = np.zeros((*array.shape[:-2], 2 * rows + 1, columns + 3), array.dtype)
        view = room[..., 1::2, 2 : columns + 2]
    elif layout == "transposed":
        view = np.zeros((*array.shape[:-2], columns, rows), array.dtype).swapaxes(-1, -2)
    elif layout == "neither contiguous":
        view = np.zeros((*array.shape[:-2], 2 * rows, 2 * columns), array.dtype)[..., ::2, ::2]
    elif layout == "backwards":
        view = np.zeros(array.shape, array.dtype)[..., ::-1, :]
    else:
        return array
    view[...] = array
    return view


def problem(shape, dtype, batches=((), ())):
    rows, k, columns = shape
    rng = np.random.default_rng([*shape, *batches[0], 7, *batches[1]])
    a = rng.standard_normal((*batches[0], rows, k)).astype(dtype)
    b = rng.standard_normal((*batches[1], k, columns)).astype(dtype)
    d = rng.standard_normal((*np.broadcast_shapes(*batches), rows, columns)).astype(dtype)
    return a, b, d


def results(a, b, d, threads=1):
    return _products.matmul(a, b, num_threads=threads), *_products.matmul_backward(a, b, d, num_threads=threads)


def check(got, want, terms, dtype):
    assert got.shape == want.shape
    assert got.dtype == dtype
    bound = 4 * np.finfo(dtype).eps * (terms + 1) ** 0.5
    assert np.abs(got - want).max(initial=0) <= bound * max(1.0, np.abs(want).max(initial=0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES + EMPTY, ids=str)
def test_the_twin_agrees(shape, dtype):
    a, b, d = problem(shape, dtype)
    exact = [array.astype(np.float64) for array in (a, b, d)]
    want = [products.matmul(*exact[:2]), *products.matmul_backward(*exact)]
    for isa in isas():
        with use_isa(isa):
            for got, expected, terms in zip(results(a, b, d), want, shape[1:] + shape[:1], strict=True):
                check(got, expected, terms, dtype)


@pytest.mark.parametrize("batches", BATCHES, ids=str)
def test_batches_are_broadcast(batches):
    shape = (11, 20, 50)
    a, b, d = problem(shape, "float32", batches)
    exact = [array.astype(np.float64) for array in (a, b, d)]
    want = [products.matmul(*exact[:2]), *products.matmul_backward(*exact)]
    assert want[0].shape == np.matmul(*exact[:2]).shape
    for got, expected in zip(results(a, b, d, 2), want, strict=True):
        check(got, expected, 300, "float32")


def test_empty_matrices_in_batches():
    for shape, batches in (((4, 0, 3), ((5,), ())), ((0, 4, 3), ((5,), ())), ((4, 3, 0), ((5,), (5,)))):
        a, b, d = problem(shape, "float32", batches)
        for got, want in zip(results(a, b, d), (a @ b, a, b), strict=True):
            assert got.shape == want.shape
            assert not got.any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_strides_leave_the_bits(dtype):
    for shape, batches in (((13, 65, 97), ((), ())), ((3, 130, 9), ((2, 3), (3,))), ((1, 7, 1), ((4,), (4,)))):
        a, b, d = problem(shape, dtype, batches)
        want = [array.tobytes() for array in results(a, b, d)]
        for i, layout in enumerate(LAYOUTS):
            for other in (LAYOUTS[i], LAYOUTS[i - 1]):
                moved = laid_out(a, layout), laid_out(b, other), laid_out(d, other)
                assert [array.tobytes() for array in results(*moved)] == want, (layout, other)
        swapped = [array.astype(array.dtype.newbyteorder()) for array in (a, b, d)]
        assert [array.tobytes() for array in results(*swapped)] == want
        if batches[0]:  # batches out of order
            assert results(a.copy(order="F"), b.copy(order="F"), d)[0].tobytes() == want[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_for_any_threads_and_company(dtype):
    for shape in SHAPES:
        a, b, d = problem(shape, dtype)
        sets = set()
        for isa in [isa for isa in isas() if isa != "baseline"]:
            with use_isa(isa):
                sets |= {b"".join(x.tobytes() for x in results(a, b, d, n)) for n in (1, 2, 3, 7, 16)}
        assert len(sets) <= 1
        whole = _products.matmul(a, b, num_threads=2)
        for row in range(0, shape[0], 7):
            assert _products.matmul(a[row : row + 1], b).tobytes() == whole[row : row + 1].tobytes()
        for column in range(0, shape[2], 37):  # a copy: other columns beside
            assert np.array_equal(_products.matmul(a, b[:, column : column + 5]), whole[:, column : column + 5])
    a, b, d = problem((20, 30, 40), dtype, ((9,), (9,)))
    alone = [results(a[i], b[i], d[i]) for i in range(len(a))]
    for threads in (1, 2, 3, 9, 16):
        for got, one in zip(results(a, b, d, threads), zip(*alone, strict=True), strict=True):
            assert got.tobytes() == np.stack(one).tobytes()


def test_one_matrix_for_a_batch_is_one_product():
    a, b, d = problem((6, 20, 30), "float32", ((50,), ()))
    _, d_a, d_b = results(a, b, d)
    flat = results(a.reshape(300, 20), b, d.reshape(300, 30))
    assert d_a.tobytes() == flat[1].tobytes()
    assert d_b.tobytes() == flat[2].tobytes()


def test_only_the_gradient_that_is_needed():
    a, b, d = problem((6, 20, 30), "float32")
    both = _products.matmul_backward(a, b, d)
    assert _products.matmul_backward(a, b, d, need_a=False)[0] is None
    assert _products.matmul_backward(a, b, d, need_b=False)[1] is None
    assert np.array_equal(_products.matmul_backward(a, b, d, need_b=False)[0], both[0])
    assert np.array_equal(_products.matmul_backward(a, b, d, need_a=False)[1], both[1])


def test_nan_and_infinity_stay_in_their_row_and_column():
    a, b, _ = problem((64, 20, 70), "float32")
    want = _products.matmul(a, b)
    a[7, 3], b[4, 50] = np.nan, np.inf
    got = _products.matmul(a, b)
    assert np.isnan(got[7]).all()
    assert not np.isfinite(got[:, 50]).any()
    assert np.array_equal(np.delete(np.delete(got, 7, 0), 50, 1), np.delete(np.delete(want, 7, 0), 50, 1))


def test_gradients_are_central_differences():
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((3, 1, 4, 5)), rng.standard_normal((2, 5, 6))
    d = rng.standard_normal((3, 2, 4, 6))
    for array, gradient in zip((a, b), _products.matmul_backward(a, b, d), strict=True):
        for place in [tuple(rng.integers(0, n) for n in array.shape) for _ in range(10)]:
            there, step = array[place], 1e-6
            array[place] = there + step
            above = (_products.matmul(a, b) * d).sum()
            array[place] = there - step
            below = (_products.matmul(a, b) * d).sum()
            array[place] = there
            assert abs((above - below) / (2 * step) - gradient[place]) < 1e-7


def test_arrays_that_do_not_fit():
    a, b, _ = problem((4, 5, 6), "float32", ((2,), (2,)))
    for bad, error, names in (
        (lambda: _products.matmul(a, b[..., :4, :]), ValueError, "b must have shape"),
        (lambda: _products.matmul(a[0, 0], b), ValueError, "b must have shape"),
        (lambda: _products.matmul(a, b.astype(np.float64)), TypeError, "b must have the dtype of a"),
        (lambda: _products.matmul(a.astype(np.int32), b), TypeError, "a must be an array of float32"),
        (lambda: _products.matmul(a, b.tolist()), TypeError, "b must be an array of float32"),
        (lambda: _products.matmul(a[:2], np.concatenate([b, b[:1]])), ValueError, "batch axes"),
        (lambda: _products.matmul_backward(a, b, a), ValueError, "d must have shape"),
        (lambda: _products.matmul(a, b, num_threads=0), ValueError, "num_threads"),
        (lambda: _core.matmul(a[:, ::2, ::2], b[:, :3], False, 1), ValueError, "contiguous"),
        (lambda: _core.matmul(a, b.astype(np.float64), False, 1), TypeError, "b: wrong dtype"),
        (lambda: _core.matmul(a, b[:, :4], False, 1), ValueError, "b: expected 5 rows"),
        (lambda: _core.matmul(a[0, 0], b, False, 1), ValueError, "two axes"),
    ):  # fmt: skip
        with pytest.raises(error, match=names):
            bad()
