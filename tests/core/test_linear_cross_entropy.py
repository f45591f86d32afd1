"""The fused head beside its NumPy twin, `Linear` with `cross_entropy`, PyTorch and central differences; its bits."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

import pylstm
from pylstm.losses.linear_head import head_loss
from pylstm.reference.linear_cross_entropy import linear_cross_entropy as twin
from support.isas import isas, use_isa

# rows, in, classes: on both sides of a tile's, a group's, a chunk's, a chain's and a block's edge
SHAPES = [
    (1, 1, 1), (3, 5, 2), (48, 16, 256), (49, 17, 257), (97, 48, 98), (130, 64, 300), (7, 513, 40), (1100, 3, 20),
    (250, 20, 9000), (60, 33, 513), (1100, 64, 20), (1100, 32, 20),
]  # fmt: skip


def problem(shape, dtype="float64", seed=0):
    rows, width, classes = shape
    rng = np.random.default_rng([rows, width, classes, seed])
    hidden, weight = rng.standard_normal((rows, width)), rng.standard_normal((classes, width))
    targets = rng.integers(0, classes, rows)
    return *(a.astype(dtype) for a in (hidden, weight, rng.standard_normal(classes))), targets


def flat(result):
    value, gradients = result
    return [np.array(value), *(a for a in gradients if a is not None)]


def options(case, shape, targets):
    rng = np.random.default_rng(len(case))
    chosen = {}
    if "ignored" in case:
        targets = np.where(rng.random(targets.shape) < 0.3, -100, targets)
    if "weighted" in case:
        chosen["class_weight"] = np.where(rng.random(shape[2]) < 0.2, 0, rng.random(shape[2]) * 3)
    if "smoothed" in case:
        chosen["label_smoothing"] = 0.1
    return targets, chosen


CASES = ["plain", "no bias", "ignored", "weighted", "smoothed", "ignored, weighted, smoothed"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_twin_agrees(shape, case):
    hidden, weight, bias, targets = problem(shape)
    targets, chosen = options(case, shape, targets)
    bias = None if case == "no bias" else bias
    want = flat(twin(hidden, weight, bias, targets, **chosen))
    narrow = [None if a is None else a.astype(np.float32) for a in (hidden, weight, bias)]
    wide = [None if a is None else a.astype(np.float64) for a in narrow]
    of_narrow = flat(twin(*wide, targets, **chosen))
    error = 2e-6 * (1 + shape[1] ** 0.5)  # the logits grow with their terms, and their rounding with them
    for isa in isas():
        with use_isa(isa):
            got = flat(pylstm.linear_cross_entropy(hidden, weight, bias, targets, **chosen))
            assert len(got) == len(want) == (3 if bias is None else 4)
            for a, b in zip(got, want, strict=True):
                assert a.shape == b.shape
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13 * max(1, np.abs(b).max()))
            got = flat(pylstm.linear_cross_entropy(*narrow, targets, **chosen))
            for a, b in zip(got[1:], of_narrow[1:], strict=True):
                assert a.dtype == np.float32
                np.testing.assert_allclose(a, b, atol=error * np.abs(b).max() + 1e-12)
            np.testing.assert_allclose(got[0], of_narrow[0], rtol=error, atol=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_central_differences(case):
    shape = (6, 4, 7)
    hidden, weight, bias, targets = problem(shape)
    targets, chosen = options(case, shape, targets)
    arrays = [hidden, weight, bias]
    _, gradients = pylstm.linear_cross_entropy(*arrays, targets, **chosen)
    for array, gradient in zip(arrays, gradients, strict=True):
        for at in np.ndindex(*array.shape):
            old, sides = array[at], []
            for step in (1e-6, -1e-6):
                array[at] = old + step
                sides.append(pylstm.linear_cross_entropy(*arrays, targets, **chosen)[0])
            array[at] = old
            assert gradient[at] == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-6, abs=1e-8)


def test_it_is_linear_and_cross_entropy():
    layer = pylstm.Linear(12, 30, dtype=np.float64, seed=0)
    rng = np.random.default_rng(1)
    x, targets = rng.standard_normal((5, 9, 12)), rng.integers(0, 30, (5, 9))
    lengths = [9, 0, 4, 1, 7]
    targets[0, 3] = 11
    chosen = {"lengths": lengths, "class_weight": {3: 0.0, 4: 2.5}, "ignore_index": 11}
    y, backward = layer.forward(x)
    value, d_y = pylstm.cross_entropy(y, targets, **chosen)
    d_x, d_params = backward(d_y)
    x[np.arange(9) >= np.array(lengths)[:, None]] = np.nan  # of what does not count nothing is read
    got, (d_hidden, d_weight, d_bias) = pylstm.linear_cross_entropy(
        x, layer.params["weight"], layer.params["bias"], targets, **chosen
    )
    assert got == pytest.approx(value, rel=1e-13)
    for a, b in [(d_hidden, d_x), (d_weight, d_params["weight"]), (d_bias, d_params["bias"])]:
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_same_bits_for_any_threads_and_instruction_set(shape, dtype):
    hidden, weight, bias, targets = problem(shape, dtype)
    targets, chosen = options("ignored, weighted, smoothed", shape, targets)
    sets = set()
    for isa in [isa for isa in isas() if isa != "baseline"]:
        with use_isa(isa):
            for n in (1, 2, 3, 7, 16):
                found = flat(pylstm.linear_cross_entropy(hidden, weight, bias, targets, num_threads=n, **chosen))
                sets.add(b"".join(a.tobytes() for a in found))
    assert len(sets) <= 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_largest_logit_is_found_as_argmax_finds_it(shape, dtype):
    """Numbers whose products and sums are exact, so that many are equal: the first of them is meant."""
    rows, width, classes = shape
    rng = np.random.default_rng(shape)
    hidden, weight = (rng.integers(-1, 2, (n, width)).astype(dtype) for n in (rows, classes))
    targets, bias = rng.integers(0, classes, rows), rng.integers(-1, 2, classes).astype(dtype)
    targets[::3] = -100
    hidden[0], bias[classes // 2 :] = 0, 1
    class_weight = rng.integers(0, 2, classes)
    for value, at in [(0, []), (np.nan, [classes // 2, classes - 1]), (np.inf, [classes - 1]), (-np.inf, slice(None))]:
        bias[at] = value
        with np.errstate(invalid="ignore"):
            want = np.where(targets == -100, -1, (hidden @ weight.T + bias).argmax(axis=1))
        for isa in isas():
            for threads in (1, 3):
                for chosen in ({}, {"class_weight": class_weight}, {"label_smoothing": 0.1}):
                    with use_isa(isa):
                        found = head_loss(
                            hidden, weight, bias, targets, need_gradient=bool(chosen), need_largest=True,
                            num_threads=threads, **chosen
                        )  # fmt: skip
                    np.testing.assert_array_equal(found.largest, want)
        bias[at] = 0
    assert head_loss(hidden, weight, bias, targets).largest is None
    assert head_loss(hidden[:0], weight, bias, targets[:0], need_largest=True).largest.shape == (0,)


def test_looking_for_the_largest_changes_no_bit():
    hidden, weight, bias, targets = problem((300, 24, 700), "float32")
    once, again = (head_loss(hidden, weight, bias, targets, need_largest=need) for need in (False, True))
    assert once.total == again.total
    for a, b in zip(once.gradient, again.gradient, strict=True):
        np.testing.assert_array_equal(a, b)


def test_rows_that_do_not_count_change_no_bit():
    hidden, weight, bias, targets = problem((90, 20, 400), "float32")
    value, (d_hidden, *rest) = pylstm.linear_cross_entropy(hidden, weight, bias, targets)
    places = np.sort(np.random.default_rng(0).choice(300, 90, replace=False))
    wide, some = np.full((300, 20), np.nan, np.float32), np.full(300, -100)
    wide[places], some[places] = hidden, targets
    again, (d_wide, *others) = pylstm.linear_cross_entropy(wide, weight, bias, some)
    assert again == value
    np.testing.assert_array_equal(d_wide[places], d_hidden)
    assert not np.delete(d_wide, places, axis=0).any()
    for a, b in zip(others, rest, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("targets", [np.full(4, -100), np.zeros(0, int)], ids=["all ignored", "no rows"])
def test_nothing_that_counts(targets):
    hidden, weight, bias, _ = problem((len(targets), 3, 5), "float32")
    value, gradients = pylstm.linear_cross_entropy(hidden, weight, bias, targets, label_smoothing=0.1)
    assert value == 0.0
    for gradient, like in zip(gradients, (hidden, weight, bias), strict=True):
        assert gradient.shape == like.shape
        assert not gradient.any()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_hidden_of_no_columns(dtype, case):
    """The logits are the bias."""
    shape = 300, 0, 7
    hidden, weight, bias, targets = problem(shape, dtype)
    targets, chosen = options(case, shape, targets)
    bias = None if case == "no bias" else bias
    wide = [None if a is None else a.astype(np.float64) for a in (hidden, weight, bias)]
    want, error = flat(twin(*wide, targets, **chosen)), 1e-14 if dtype == "float64" else 2e-6
    for isa in isas():
        for threads in (1, 3):
            with use_isa(isa):
                got = flat(pylstm.linear_cross_entropy(hidden, weight, bias, targets, num_threads=threads, **chosen))
            for a, b in zip(got, want, strict=True):
                assert a.shape == b.shape
                np.testing.assert_allclose(a, b, atol=error * np.abs(b).max(initial=0))
    deep = pylstm.linear_cross_entropy(hidden.reshape(3, 100, 0), weight, bias, targets.reshape(3, 100), **chosen)
    assert deep[0] == pytest.approx(float(want[0]), rel=error)
    assert deep[1][0].shape == (3, 100, 0)


def parity(torch, arrays, targets, **chosen):
    """PyTorch's value and gradients."""
    leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
    function = torch.nn.functional
    loss = function.cross_entropy(function.linear(*leaves), torch.tensor(targets), **chosen)
    loss.backward()
    return [loss.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves)]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_torch_in_float64(shape, smoothing):
    torch = pytest.importorskip("torch")
    hidden, weight, bias, targets = problem(shape)
    class_weight = np.random.default_rng(0).random(shape[2]) + 0.1
    targets[::5] = -100
    targets[-1] = 0
    want = parity(torch, (hidden, weight, bias), targets, weight=torch.tensor(class_weight), label_smoothing=smoothing)
    got = flat(pylstm.linear_cross_entropy(
        hidden, weight, bias, targets, class_weight=class_weight, label_smoothing=smoothing
    ))  # fmt: skip
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12 * max(1e-3, np.abs(b).max()))


