"""Losses against central differences and PyTorch; lengths, weights, bad input."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from pylstm.losses import by_name as losses

N, T, C = 4, 6, 5
LENGTHS = [6, 1, 0, 4]
INSIDE = np.arange(T) < np.array(LENGTHS)[:, None]


def targets_for(name, shape, rng):
    if name == "cross_entropy":
        return rng.integers(0, C, shape)
    if name == "binary_cross_entropy":
        return rng.integers(0, 2, shape)
    return rng.standard_normal(shape)


CASES = [
    (name, shape, lengths)
    for name in ("binary_cross_entropy", "cross_entropy", "mse")
    for shape, lengths in [((N,), None), ((N, T), None), ((N, T), LENGTHS)]
]


@pytest.mark.parametrize(("name", "shape", "lengths"), CASES)
def test_gradient(name, shape, lengths):
    rng = np.random.default_rng(1)
    y = rng.standard_normal((*shape, C) if name == "cross_entropy" else (*shape, 1)) * 3
    targets = targets_for(name, shape, rng)
    function = getattr(pylstm, name)
    value, gradient = function(y, targets, lengths=lengths)
    assert gradient.shape == y.shape
    numeric = np.zeros_like(y)
    for at in np.ndindex(*y.shape):
        sides = []
        for step in (1e-6, -1e-6):
            moved = y.copy()
            moved[at] += step
            sides.append(function(moved, targets, lengths=lengths)[0])
        numeric[at] = (sides[0] - sides[1]) / 2e-6
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)
    assert value > 0
    if lengths is not None:
        assert (gradient[~INSIDE] == 0).all()
        dirty = y.copy()
        dirty[~INSIDE] = np.nan
        again, same = function(dirty, targets, lengths=lengths)
        assert again == value
        np.testing.assert_array_equal(same, gradient)
        flat, _ = function(y[INSIDE], targets[INSIDE])
        assert value == pytest.approx(flat, rel=1e-12)


def test_gradients_with_weights():
    rng = np.random.default_rng(2)
    weights = np.array([0.5, 2.0, 0.0, 1.0, 3.0])
    x, labels = rng.standard_normal((N, T, C)), rng.integers(0, C, (N, T))
    labels[0, :3] = -100
    value, gradient = pylstm.cross_entropy(x, labels, lengths=LENGTHS, class_weight=weights)
    step = rng.standard_normal(x.shape)
    sides = [
        pylstm.cross_entropy(x + e * step, labels, lengths=LENGTHS, class_weight=weights)[0] for e in (1e-6, -1e-6)
    ]
    assert (gradient * step).sum() == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-6)
    assert (gradient[labels == -100] == 0).all()
    same = pylstm.cross_entropy(x, labels, lengths=LENGTHS, class_weight={0: 0.5, 1: 2.0, 2: 0.0, 4: 3.0})[0]
    assert same == value


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 0.0, 1.0, 3.0]], ids=["", "weighted"])
@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_label_smoothing(smoothing, weights):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    x, labels = rng.standard_normal((N, T, C)), rng.integers(0, C, (N, T))
    labels[0, :3] = -100
    options = {"class_weight": weights, "label_smoothing": smoothing}
    value, gradient = pylstm.cross_entropy(x, labels, **options)
    leaf = torch.tensor(x.reshape(-1, C), requires_grad=True)
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    loss = torch.nn.functional.cross_entropy(
        leaf, torch.tensor(labels.reshape(-1)), weight=weight, label_smoothing=smoothing
    )
    loss.backward()
    assert value == pytest.approx(loss.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, leaf.grad.numpy().reshape(x.shape), rtol=1e-11, atol=1e-14)
    inside = np.arange(T) < np.array(LENGTHS)[:, None]
    outside = np.where(inside[..., None], x, np.nan)  # what does not count may be anything
    first, d = pylstm.cross_entropy(outside, labels, lengths=LENGTHS, **options)
    assert first == pylstm.cross_entropy(x, np.where(inside, labels, -100), **options)[0]
    assert not d[~inside].any()


def test_a_large_vocabulary_in_blocks():
    rng = np.random.default_rng(3)
    x, labels = rng.standard_normal((100, 2000)), rng.integers(0, 2000, 100)
    value, gradient = pylstm.cross_entropy(x, labels)
    shifted = x - x.max(axis=1, keepdims=True)
    p = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    assert value == pytest.approx(-np.log(p[np.arange(100), labels]).mean(), rel=1e-12)
    p[np.arange(100), labels] -= 1
    np.testing.assert_allclose(gradient, p / 100, rtol=1e-9, atol=1e-14)


def test_extreme_logits_stay_finite():
    x = np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32)
    for value, gradient in (
        pylstm.cross_entropy(x, [1, 1]), pylstm.binary_cross_entropy(x, np.array([[0, 1], [0, 1]])),
    ):  # fmt: skip
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        assert gradient.dtype == np.float32
    assert pylstm.cross_entropy(x, [1, 1])[0] == pytest.approx(1e4)


def test_nothing_counts():
    for value, gradient in (
        pylstm.cross_entropy(np.ones((2, 3, C)), np.zeros((2, 3), int), lengths=[0, 0]),
        pylstm.cross_entropy(np.ones((2, C)), [-100, -100]),
        pylstm.mse(np.ones((2, 3)), np.zeros((2, 3)), lengths=[0, 0]),
        pylstm.binary_cross_entropy(np.ones((0, 1)), np.ones(0)),
    ):
        assert value == 0
        assert (gradient == 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pylstm.cross_entropy(np.ones((2, 3)), [0, 3]), "labels in 0..2.*got 3"),
        (lambda: pylstm.cross_entropy(np.ones((2, 3)), [0, -1]), "got -1"),
        (lambda: pylstm.cross_entropy(np.ones((2, 3)), np.array([0, 2**64 - 100], np.uint64)), f"got {2**64 - 100}"),
        (lambda: pylstm.cross_entropy(np.ones((2, 3)), np.array([0, 2**63], ">u8")), f"got {2**63}"),
        (lambda: pylstm.cross_entropy(np.ones((2, 0)), [-100, -100]), "C from 1"),
        (lambda: pylstm.cross_entropy(np.ones((2, 3)), [0.0, 1.0]), "labels, integers"),
        (lambda: pylstm.cross_entropy(np.ones((2, 3)), [0]), "shape \\(2,\\)"),
        (lambda: pylstm.cross_entropy(np.ones(3), [0]), "\\(N, C\\)"),
        (lambda: pylstm.cross_entropy(np.ones((2, 3)), [0, 1], class_weight={3: 1.0}), "label 3"),
        (lambda: pylstm.cross_entropy(np.ones((2, 3)), [0, 1], class_weight=[1, 2]), "shape \\(3,\\)"),
        (lambda: pylstm.cross_entropy(np.ones((2, 3)), [0, 1], class_weight=[1, 2, -1]), "from 0"),
        (lambda: pylstm.binary_cross_entropy(np.ones((2, 1)), [0, 2]), "0..1"),
        (lambda: pylstm.binary_cross_entropy(np.ones((2, 2)), [0, 1]), "shape of logits"),
        (lambda: pylstm.mse(np.ones((2, 3)), np.ones((3, 2))), "shape of predictions"),
        (lambda: pylstm.mse(np.ones(3), np.ones(3), lengths=[1, 1, 1]), "per step"),
        (lambda: pylstm.mse(np.ones((2, 3)), np.ones((2, 3)), lengths=[1, 4]), "0..3"),
        (lambda: losses.loss_function("hinge"), "binary_cross_entropy"),
        (lambda: losses.loss_function("mse", [1, 2]), "classification"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


@pytest.mark.parametrize("wrong", ["a", 1.5, None, True, np.array([0, 1])])
def test_ignore_index_is_an_integer(wrong):
    with pytest.raises(TypeError, match="ignore_index must be an integer"):
        pylstm.cross_entropy(np.zeros((2, 3)), [0, 1], ignore_index=wrong)
    largest = np.array([1, 2**64 - 1], np.uint64)
    assert pylstm.cross_entropy(np.zeros((2, 3)), largest, ignore_index=2**64 - 1)[0] == pytest.approx(np.log(3))


def test_against_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)

    def check(ours, module, x, targets):
        leaf = torch.tensor(x, requires_grad=True)
        theirs = module(leaf.movedim(-1, 1) if targets.dtype == np.int64 and x.ndim == 3 else leaf,
                        torch.tensor(targets))  # fmt: skip
        theirs.backward()
        assert ours[0] == pytest.approx(theirs.item(), rel=1e-12)
        np.testing.assert_allclose(ours[1], leaf.grad.numpy(), rtol=1e-10, atol=1e-15)

    weights = rng.uniform(0.1, 2, C)
    x, labels = rng.standard_normal((N, T, C)), rng.integers(0, C, (N, T))
    labels[~INSIDE] = -100
    check(
        pylstm.cross_entropy(x, labels, class_weight=weights),
        torch.nn.CrossEntropyLoss(torch.tensor(weights)), x, labels,
    )  # fmt: skip
    check(pylstm.cross_entropy(x, np.maximum(labels, 0), lengths=LENGTHS), torch.nn.CrossEntropyLoss(), x, labels)
    targets = rng.uniform(0, 1, (N, C))
    check(pylstm.binary_cross_entropy(x[:, 0], targets), torch.nn.BCEWithLogitsLoss(), x[:, 0], targets)
    check(pylstm.mse(x[:, 0], targets), torch.nn.MSELoss(), x[:, 0], targets)
