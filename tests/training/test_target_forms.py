"""Targets in the forms that people have them in: to the same bits as in the one that the loss takes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import pylstm

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((20, 6, 3)).astype("f"), np.arange(20) % 4
TAGS = RNG.integers(0, 4, (20, 6))
LENGTHS = RNG.integers(1, 7, 20)
LENGTHS[3] = 6
EYE = np.eye(4)


def net(per_step=False, out=4):
    end = [] if per_step else [pylstm.LastStep()]
    return pylstm.Sequential([pylstm.LSTM(3, 5, batch_first=True), *end, pylstm.Linear(5, out)], seed=0)


class Model(pylstm.Model):
    keeps_time = False

    def __init__(self):
        self.lstm, self.head = pylstm.LSTM(3, 5, batch_first=True, seed=0), pylstm.Linear(5, 4, seed=1)

    def run(self, x, lengths=None):
        return self.head(self.lstm(x, lengths=lengths)[0][:, -1])


def trained(model, y, loss="cross_entropy", x=X, **options):
    validation = (x, y, options["lengths"]) if "lengths" in options else (x, y)
    history = model.fit(x, y, loss=loss, optimizer=pylstm.SGD(0.1), batch_size=6, epochs=2, seed=1, verbose=0,
                        validation_data=validation, **options)  # fmt: skip
    figures = model.evaluate(x, y, loss=loss, lengths=options.get("lengths"))
    del history["seconds"]
    return history, figures, {name: value.tobytes() for name, value in model.params.items()}


FORMS = {
    "(N, 1)": lambda y: y[..., None],
    "one-hot": lambda y: EYE[y],
    "one-hot integers": lambda y: EYE[y].astype(np.int8),
    "one-hot bools": lambda y: EYE[y] > 0,
    "floats": lambda y: y.astype("f"),
    "(N, 1) floats": lambda y: y[..., None].astype(float),
    "a list": lambda y: y.tolist(),
    "a list of floats": lambda y: y.astype(float).tolist(),
    "a list of rows": lambda y: EYE[y].tolist(),
    "small unsigned": lambda y: y.astype(np.uint8),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("make", [net, Model])
@pytest.mark.parametrize("loss", ["cross_entropy", partial(pylstm.cross_entropy, ignore_index=9)], ids=["own", "part"])
def test_labels_of_sequences(form, make, loss):
    assert trained(make(), FORMS[form](Y), loss) == trained(make(), Y, loss)


@pytest.mark.parametrize("form", FORMS)
def test_labels_of_steps(form):
    expected = trained(net(True), TAGS, lengths=LENGTHS)
    y = FORMS[form](TAGS)
    if isinstance(y, list):  # of sequences, each as long as x is
        y = [row[:length] for row, length in zip(y, LENGTHS, strict=True)]
        x = [row[:length] for row, length in zip(X, LENGTHS, strict=True)]
        assert trained(net(True), y, x=x) == expected
        return
    assert trained(net(True), y, lengths=LENGTHS) == expected
    if y.dtype.kind == "f":
        for row, length in zip(y, LENGTHS, strict=True):
            row[length:] = np.nan  # what stands behind a length may be anything
        assert trained(net(True), y, lengths=LENGTHS) == expected


def test_labels_that_do_not_count_stay_so():
    tags = TAGS.copy()
    tags[:, 2] = -100
    assert trained(net(True), tags.astype(float)) == trained(net(True), tags)


@pytest.mark.parametrize("form", ["(N, 1)", "one-hot", "floats", "a list of rows"])
def test_balanced_weights_of_every_form(form):
    uneven = np.minimum(Y, 1) * 3
    want = trained(net(), uneven, class_weight="balanced")
    assert want != trained(net(), uneven)
    assert trained(net(), FORMS[form](uneven), class_weight="balanced") == want
    tags = np.minimum(TAGS, 1)
    if form != "a list of rows":
        steps = trained(net(True), tags, class_weight="balanced", lengths=LENGTHS)
        assert trained(net(True), FORMS[form](tags), class_weight="balanced", lengths=LENGTHS) == steps


@pytest.mark.parametrize("form", ["(N, 1)", "one-hot", "floats"])
@pytest.mark.parametrize("distribution", ["log_uniform", "unigram"])
def test_labels_of_a_sampled_loss(form, distribution):
    loss = pylstm.SampledSoftmax(2, distribution)
    assert trained(net(), FORMS[form](Y), loss) == trained(net(), Y, loss)


def test_numbers_that_the_model_gives_flat():
    """(N, steps, features) of a model that ends in one vector for all of them."""
    y = RNG.standard_normal((20, 2, 3)).astype("f")
    want = trained(net(out=6), y.reshape(20, 6), "mse")
    assert trained(net(out=6), y, "mse") == want
    assert trained(net(out=6), y.tolist(), "mse") == want
    assert trained(net(out=6), y > 0, "binary_cross_entropy") == trained(
        net(out=6), (y > 0).reshape(20, 6), "binary_cross_entropy"
    )
    steps = RNG.standard_normal((20, 6, 2, 2)).astype("f")
    flat = trained(net(True, 4), steps.reshape(20, 6, 4), "mse", lengths=LENGTHS)
    assert trained(net(True, 4), steps, "mse", lengths=LENGTHS) == flat


def test_numbers_per_step_and_columns():
    y = RNG.standard_normal((20, 6, 1)).astype("f")
    assert trained(net(True, 1), y, "mse") == trained(net(True, 1), y[..., 0], "mse")
    one = y[:, 0]
    want = trained(net(out=1), one, "mse")
    for same in (one[:, 0], one[:, :, None], one.tolist()):
        assert trained(net(out=1), same, "mse") == want


@pytest.mark.parametrize(
    ("y", "error", "text"),
    [
        (Y + 0.5, TypeError, "floats that are whole, got 0.5"),
        (np.zeros((20, 4)), ValueError, "one-hot"),
        (EYE[Y] * 0.5, ValueError, "one-hot"),
        (np.ones((20, 4)), ValueError, "one-hot"),
        (EYE[Y][:, :3], ValueError, r"one-hot, \(N, 4\), got shape \(20, 3\)"),
        (TAGS, ValueError, r"shape \(N,\).*got shape \(20, 6\)"),
        (np.full(20, 1e30), TypeError, "whole, got 1e"),
    ],
)
def test_what_is_no_label(y, error, text):
    for make in (net, Model):
        model = make()
        before = model.state_dict()
        with pytest.raises(error, match=text):
            model.fit(X, y, loss="cross_entropy", optimizer=pylstm.SGD(), batch_size=3, verbose=0)
        np.testing.assert_equal(model.state_dict(), before)


@pytest.mark.parametrize("y", [np.zeros((20, 3, 2)), np.zeros((20, 5)), np.zeros((20, 6, 4)), np.zeros((20, 24))])
def test_numbers_that_do_not_fit(y):
    with pytest.raises(ValueError, match="y must"):
        net(y.ndim != 3, 4).fit(X, y, loss="mse", optimizer=pylstm.SGD(), verbose=0)


def test_metrics_of_ones_own_are_given_labels():
    seen = []

    def metric(y, targets, lengths):  # noqa: ARG001
        seen.append((targets.dtype.kind, targets.shape == y.shape[:-1]))
        return 0.0

    net().fit(X, EYE[Y], loss="cross_entropy", metrics=[metric], optimizer=pylstm.SGD(), verbose=0)
    assert set(seen) == {("i", True)}


@pytest.mark.parametrize("form", [lambda y: y, lambda y: y.tolist(), list, lambda y: EYE[y].tolist()])
def test_padded_targets_as_lists(form):
    tags = TAGS.copy()
    tags[np.arange(6) >= LENGTHS[:, None]] = 0
    expected = trained(net(True), [row[:n] for row, n in zip(TAGS, LENGTHS, strict=True)], lengths=LENGTHS)
    assert trained(net(True), form(tags), lengths=LENGTHS) == expected
    with pytest.raises(ValueError, match=r"y\[1\] must have a target for each of the \d steps"):
        trained(net(True), [tags[0].tolist(), [0] * 7, *tags[2:].tolist()], lengths=LENGTHS)