@pytest.mark.parametrize("size", [1.0, 100.0, 1e4])
def test_float32_is_as_accurate_as_torch(size):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    rows, width, classes = 30, 24, 50_000
    hidden = rng.standard_normal((rows, width)).astype(np.float32)
    weight = (rng.standard_normal((classes, width)) * (size / width**0.5 / 4)).astype(np.float32)
    bias = rng.standard_normal(classes).astype(np.float32)
    targets = rng.integers(0, classes, rows)
    exact = flat(twin(*(a.astype(np.float64) for a in (hidden, weight, bias)), targets))
    ours = flat(pylstm.linear_cross_entropy(hidden, weight, bias, targets))
    theirs = parity(torch, (hidden, weight, bias), targets)
    for a, b, e in zip(ours, theirs, exact, strict=True):
        spacing = np.finfo(np.float32).eps * np.abs(e).max()
        assert np.abs(a - e).max() <= 1.5 * np.abs(b - e).max() + spacing
        assert np.linalg.norm(a - e) <= 1.2 * np.linalg.norm(b - e) + spacing


def test_a_label_that_is_almost_certain_keeps_its_digits():
    """1 - p of the label is 1e-10: a difference of float32 numbers would be zero."""
    hidden, weight = np.ones((1, 1), np.float32), np.array([[23.0], [0.0]], np.float32)
    value, (_, d_weight, _) = pylstm.linear_cross_entropy(hidden, weight, None, [0])
    rest = np.exp(-23.0) / (1 + np.exp(-23.0))
    np.testing.assert_allclose(d_weight[:, 0], [-rest, rest], rtol=1e-6)
    assert value == pytest.approx(rest, rel=1e-5)


