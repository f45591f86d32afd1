"""The loss of classes drawn: the value and gradients of its definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pylstm
from pylstm.layers.linear import LinearOutputs
from pylstm.layers.row_gradient import RowGradient
from pylstm.losses.sampled_softmax import sampled_loss
from pylstm.reference import sampled_softmax as twin

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "data" / "golden" / "sampled_softmax" / "golden.npz"


def of_samples(hidden, weight, bias, targets, sampled, expected, class_weight=None, need_dx=True):
    """`sampled_loss` with targets of which -100 does not count."""
    outputs = LinearOutputs(hidden, weight, bias, need_dx)
    counts, order = targets != -100, np.argsort(sampled)
    labels = targets[counts]
    weights = None if class_weight is None else class_weight[labels]
    return sampled_loss(
        outputs, counts, labels, weights, sampled[order], np.log(expected)[sampled[order]], np.log(expected)[labels]
    )


def problem(seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    rows, size, classes = (int(rng.integers(1, most)) for most in (40, 12, 60))
    hidden, weight = (rng.standard_normal(shape).astype(dtype) for shape in ((rows, size), (classes, size)))
    bias = rng.standard_normal(classes).astype(dtype) if seed % 3 else None
    targets = rng.integers(0, classes, rows)
    targets[rng.random(rows) < 0.2] = -100
    sampled = rng.permutation(classes)[: int(rng.integers(1, classes + 1))]
    class_weight = None if seed % 2 else rng.random(classes).astype(dtype)
    return hidden, weight, bias, targets, sampled, rng.uniform(0.01, 1, classes), class_weight


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_twin(dtype, tolerance):
    for seed in range(40):
        *given, class_weight = problem(seed, dtype)
        if (given[3] == -100).all():
            continue
        value, gradients = twin.sampled_softmax(*given, class_weight=class_weight)
        loss = of_samples(*given, class_weight)
        assert loss.mean == pytest.approx(value, rel=tolerance, abs=tolerance)
        d_hidden, d_params = loss.gradient
        assert list(d_params) == ["weight", "bias"][: 1 if given[2] is None else 2]
        wanted = [gradient for gradient in gradients if gradient is not None]
        for got, want in zip([d_hidden, *map(np.asarray, d_params.values())], wanted, strict=True):
            assert got.dtype == dtype
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def test_central_differences():
    for seed in range(8):
        *given, class_weight = problem(seed)
        gradients = of_samples(*given, class_weight).gradient
        d = [gradients[0], *map(np.asarray, gradients[1].values())]
        rng = np.random.default_rng(1)
        for place, gradient in enumerate(d):
            direction = rng.standard_normal(gradient.shape)
            means = []
            for step in (1e-5, -1e-5):
                moved = list(given)
                moved[place] = moved[place] + step * direction
                means.append(of_samples(*moved, class_weight).mean)
            assert (means[0] - means[1]) / 2e-5 == pytest.approx((gradient * direction).sum(), rel=1e-6, abs=1e-9)


@pytest.mark.skipif(not GOLDEN.is_file(), reason="needs the golden values beside the project")
def test_golden_values_of_tensorflow():
    golden = dict(np.load(GOLDEN))
    order, labels = np.argsort(golden["sampled"]), golden["labels"][:, 0]
    for dtype, tolerance in ((np.float32, 2e-5), (np.float64, 2e-6)):
        for row, want in enumerate(golden["loss"]):  # as one row each: TensorFlow gives a loss per row
            weight, bias, x = (golden[name].astype(dtype) for name in ("weights", "biases", "x"))
            loss = sampled_loss(
                LinearOutputs(x[row : row + 1], weight, bias), np.ones(1, bool), labels[row : row + 1], None,
                golden["sampled"][order], np.log(golden["sampled_expected"].astype("d"))[order],
                np.log(golden["true_expected"].astype("d"))[row : row + 1],
            )  # fmt: skip
            assert loss.mean == pytest.approx(want, rel=tolerance)


def test_formula_in_torch():
    """With accidental hits removed by a large number, as TensorFlow does; and the gradients."""
    torch = pytest.importorskip("torch")
    for seed in (1, 3, 4, 7):
        hidden, weight, bias, targets, sampled, expected, _ = problem(seed)
        if not (targets >= 0).all():
            targets = np.maximum(targets, 0)
        tensors = [torch.tensor(a, requires_grad=True) for a in (hidden, weight, bias) if a is not None]
        t, s, log_q = torch.tensor(targets), torch.tensor(sampled), torch.tensor(np.log(expected))
        offset = -log_q if bias is None else tensors[2] - log_q
        z = tensors[0] @ tensors[1][s].T + offset[s]
        z = z - (t[:, None] == s[None]) * 1e37
        z = torch.cat([(tensors[0] * tensors[1][t]).sum(1, keepdim=True) + offset[t][:, None], z], dim=1)
        value = torch.nn.functional.cross_entropy(z, torch.zeros(len(t), dtype=torch.long))
        value.backward()
        loss = of_samples(hidden, weight, bias, targets, sampled, expected)
        assert loss.mean == pytest.approx(value.item(), rel=1e-12)
        got = [loss.gradient[0], *map(np.asarray, loss.gradient[1].values())]
        for one, tensor in zip(got, tensors, strict=True):
            np.testing.assert_allclose(one, tensor.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_gradients_of_rows_only():
    hidden, weight, bias, targets, sampled, expected, _ = problem(4)
    _, d_params = of_samples(hidden, weight, bias, targets, sampled, expected).gradient
    for gradient, parameter in zip(d_params.values(), (weight, bias), strict=True):
        assert isinstance(gradient, RowGradient)
        assert gradient.shape == parameter.shape
        assert gradient.rows.tolist() == sorted({*sampled.tolist(), *targets[targets >= 0].tolist()})
        assert str(len(gradient.rows)) in repr(gradient)


def test_all_samples_with_equal_counts_are_the_full_softmax():
    """Every class drawn: what is left out is the label itself, once."""
    hidden, weight, bias, targets, _, _, class_weight = problem(4)
    loss = of_samples(hidden, weight, bias, targets, np.arange(len(weight)), np.ones(len(weight)), class_weight)
    kept = {} if class_weight is None else {"class_weight": class_weight}
    value, gradients = pylstm.linear_cross_entropy(hidden, weight, bias, targets, **kept)
    assert loss.mean == pytest.approx(value, rel=1e-12)
    for got, want in zip([loss.gradient[0], *map(np.asarray, loss.gradient[1].values())], gradients, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-14)


def test_nothing_but_hits_and_nothing_that_counts():
    hidden, weight, expected = np.ones((2, 3)), np.ones((4, 3)), np.full(4, 0.5)
    loss = of_samples(hidden, weight, None, np.array([2, 2]), np.array([2]), expected)
    assert (loss.total, loss.weight) == (0, 2)
    assert not np.asarray(loss.gradient[1]["weight"]).any()
    loss = of_samples(hidden * np.nan, weight, np.ones(4), np.array([-100, -100]), np.array([2]), expected)
    assert (loss.total, loss.weight, loss.mean) == (0, 0, 0)
    assert not loss.gradient[0].any()
    assert not np.asarray(loss.gradient[1]["weight"]).any()


def test_large_logits():
    rng = np.random.default_rng(0)
    hidden, weight = (rng.standard_normal(shape).astype("f") * 100 for shape in ((20, 8), (50, 8)))
    targets, sampled, expected = rng.integers(0, 50, 20), np.arange(0, 50, 2), np.full(50, 1e-30)
    loss = of_samples(hidden, weight, None, targets, sampled, expected)
    value, gradients = twin.sampled_softmax(hidden.astype("d"), weight.astype("d"), None, targets, sampled, expected)
    assert loss.mean == pytest.approx(value, rel=1e-5)
    assert np.isfinite(np.asarray(loss.gradient[1]["weight"])).all()
    np.testing.assert_allclose(loss.gradient[0], gradients[0], atol=1e-2)
