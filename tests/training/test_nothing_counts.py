"""Targets of which nothing counts, before training; and those that are missing, in evaluate."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm

RNG = np.random.default_rng(3)
N, T, F, C = 24, 6, 3, 12
X = RNG.standard_normal((N, T, F)).astype("f")
LENGTHS = RNG.integers(1, T + 1, N)
INSIDE = np.arange(T) < LENGTHS[:, None]


def net(out):
    return pylstm.Sequential([pylstm.LSTM(F, 5, batch_first=True), pylstm.Linear(5, out)], seed=0)


# ---- nothing that counts ---------------------------------------------------------------------------------------------

LABELS = RNG.integers(0, C, (N, T))
HALF = np.where(np.arange(T) < 3, 1.0, 0.0) * np.ones((N, 1))  # weights of the first steps alone
NOTHING = {
    "ignored": ({"y": LABELS * 0 - 100}, "y holds nothing but -100, the label that does not count"),
    "ignored in a list": ({"y": [one * 0 - 100 for one in LABELS], "x": list(X)}, "y holds nothing but -100"),
    "ignored, floats": ({"y": LABELS * 0.0 - 100}, "y holds nothing but -100"),
    "a column": ({"y": LABELS[..., None] * 0 - 100}, "y holds nothing but -100"),
    "another label": ({"y": LABELS * 0 + 7, "loss": pylstm.CrossEntropy(ignore_index=7)}, "y holds nothing but 7"),
    "past the lengths": ({"y": np.where(INSIDE, -100, LABELS), "lengths": LENGTHS}, "nothing in y counts"),
    "lengths of 0": ({"y": LABELS, "lengths": LENGTHS * 0}, "nothing in y counts"),
    "weights of 0": ({"y": LABELS, "sample_weight": np.zeros((N, T))}, "sample_weight is 0 everywhere"),
    "weights of what is ignored": ({"y": np.where(HALF, -100, LABELS), "sample_weight": HALF}, "nothing in y counts"),
    "missing": ({"y": LABELS * np.nan, "missing": "nan"}, "y holds nothing but NaN"),
    "weights of what is missing": (
        {"y": np.where(HALF, np.nan, X[..., 0]), "missing": "nan", "sample_weight": HALF, "loss": "mse"},
        "nothing in y counts",
    ),
}


@pytest.mark.parametrize("case", NOTHING)
@pytest.mark.parametrize("validation", [False, True])
def test_targets_of_which_nothing_counts_are_refused_before_training(case, validation):
    given, what = NOTHING[case]
    options = {"x": X, "loss": "cross_entropy", "verbose": 0, **given}
    model = net(1 if options["loss"] == "mse" else C)
    if validation:
        keys = ("x", "y", "lengths", "target_lengths", "sample_weight")
        options["validation_data"] = tuple(options.pop(key, None) for key in keys)
        options["x"], options["y"] = X, X[..., :1] if options["loss"] == "mse" else LABELS
        what = f"validation_data: {what}"
    before = model.state_dict()
    with pytest.raises(ValueError, match=what):
        model.fit(**options)
    assert all(value.tobytes() == before[name].tobytes() for name, value in model.params.items())


def test_one_label_that_counts_is_enough():
    y = np.full((N, T), -100)
    y[-1, -1] = 2
    assert net(C).fit(X, y, loss="cross_entropy", batch_size=4, verbose=0)["loss"][0] > 1.0


# ---- evaluate is told again ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mse", "mae", "binary_cross_entropy", "cross_entropy"])
@pytest.mark.parametrize("batches", [False, True])
def test_evaluate_says_what_missing_targets_need(loss, batches):
    y = RNG.integers(0, 2, (N, T)).astype("f")
    y[7, 2] = y[9, 0] = np.nan
    model = net(2 if loss == "cross_entropy" else 1)
    model.fit(X, y, loss=loss, missing="nan", verbose=0)
    data = ([(X[:8], y[:8]), (X[8:], y[8:])],) if batches else (X, y)
    with pytest.raises(ValueError, match=r"y\[7\] holds NaN at .* 2; .*missing='nan' leaves such targets out"):
        model.evaluate(*data)
    assert np.isfinite(model.evaluate(*data, missing="nan")["loss"])


def test_a_loss_of_ones_own_may_take_nan():
    def loss(output, targets, lengths=None):  # noqa: ARG001
        wrong = np.nan_to_num(np.asarray(output) - targets)
        return float((wrong**2).mean()), 2 * wrong / wrong.size

    y = X[..., :1].astype(np.float64)
    y[0, 0] = np.nan
    model = net(1)
    model.fit(X, y, loss=loss, check_finite=False, verbose=0)
    assert np.isfinite(model.evaluate(X, y)["loss"])