def test_infinite_and_nan_logits_do_what_cross_entropy_does():
    rng = np.random.default_rng(0)
    hidden, weight = rng.standard_normal((5, 3)), rng.standard_normal((600, 3))
    targets = np.array([10, 20, 550, 30, 40])
    for value, at in [
        (-np.inf, slice(0, 5)),
        (-np.inf, slice(256, 512)),
        (-np.inf, slice(10, 11)),
        (np.inf, 7),
        (np.nan, 300),
    ]:
        bias = np.zeros(600)
        bias[at] = value
        logits = hidden @ weight.T + bias
        with np.errstate(all="ignore"):
            want, d_logits = pylstm.cross_entropy(logits, targets)
        got, (d_hidden, d_weight, d_bias) = pylstm.linear_cross_entropy(hidden, weight, bias, targets)
        np.testing.assert_allclose(got, want, rtol=1e-12)
        for a, b in [(d_hidden, d_logits @ weight), (d_weight, d_logits.T @ hidden), (d_bias, d_logits.sum(0))]:
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)
    hidden[2] = np.nan  # in one row: the gradients of the others are as they were
    _, (d_hidden, _, _) = pylstm.linear_cross_entropy(hidden, weight, None, targets)
    assert np.isfinite(np.delete(d_hidden, 2, axis=0)).all()
    assert np.isnan(d_hidden[2]).all()


