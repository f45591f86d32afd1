"""Weights of sequences and steps, and missing targets."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import pylstm

RNG = np.random.default_rng(3)
N, T, F, C = 24, 6, 3, 12
X = RNG.standard_normal((N, T, F)).astype("f")
LENGTHS = RNG.integers(1, T + 1, N)
LENGTHS[5] = T
INSIDE = np.arange(T) < LENGTHS[:, None]
TIMES = RNG.integers(0, 3, N)  # whole weights: as often
STEPS = RNG.random((N, T))
STEPS[STEPS < 0.3] = 0.0


def net(out, per_step=False, seed=0, dtype=np.float64):
    end = [] if per_step else [pylstm.LastStep()]
    lstm = pylstm.LSTM(F, 5, batch_first=True, dtype=dtype)
    return pylstm.Sequential([lstm, *end, pylstm.Linear(5, out, dtype=dtype)], seed=seed)


class Kept(pylstm.SGD):
    """Keeps the gradients, and changes nothing."""

    def step(self, layers, grads, **options):
        self.grads = copy.deepcopy(grads)
        super().step(layers, grads, **options)


def one_step(model, x, y, **options):
    optimizer = Kept(0.0)
    history = model.fit(x, y, optimizer=optimizer, batch_size=10**4, verbose=0, **options)
    return history["loss"][0], optimizer.grads


def agree(found, expected):
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
    for name, gradient in expected[1].items():
        np.testing.assert_allclose(found[1][name], gradient, atol=1e-11, err_msg=name)


def own(y, targets, lengths=None, sample_weight=None):  # noqa: ARG001
    w = np.ones(len(y)) if sample_weight is None else sample_weight
    w = w.reshape(-1, 1) * np.ones(targets.shape)
    return (w * (y - targets) ** 2).sum() / w.sum(), w.sum()


PER_SEQUENCE = {
    "cross_entropy": (C, RNG.integers(0, C, N)),
    "few labels": (3, RNG.integers(0, 3, N)),
    "smoothed": (C, RNG.integers(0, C, N)),
    "binary_cross_entropy": (2, RNG.integers(0, 2, (N, 2))),
    "mse": (2, RNG.standard_normal((N, 2))),
    "mae": (1, RNG.standard_normal(N)),
    "huber": (2, RNG.standard_normal((N, 2)) * 3),
    "quantile": (2, RNG.standard_normal(N)),
    "own": (2, RNG.standard_normal((N, 2))),
}
AS = {"few labels": "cross_entropy", "smoothed": pylstm.CrossEntropy(label_smoothing=0.1), "own": own,
      "quantile": pylstm.QuantileLoss((0.2, 0.7))}  # fmt: skip


@pytest.mark.parametrize("name", PER_SEQUENCE)
def test_whole_weights_are_repetitions(name):
    out, y = PER_SEQUENCE[name]
    loss, rows = AS.get(name, name), np.repeat(np.arange(N), TIMES)
    expected = one_step(net(out), X[rows], y[rows], loss=loss)
    for weights in (TIMES, TIMES.astype(float).tolist(), TIMES[:, None] * 1.0):
        agree(one_step(net(out), X, y, loss=loss, sample_weight=weights), expected)
    figures = net(out).evaluate(X, y, loss=loss, sample_weight=TIMES, batch_size=7)  # however it is cut
    np.testing.assert_allclose(figures["loss"], expected[0], rtol=1e-9)


@pytest.mark.parametrize("name", ["cross_entropy", "smoothed", "mse", "binary_cross_entropy"])
@pytest.mark.parametrize("form", ["lengths", "lists", "all"])
def test_weights_of_steps(name, form):
    """Against the loss as a function, of the outputs of the model."""
    out = C if name in ("cross_entropy", "smoothed") else 2
    y = RNG.integers(0, out, (N, T)) if out == C else RNG.integers(0, 2, (N, T, out)) * 1.0
    model, loss = net(out, True), AS.get(name, name)
    function = getattr(pylstm, name) if isinstance(loss, str) else loss
    options = {"lengths": LENGTHS, "sample_weight": STEPS} if form == "lengths" else {"sample_weight": STEPS}
    x, targets = X, y
    if form == "lists":
        x, targets, options["sample_weight"] = (
            [row[:n] for row, n in zip(a, LENGTHS, strict=True)] for a in (X, y, STEPS)
        )
    lengths = None if form == "all" else LENGTHS
    z, backward = model.forward(X, lengths=lengths)
    value, d = function(z, y, lengths=lengths, sample_weight=STEPS)
    agree(one_step(net(out, True), x, targets, loss=loss, **options), (value, backward(d)[1]))
    figures = model.evaluate(x, targets, loss=loss, batch_size=5, **options)
    np.testing.assert_allclose(figures["loss"], value, rtol=1e-9)


def test_truncation_and_micro_steps_cut_weights_too():
    y = RNG.standard_normal((N, T, 2))
    masked = STEPS > 0
    for weights in (masked * 1.0, TIMES):
        expected = np.where((masked if weights is not TIMES else TIMES[:, None] * np.ones(T))[..., None] > 0, y, 9e9)
        runs = []
        for targets in (y, expected):  # what weighs nothing may be anything
            model = net(2, True)
            model.fit(
                X, targets, loss="mse", optimizer=pylstm.SGD(0.1), truncate=2, sample_weight=weights, seed=0, verbose=0
            )
            runs.append(model.params)
        for name, value in runs[0].items():
            assert value.tobytes() == runs[1][name].tobytes()


def test_reduce_adds_weights_up():
    """Two halves of a batch in two processes go the way of one."""
    y, halves = RNG.standard_normal((N, 2)), [slice(0, 9), slice(9, N)]
    parts = []

    def note(grads, weight):
        parts.append((copy.deepcopy(grads), weight))
        return grads, weight

    for half in halves:
        net(2).fit(X[half], y[half], loss="mse", sample_weight=TIMES[half], optimizer=pylstm.SGD(0.0), reduce=note,
                   batch_size=99, verbose=0)  # fmt: skip
    expected = one_step(net(2), X, y, loss="mse", sample_weight=TIMES)[1]
    total = sum(weight for _, weight in parts)
    for name, gradient in expected.items():
        np.testing.assert_allclose((parts[0][0][name] + parts[1][0][name]) / total, gradient, atol=1e-12)


@pytest.mark.parametrize("loss", ["mse", pylstm.Huber(0.4), own])
def test_pieces_of_a_batch_weigh_what_they_weigh(loss):
    y = RNG.standard_normal((N, 2))
    y[3:6, 1] = np.nan
    options = {"loss": loss, "sample_weight": TIMES, "missing": "nan"}
    if loss is own:  # it knows no mean of nothing: no piece has weights of 0 alone
        options, y = {"loss": loss, "sample_weight": TIMES, "shuffle": False}, np.nan_to_num(y)
    agree(one_step(net(2), X, y, micro_batch_size=5, **options), one_step(net(2), X, y, **options))


def test_one_of_several_processes_may_have_no_weight():
    model = net(2)
    for options in ({"sample_weight": np.zeros(N)}, {"missing": "nan"}):
        y = np.full((N, 2), np.nan if "missing" in options else 1.0)
        history = model.fit(X, y, loss="mse", reduce=lambda grads, weight: (grads, weight + 1.0), verbose=0, **options)
        assert history["loss"] == [0.0]


def test_a_mask_is_a_weight():
    y = RNG.standard_normal((N, T, 2))
    expected = one_step(net(2, True), X, y, loss="mse", sample_weight=(STEPS > 0) * 1.0)
    agree(one_step(net(2, True), X, y, loss="mse", sample_weight=STEPS > 0), expected)


def test_the_vocabulary_head_stays_without_logits(monkeypatch):
    from pylstm.layers.linear import LinearOutputs

    def compute(self):  # noqa: ARG001
        raise AssertionError("the outputs were computed")

    x, y = np.repeat(X, 4, axis=0), RNG.integers(0, C, (4 * N, T))
    w = np.repeat(STEPS, 4, axis=0)
    monkeypatch.setattr(LinearOutputs, "compute", compute)
    missing = np.where(w > 0.5, y, np.nan)
    for options in ({"sample_weight": w}, {"sample_weight": w, "class_weight": {1: 2.0}}):
        net(C, True).fit(x, y, loss="cross_entropy", metrics=["accuracy", "f1", "perplexity"], verbose=0, **options)
    net(C, True).fit(x, missing, loss="cross_entropy", missing="nan", verbose=0)
    net(C, True).fit(x, y, loss=pylstm.CrossEntropy(label_smoothing=0.1), verbose=0)


def test_sampled_softmax_takes_weights():
    x, y = np.repeat(X, 3, axis=0), RNG.integers(0, C, 3 * N)
    w = RNG.integers(0, 2, 3 * N)
    results = []
    for labels, options in ((y, {"sample_weight": w}), (np.where(w, y, -100), {}),
                            (np.where(w, y, np.nan), {"missing": "nan"})):  # fmt: skip
        results.append(one_step(net(C), x, labels, loss=pylstm.SampledSoftmax(4, "log_uniform"), seed=1, **options))
    agree(results[1], results[0])
    agree(results[2], results[0])


# ---- missing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mse", "huber", "binary_cross_entropy", pylstm.QuantileLoss(0.3)])
@pytest.mark.parametrize("form", ["array", "lengths", "lists", "flat"])
def test_missing_numbers_do_not_count(loss, form):
    full = RNG.integers(0, 2, (N, T, 2)) * 1.0
    gone = RNG.random(full.shape) < 0.4
    y = np.where(gone, np.nan, full)
    model = net(2, True)
    function = loss if callable(loss) else getattr(pylstm, loss)
    lengths = LENGTHS if form in ("lengths", "lists") else None
    z, backward = model.forward(X, lengths=lengths)
    value, d = function(z, full, lengths=lengths, sample_weight=~gone)
    x, targets, options = X, y, {"lengths": lengths}
    if form == "lists":
        x, targets = ([row[:n] for row, n in zip(a, LENGTHS, strict=True)] for a in (X, y))
        options = {}
    if form == "flat":
        targets = y.reshape(N, T, 2, 1)
    agree(one_step(net(2, True), x, targets, loss=loss, missing="nan", **options), (value, backward(d)[1]))
    found = model.evaluate(x, targets, loss=loss, missing="nan", batch_size=5, **options)
    np.testing.assert_allclose(found["loss"], value, rtol=1e-9)
    both = function(z, full, lengths=lengths, sample_weight=~gone * STEPS[..., None])
    weights = [row[:n] for row, n in zip(STEPS, LENGTHS, strict=True)] if form == "lists" else STEPS
    found = one_step(net(2, True), x, targets, loss=loss, missing="nan", sample_weight=weights, **options)
    agree(found, (both[0], backward_again(X, lengths, both[1])))


def backward_again(x, lengths, d):
    return net(2, True).forward(x, lengths=lengths)[1](d)[1]


@pytest.mark.parametrize("shape", [(N,), (N, 1)])
def test_missing_labels_do_not_count(shape):
    labels = RNG.integers(0, C, N)
    gone = RNG.random(N) < 0.4
    y = np.where(gone, np.nan, labels).reshape(shape)
    expected = one_step(net(C), X, np.where(gone, -100, labels), loss="cross_entropy")
    agree(one_step(net(C), X, y, loss="cross_entropy", missing="nan"), expected)
    hot = np.where(gone[:, None], np.nan, np.eye(C)[labels])
    agree(one_step(net(C), X, hot, loss="cross_entropy", missing="nan"), expected)
    hot[~gone, 0] = np.nan
    with pytest.raises(ValueError, match="one-hot"):
        one_step(net(C), X, hot, loss="cross_entropy", missing="nan")
    agree(one_step(net(C), X, y, loss=pylstm.CrossEntropy(ignore_index=3), missing="nan"),
          one_step(net(C), X, np.where(gone, 3, labels), loss=pylstm.CrossEntropy(ignore_index=3)))  # fmt: skip
    agree(one_step(net(C), X, y, loss="cross_entropy", missing="nan", class_weight="balanced"),
          one_step(net(C), X, np.where(gone, -100, labels), loss="cross_entropy", class_weight="balanced"))  # fmt: skip


def test_missing_yes_or_no_are_no_no_for_balanced_weights():
    y = np.where(RNG.random(N) < 0.4, np.nan, RNG.integers(0, 2, N))
    there = ~np.isnan(y)
    agree(one_step(net(1), X, y, loss="binary_cross_entropy", missing="nan", class_weight="balanced"),
          one_step(net(1), X[there], y[there], loss="binary_cross_entropy", class_weight="balanced"))  # fmt: skip


def test_a_loss_of_ones_own_gets_what_counts():
    y = np.where(RNG.random((N, 2)) < 0.4, np.nan, RNG.standard_normal((N, 2)))
    seen = []

    def masked(out, targets, lengths=None, sample_weight=None):  # noqa: ARG001
        seen.append((targets.copy(), sample_weight.copy()))
        return (sample_weight * (out - targets) ** 2).sum() / sample_weight.sum(), sample_weight.sum()

    agree(
        one_step(net(2), X, y, loss=masked, missing="nan", shuffle=False),
        one_step(net(2), X, y, loss="mse", missing="nan"),
    )
    assert (seen[0][1] == ~np.isnan(y)).all()
    assert (seen[0][0] == np.nan_to_num(y)).all()


# ---- what is refused, before anything is trained --------------------------------------------------------------------

LABELS = RNG.integers(0, C, N)


def without(y, targets, lengths=None):  # noqa: ARG001
    return ((y - targets) ** 2).mean()


def figure(y, targets, lengths):  # noqa: ARG001
    return 0.0


REFUSED = {
    "short": ({"sample_weight": TIMES[:5]}, "sample_weight must hold a number for each of 24 sequences"),
    "nan": ({"sample_weight": np.where(np.arange(N) == 7, np.nan, 1.0)}, r"got nan in sample_weight\[7\]"),
    "negative": ({"sample_weight": np.where(np.arange(N) == 7, -1.0, 1.0)}, r"got -1.0 in sample_weight\[7\]"),
    "huge": ({"sample_weight": np.where(np.arange(N) == 7, 1e300, 1.0)}, r"1e\+20, got 1e\+300 in sample_weight\[7\]"),
    "tiny": ({"sample_weight": np.full(N, 1e-60)}, r"got 1e-60 in sample_weight\[0\]"),
    "nothing": ({"sample_weight": np.zeros(N)}, "0 everywhere"),
    "words": ({"sample_weight": ["a"] * N}, "sample_weight"),
    "number": ({"sample_weight": 3.0}, "sample_weight"),
    "steps of sequences": ({"sample_weight": STEPS}, r"sample_weight must have shape \(N,\)"),
    "ragged": ({"sample_weight": [[1.0]] * (N - 1) + [[1.0, 2.0]]}, "sample_weight"),
    "own": ({"loss": without, "y": RNG.standard_normal((N, C)), "sample_weight": TIMES}, "no sample_weight"),
    "own missing": ({"loss": without, "y": RNG.standard_normal((N, C)), "missing": "nan"}, "no sample_weight"),
    "metric": ({"metrics": [figure], "sample_weight": TIMES}, "metric figure takes no sample_weight"),
    "missing": ({"missing": "none"}, "missing must be 'nan'"),
    "missing kind": ({"missing": True}, "missing must be 'nan'"),
    "nobody": ({"missing": "nan", "y": np.full(N, np.nan)}, "nothing but NaN"),
    "infinity": ({"missing": "nan", "y": np.where(np.arange(N) == 2, np.inf, 0)}, r"y\[2\] holds infinity"),
    "late label": ({"missing": "nan", "y": np.where(np.arange(N) == 23, C, np.nan)}, r"got 12.* in y\[23\]"),
    "nan unasked": ({"y": np.where(np.arange(N) == 2, np.nan, 0)}, r"y\[2\] holds NaN"),
    "split 0": ({"validation_split": 0.0}, "validation_split"),
    "split 1": ({"validation_split": 1.0}, "validation_split"),
    "split word": ({"validation_split": "x"}, "validation_split"),
    "split most": ({"validation_split": 0.999}, "leaves one part"),
    "both": ({"validation_split": 0.5, "validation_data": (X, LABELS)}, "not both"),
    "split unequal": ({"validation_split": 0.5, "y": LABELS[:9]}, "x holds 24 sequences and y 9"),
    "split late": ({"validation_split": 0.5, "y": np.where(np.arange(N) == 23, C, 0)}, r"validation_data: .*got 12"),
    "validation weights": ({"validation_data": (X, LABELS, None, None, -TIMES - 1)}, "validation_data: sample_weight"),
    "optimizer": ({"optimizer": "adamm"}, "optimizer must be .*did you mean 'adam'"),
    "optimizer class": ({"optimizer": pylstm.Adam}, "optimizer must be .*class Adam: call it"),
    "loss": ({"loss": "mean_absolute_error"}, "did you mean 'mae'"),
    "loss class": ({"loss": pylstm.CrossEntropy}, "class CrossEntropy: call it"),
    "loss near": ({"loss": "hubber"}, "did you mean 'huber'"),
    "class of numbers": ({"loss": "mae", "y": RNG.standard_normal((N, C)), "class_weight": {0: 1.0}}, "not for mae"),
    "shape": ({"loss": "huber", "y": RNG.standard_normal((N, 5))}, "outputs' shape"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    options, text = REFUSED[name]
    model = net(C)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises((TypeError, ValueError), match=text):
        model.fit(**{"x": X, "y": LABELS, "loss": "cross_entropy", "verbose": 0, **options})
    assert all((model.params[key] == value).all() for key, value in before.items())
    assert model._loss is None


def test_missing_numbers_of_several_axes():
    """Targets (N, H, F) for outputs (N, H * F), with NaN and with weights of sequences."""
    y = RNG.standard_normal((N, 4, 3))
    y[RNG.random(y.shape) < 0.3] = np.nan
    weight = RNG.random(N)
    model, there = net(12), ~np.isnan(y)
    off = np.abs(model.predict(X).reshape(y.shape) - np.nan_to_num(y))
    for given, share in ((None, np.ones((N, 1, 1))), (weight, weight[:, None, None])):
        got = model.evaluate(X, y, loss="mae", missing="nan", sample_weight=given, metrics=["mae"])
        want = (off * there * share).sum() / (there * share).sum()
        assert got["loss"] == pytest.approx(want, rel=1e-12)
        assert got["mae"] == pytest.approx(want, rel=1e-12)
    whole, flat = one_step(net(12), X, y, loss="mae", missing="nan"), y.reshape(N, 12)
    other = one_step(net(12), X, flat, loss="mae", missing="nan")
    assert whole[0] == pytest.approx(other[0], rel=1e-12)
    for name, value in whole[1].items():
        np.testing.assert_allclose(value, other[1][name], rtol=0, atol=1e-15)


def test_weights_past_an_end_may_be_anything():
    y, weight = RNG.integers(0, 3, (N, T)), STEPS.copy()
    model = net(3, per_step=True)
    want = model.evaluate(X, y, loss="cross_entropy", lengths=LENGTHS, sample_weight=weight)
    weight[~INSIDE] = np.nan
    assert model.evaluate(X, y, loss="cross_entropy", lengths=LENGTHS, sample_weight=weight) == want


@pytest.mark.filterwarnings("error")
def test_weights_of_half_precision():
    y, weight = RNG.integers(0, 3, N), np.linspace(0, 2, N).astype(np.float16)
    want = net(3).evaluate(X, y, loss="cross_entropy", sample_weight=weight.astype(np.float64))
    assert net(3).evaluate(X, y, loss="cross_entropy", sample_weight=weight) == pytest.approx(want)
    weight[7] = np.inf
    with pytest.raises(ValueError, match=r"sample_weight must hold finite numbers from 0.*sample_weight\[7\]"):
        net(3).evaluate(X, y, loss="cross_entropy", sample_weight=weight)


def test_what_is_missing_is_told_apart_from_what_is_not_finite():
    y = RNG.standard_normal((N, 1))
    y[3] = np.nan
    with pytest.raises(ValueError, match=r"y\[3\] holds NaN.*missing='nan' leaves such targets out"):
        net(1).fit(X, y, loss="mse", verbose=0)
