"""mae, huber and quantiles against PyTorch, the formula and differences; objects; label smoothing; weights."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import pylstm

RNG = np.random.default_rng(0)
Y, T = RNG.standard_normal((6, 5, 3)) * 3, RNG.standard_normal((6, 5, 3))
LENGTHS = np.array([5, 0, 3, 1, 4, 2])
INSIDE = (np.arange(5) < LENGTHS[:, None])[..., None]
WEIGHTS = RNG.random((6, 5))
WEIGHTS[0, 1] = 0.0


def pinball(q):
    return lambda d: np.maximum(q * -d, (q - 1) * -d)


LOSSES = {
    "mse": (pylstm.mse, np.square),
    "mae": (pylstm.mae, np.abs),
    "huber": (pylstm.huber, lambda d: np.where(np.abs(d) < 1, d * d / 2, np.abs(d) - 0.5)),
    "Huber": (pylstm.Huber(0.3), lambda d: np.where(np.abs(d) < 0.3, d * d / 2, 0.3 * (np.abs(d) - 0.15))),
    "quantile": (pylstm.QuantileLoss(0.9), pinball(0.9)),
    "median": (pylstm.QuantileLoss(), pinball(0.5)),
}


def differences(function, y, step=1e-6):
    found = np.zeros(y.shape)
    for at in np.ndindex(y.shape):
        up, down = y.copy(), y.copy()
        up[at] += step
        down[at] -= step
        found[at] = (function(up) - function(down)) / (2 * step)
    return found


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("options", [{}, {"lengths": LENGTHS}, {"lengths": LENGTHS, "sample_weight": WEIGHTS}],
                         ids=["all", "lengths", "weights"])  # fmt: skip
def test_values_and_gradients(name, options):
    loss, formula = LOSSES[name]
    weights = np.ones(Y.shape) * (INSIDE if "lengths" in options else 1.0)
    if "sample_weight" in options:
        weights = weights * WEIGHTS[..., None]
    value, gradient = loss(Y, T, **options)
    np.testing.assert_allclose(value, (formula(Y - T) * weights).sum() / weights.sum(), rtol=1e-12)
    np.testing.assert_allclose(gradient, differences(lambda y: loss(y, T, **options)[0], Y), atol=1e-8)
    noisy = np.where(weights != 0, T, np.nan)  # what does not count may be anything
    again, same = loss(Y, noisy, **options)
    assert (again, same.tobytes()) == (value, gradient.tobytes())
    narrow = loss(Y.astype("f"), T, **options)
    assert narrow[1].dtype == np.float32
    np.testing.assert_allclose(narrow[1], gradient, atol=1e-6)


def test_against_torch():
    torch = pytest.importorskip("torch")
    for ours, theirs in ((pylstm.mae, torch.nn.L1Loss()), (pylstm.huber, torch.nn.HuberLoss()),
                         (pylstm.Huber(0.2), torch.nn.HuberLoss(delta=0.2))):  # fmt: skip
        y = torch.tensor(Y, requires_grad=True)
        value = theirs(y, torch.tensor(T))
        value.backward()
        found, gradient = ours(Y, T)
        np.testing.assert_allclose(found, value.item(), rtol=1e-12)
        np.testing.assert_allclose(gradient, y.grad.numpy(), rtol=1e-12)


def test_the_slope_of_equal_numbers_is_zero():
    for loss in (pylstm.mae, pylstm.huber, pylstm.QuantileLoss(0.9)):
        value, gradient = loss(np.ones((2, 2)), np.ones((2, 2)))
        assert value == 0.0
        assert not gradient.any()


def test_several_quantiles_are_columns():
    q = (0.1, 0.5, 0.9)
    t = T[..., 0]
    loss = pylstm.QuantileLoss(q)
    expected = np.mean([pylstm.QuantileLoss(one)(Y[..., k], t)[0] for k, one in enumerate(q)])
    for targets in (t, t[..., None]):
        value, gradient = loss(Y, targets)
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        np.testing.assert_allclose(gradient, differences(lambda y: loss(y, t)[0], Y), atol=1e-8)
    with pytest.raises(ValueError, match="3 quantiles"):
        loss(Y[..., :2], t)
    with pytest.raises(ValueError, match="targets must have shape"):
        loss(Y, T)


def test_quantiles_are_learned_and_checked():
    x = RNG.standard_normal((200, 3, 2)).astype("f")
    y = RNG.exponential(size=200)

    def net(out):
        return pylstm.Sequential([pylstm.LastStep(), pylstm.Linear(2, out)], seed=0)

    model = net(2)
    model.fit(x * 0, y, loss=pylstm.QuantileLoss([0.1, 0.9]), optimizer=pylstm.Adam(0.05), epochs=60, seed=0, verbose=0)
    low, high = model.predict(x[:1] * 0)[0]
    assert abs((y < low).mean() - 0.1) < 0.03
    assert abs((y < high).mean() - 0.9) < 0.03
    with pytest.raises(ValueError, match="2 quantiles needs a last layer"):
        net(3).fit(x, y, loss=pylstm.QuantileLoss([0.1, 0.9]))
    with pytest.raises(ValueError, match="mae, of metrics, needs one output"):
        net(2).fit(x, y, loss=pylstm.QuantileLoss([0.1, 0.9]), metrics=["mae"])


@pytest.mark.parametrize("make", [
    lambda: pylstm.Huber(0), lambda: pylstm.Huber("x"), lambda: pylstm.QuantileLoss(1.0),
    lambda: pylstm.QuantileLoss([]),
    lambda: pylstm.QuantileLoss([0.5, 2]), lambda: pylstm.QuantileLoss("x"), lambda: pylstm.QuantileLoss(np.nan),
    lambda: pylstm.CrossEntropy(label_smoothing=2), lambda: pylstm.CrossEntropy(ignore_index=0.5),
    lambda: pylstm.huber(Y, T, 0.0), lambda: pylstm.mae(Y, T, sample_weight=-WEIGHTS),
    lambda: pylstm.mae(Y, T, sample_weight=[1, 2]), lambda: pylstm.mae(Y, T[:2]),
])  # fmt: skip
def test_arguments(make):
    with pytest.raises((TypeError, ValueError), match=r"delta|q |label_smoothing|ignore_index|sample_weight|targets"):
        make()


def test_objects_are_equal_by_their_options():
    for one in (pylstm.Huber(0.5), pylstm.QuantileLoss((0.1, 0.9)), pylstm.CrossEntropy(label_smoothing=0.1)):
        for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one)), eval(repr(one), vars(pylstm))):
            assert other == one
            assert hash(other) == hash(one)
    assert pylstm.Huber(0.5) != pylstm.Huber(0.6)
    assert pylstm.Huber(1.0) != pylstm.QuantileLoss(0.5)


# ---- cross-entropy ---------------------------------------------------------------------------------------------

LOGITS, LABELS = RNG.standard_normal((6, 5, 4)), RNG.integers(0, 4, (6, 5))
LABELS[2, 2] = -100


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("class_weight", [None, {0: 2.0, 3: 0.0}], ids=["alike", "classes"])
def test_weighted_cross_entropy(smoothing, class_weight):
    """Whole weights are repetitions."""
    times = RNG.integers(0, 4, (6, 5))
    options = {"label_smoothing": smoothing, "class_weight": class_weight}
    value, gradient = pylstm.cross_entropy(LOGITS, LABELS, sample_weight=times, **options)
    rows = np.repeat(np.arange(30), times.ravel())
    expected, of_rows = pylstm.cross_entropy(LOGITS.reshape(30, 4)[rows], LABELS.ravel()[rows], **options)
    summed = np.zeros((30, 4))
    np.add.at(summed, rows, of_rows)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient.reshape(30, 4), summed, atol=1e-14)


def test_weighted_binary_cross_entropy():
    t, times = (T > 0) * 1.0, RNG.integers(0, 4, (6, 5))
    value, gradient = pylstm.binary_cross_entropy(Y, t, sample_weight=times, class_weight=[1.0, 3.0])
    rows = np.repeat(np.arange(30), times.ravel())
    expected, of_rows = pylstm.binary_cross_entropy(
        Y.reshape(30, 3)[rows], t.reshape(30, 3)[rows], class_weight=[1.0, 3.0]
    )
    summed = np.zeros((30, 3))
    np.add.at(summed, rows, of_rows)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient.reshape(30, 3), summed, atol=1e-14)


def test_the_head_without_logits_takes_weights():
    hidden, weight, bias = RNG.standard_normal((60, 7)), RNG.standard_normal((12, 7)), RNG.standard_normal(12)
    labels, weights = RNG.integers(0, 12, 60), RNG.random(60)
    weights[5] = 0
    value, (d_hidden, d_weight, d_bias) = pylstm.linear_cross_entropy(
        hidden, weight, bias, labels, sample_weight=weights
    )
    expected, d = pylstm.cross_entropy(hidden @ weight.T + bias, labels, sample_weight=weights)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    for own, other in ((d_hidden, d @ weight), (d_weight, d.T @ hidden), (d_bias, d.sum(axis=0))):
        np.testing.assert_allclose(own, other, atol=1e-12)
    twin, (d_hidden, d_weight, d_bias) = pylstm.reference.linear_cross_entropy.linear_cross_entropy(
        hidden, weight, bias, labels, sample_weight=weights
    )
    np.testing.assert_allclose(value, twin, rtol=1e-12)
    np.testing.assert_allclose(d_weight, d.T @ hidden, atol=1e-12)
    with pytest.raises(ValueError, match="sample_weight and label_smoothing"):
        pylstm.linear_cross_entropy(hidden, weight, bias, labels, sample_weight=weights, label_smoothing=0.1)