def test_wrong_arguments():
    hidden, weight, bias, targets = problem((4, 3, 5))
    f = pylstm.linear_cross_entropy
    for error, said, call in [
        (ValueError, "hidden must have shape", lambda: f(hidden[0], weight, bias, 1)),
        (ValueError, r"weight must have shape \(C, 3\)", lambda: f(hidden, weight.T, bias, targets)),
        (ValueError, r"weight must have shape", lambda: f(hidden, weight[:0], bias[:0], targets)),
        (ValueError, r"bias must have shape \(5,\)", lambda: f(hidden, weight, bias[:4], targets)),
        (ValueError, r"targets must have shape \(4,\)", lambda: f(hidden, weight, bias, targets[:3])),
        (ValueError, r"targets must be labels in 0..4.*got 5", lambda: f(hidden, weight, bias, [0, 1, 5, 2])),
        (ValueError, r"targets must be labels in 0..4.*got -1", lambda: f(hidden, weight, bias, [0, 1, -1, 2])),
        (
            ValueError,
            r"targets must be labels in 0..4.*got 18446744073709551516",
            lambda: f(hidden, weight, bias, np.array([0, 1, 2**64 - 100, 2], np.uint64)),
        ),
        (TypeError, "targets must be labels", lambda: f(hidden, weight, bias, targets * 1.0)),
        (TypeError, "hidden", lambda: f(None, weight, bias, targets)),
        (TypeError, "weight", lambda: f(hidden, weight * 1j, bias, targets)),
        (ValueError, "label_smoothing", lambda: f(hidden, weight, bias, targets, label_smoothing=1.5)),
        (TypeError, "label_smoothing", lambda: f(hidden, weight, bias, targets, label_smoothing="some")),
        (TypeError, "ignore_index", lambda: f(hidden, weight, bias, targets, ignore_index=1.5)),
        (ValueError, "class_weight", lambda: f(hidden, weight, bias, targets, class_weight=[1, 2])),
        (ValueError, "lengths is for", lambda: f(hidden, weight, bias, targets, lengths=[1, 1, 1, 1])),
        (ValueError, "num_threads", lambda: f(hidden, weight, bias, targets, num_threads=0)),
    ]:
        with pytest.raises(error, match=said):
            call()
    # what does not count may be anything
    wide = np.array([[0, 2**64 - 1], [1, 3]], np.uint64)
    f(hidden.reshape(2, 2, 3), weight, bias, wide, lengths=[1, 2])


def test_kinds_of_arrays():
    hidden, weight, bias, targets = problem((50, 11, 70), "float32")
    want = flat(pylstm.linear_cross_entropy(hidden, weight, bias, targets))
    for given in [
        (hidden[::-1].copy()[::-1], np.asfortranarray(weight), bias[:, None].repeat(2, 1)[:, 0], targets.astype("u1")),
        (hidden.tolist(), weight.tolist(), bias.tolist(), targets.tolist()),
        (hidden.astype(">f4"), weight.astype(np.float64), bias, targets.astype(">i4")),
        (hidden, weight, bias, targets.astype(">u8")),
    ]:
        for a, b in zip(flat(pylstm.linear_cross_entropy(*given)), want, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_same_bits_where_some_threads_are_slower():
    """Then others take pieces of their share, and more of the rows: there are enough of both here."""
    hidden, weight, bias, targets = problem((400, 16, 4500), "float32")

    def bits(threads):
        return [
            a.tobytes() for a in flat(pylstm.linear_cross_entropy(hidden, weight, bias, targets, num_threads=threads))
        ]

    want = bits(1)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        for _ in range(10):
            for threads in (2, 3, 8):
                assert bits(threads) == want
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_many_threads_may_call_at_once():
    hidden, weight, bias, targets = problem((300, 24, 500), "float32")
    want = [a.tobytes() for a in flat(pylstm.linear_cross_entropy(hidden, weight, bias, targets, num_threads=1))]
    wrong = []

    def call(n):
        for _ in range(5):
            found = flat(pylstm.linear_cross_entropy(hidden, weight, bias, targets, num_threads=n))
            if [a.tobytes() for a in found] != want:
                wrong.append(n)

    threads = [threading.Thread(target=call, args=(n,)) for n in (1, 2, 3, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


MEMORY = """
import resource, numpy as np, pylstm
rng = np.random.default_rng(0)
R, H, V = 7000, 32, 10_000
hidden, weight = rng.standard_normal((R, H), np.float32), rng.standard_normal((V, H), np.float32)
targets = rng.integers(0, V, R)
pylstm.linear_cross_entropy(hidden[:10], weight, None, targets[:10], num_threads=2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pylstm.linear_cross_entropy(hidden, weight, None, targets, num_threads=2)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs ru_maxrss in KiB")
def test_the_logits_are_never_in_memory():
    done = subprocess.run([sys.executable, "-P", "-c", MEMORY] if sys.version_info >= (3, 11) else
                          [sys.executable, "-I", "-c", MEMORY], capture_output=True, text=True, check=True)  # fmt: skip
    assert int(done.stdout) < 24e6  # R x V numbers would be 280 MB


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_without_the_gradient_to_hidden_all_else_is_the_same(shape, dtype):
    hidden, weight, bias, targets = problem(shape, dtype)
    targets, chosen = options("ignored, weighted, smoothed", shape, targets)
    for threads in (1, 3):
        given = (hidden, weight, bias, targets)
        want, found = (head_loss(*given, need_dx=need, num_threads=threads, **chosen) for need in (True, False))
        assert found.gradient[0] is None
        assert found.total == want.total
        for one, other in zip(found.gradient[1:], want.gradient[1:], strict=True):
            np.testing.assert_array_equal(one, other)
