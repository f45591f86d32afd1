"""What users hand over in another form than is asked for, or in other units: an error that says what to do, before
anything is trained; and warnings, at their own line."""

from __future__ import annotations

import inspect
import re
import warnings

import numpy as np
import pytest

import pylstm

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((6, 5, 3)), RNG.standard_normal((6, 2))


def net(*front):
    return pylstm.Sequential([
        *front, pylstm.LSTM(3, 4, batch_first=True), pylstm.LastStep(), pylstm.Linear(4, 2)
    ], seed=0)  # fmt: skip


def long_kernel(**options):
    return net(pylstm.Conv1d(3, 3, 7, **options))


# ---- a convolution that leaves nothing -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["array", "lengths", "list", "validation"])
def test_a_kernel_that_is_longer_than_all_sequences(form):
    model, options, data = long_kernel(), {"loss": "mse", "verbose": 0}, (X, Y)
    if form == "lengths":
        data, options["lengths"] = (np.pad(X, [(0, 0), (0, 4), (0, 0)]), Y), [5] * 6
    elif form == "list":
        data = [row[: 3 + i % 3] for i, row in enumerate(X)], Y
    elif form == "validation":
        data, options["validation_data"] = (np.concatenate([X, X], axis=1), Y), data
    before = {name: value.copy() for name, value in model.params.items()}
    with pytest.raises(
        ValueError, match=r"Conv1d\(3, 3, 7\) leaves no step of any sequence, of which the longest has 5"
    ):
        model.fit(*data, **options)
    assert all((model.params[name] == value).all() for name, value in before.items())


def test_one_sequence_that_is_long_enough_or_padding_will_do():
    rows = [row[:4] for row in X[:-1]] + [np.concatenate([X[-1], X[-1]])]
    assert long_kernel().fit(rows, Y, loss="mse", verbose=0)["loss"][0] > 0
    assert long_kernel(padding=3).fit(X, Y, loss="mse", verbose=0)["loss"][0] > 0
    assert long_kernel(causal=True).fit(X, Y, loss="mse", verbose=0)["loss"][0] > 0


# ---- validation in batches -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("form", [tuple, dict])
def test_validation_data_may_be_a_list_of_batches(count, form):
    parts = [{"x": x, "y": y} for x, y in zip(np.split(X, count), np.split(Y, count), strict=True)]
    batches = [tuple(part.values()) if form is tuple else part for part in parts]
    model, options = net(), {"loss": "mse", "verbose": 0, "optimizer": pylstm.SGD(0.0)}
    expected = model.fit(X, Y, validation_data=(X, Y), **options)["val_loss"]
    assert model.fit(X, Y, validation_data=batches, **options)["val_loss"] == pytest.approx(expected, rel=1e-5)


def test_of_a_translator_too():
    model = translator()
    batches = [(SOURCES[:2], SOURCES[:2]), (SOURCES[2:], SOURCES[2:])]
    whole, parts = (
        model.fit(SOURCES, SOURCES, validation_data=data, verbose=0, optimizer=pylstm.SGD(0.0))["val_loss"][0]
        for data in ((SOURCES, SOURCES), batches)
    )
    assert parts == pytest.approx(whole, rel=1e-5)


def test_x_and_y_in_a_list_stay_x_and_y():
    model, options = net(), {"loss": "mse", "verbose": 0, "optimizer": pylstm.SGD(0.0)}
    expected = model.fit(X, Y, validation_data=(X, Y), **options)["val_loss"]
    for pair in ([X, Y], [tuple(X), Y], [tuple(X), tuple(Y)]):
        assert model.fit(X, Y, validation_data=pair, **options)["val_loss"] == pytest.approx(expected, rel=1e-5)


class Two(pylstm.Model):
    keeps_time = False

    def __init__(self):
        self.a, self.b = pylstm.Linear(5, 2, seed=0), pylstm.Linear(5, 2, seed=1)

    def run(self, x, z):
        return self.a(x), self.b(z)


def squares(outputs, targets, lengths=None):  # noqa: ARG001
    return sum(((output - target) ** 2).mean() for output, target in zip(outputs, targets, strict=True))


def test_several_inputs_and_targets_in_a_list_stay_those():
    """Two tuples of a model of several inputs may be either: they are what they always were."""
    x, y, model = X[:, :, 0], Y, Two()
    options = {"loss": squares, "verbose": 0, "optimizer": pylstm.SGD(0.0), "metrics": []}
    data = (x, 2 * x), (y, 2 * y)
    expected = model.fit(*data, validation_data=data, **options)["val_loss"]
    assert model.fit(*data, validation_data=list(data), **options)["val_loss"] == expected
    with pytest.raises((TypeError, ValueError), match="validation_data: "):
        model.fit(*data, validation_data=[data, data], **options)
    for batches in ([data] * 4, lambda: iter([data, data])):
        assert model.fit(*data, validation_data=batches, **options)["val_loss"] == pytest.approx(expected)


class One(Two):
    def run(self, x):
        return self.a(x)


def test_of_a_model_of_one_input_they_are_batches():
    x, y, model = X[:, :, 0], Y, One()
    options = {"loss": "mse", "verbose": 0, "optimizer": pylstm.SGD(0.0)}
    expected = model.fit(x, y, validation_data=(x, y), **options)["val_loss"]
    found = model.fit(x, y, validation_data=[(x[:3], y[:3]), (x[3:], y[3:])], **options)["val_loss"]
    assert found == pytest.approx(expected)


# ---- layers one by one -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [pylstm.Sequential, pylstm.Residual, pylstm.Columns])
def test_layers_stand_in_a_list(kind):
    layers = pylstm.LSTM(4, 4, batch_first=True), pylstm.Linear(4, 4)
    said = f"layers must be given in one list: {kind.__name__}([..]), got LSTM, Linear one by one"
    with pytest.raises(TypeError, match=re.escape(said)):
        kind(*layers)
    with pytest.raises(TypeError, match=r"got LSTM, Linear, Linear, Linear, \.\. one by one"):
        kind(*layers, *[layers[1]] * 3)
    assert repr(kind(list(layers))).startswith(f"{kind.__name__}([LSTM(4, 4")


# ---- weights of a loss -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [1e308, 1e-300, np.inf, np.nan, -1.0])
def test_weights_whose_sums_would_not_be_numbers(weight):
    """As fit has always had it."""
    calls = [
        lambda w: pylstm.mse(np.zeros((2, 3)), np.ones((2, 3)), sample_weight=w),
        lambda w: pylstm.cross_entropy(np.zeros((2, 3)), [0, 1], sample_weight=w),
        lambda w: pylstm.ctc_loss(np.zeros((2, 3, 2)), [[1], [1]], sample_weight=w),
        lambda w: pylstm.CrossEntropy()(np.zeros((2, 3)), [0, 1], sample_weight=w),
        lambda w: net().fit(X[:2], Y[:2], loss="mse", sample_weight=w, verbose=0),
    ]
    for call in calls:
        with pytest.raises(
            ValueError, match=r"sample_weight must hold finite numbers from 0, above it in 1e-20\.\.1e\+20"
        ):
            call([1.0, weight])
    for call in calls[:-1]:
        value, gradient = call([1e20, 0.0])
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


# ---- a translator ----------------------------------------------------------------------------------------------------

SOURCES = [[2, 3], [4], [5, 2, 3], [3]]


def translator():
    return pylstm.EncoderDecoder(
        [pylstm.Embedding(8, 4), pylstm.LSTM(4, 6, batch_first=True)],
        [pylstm.Embedding(8, 4), pylstm.LSTM(4, 6, batch_first=True), pylstm.Linear(6, 8)],
        begin=0, end=1, seed=0,
    )  # fmt: skip


@pytest.mark.parametrize("loss", ["mse", "mae", pylstm.Huber(2.0)])
def test_a_translator_and_a_loss_of_numbers(loss):
    with pytest.raises(
        ValueError, match="loss must be of labels, such as 'cross_entropy': EncoderDecoder gives logits"
    ):
        translator().fit(SOURCES, SOURCES, loss=loss, verbose=0)


def test_errors_of_a_translator_say_targets():
    with pytest.raises(ValueError, match="targets holds nothing but 1, the label that does not count"):
        translator().fit(SOURCES, [[]] * 4, loss=pylstm.CrossEntropy(ignore_index=1), verbose=0)


# ---- where warnings point --------------------------------------------------------------------------------------------


def line_of(call):
    """Where in this file `call`, a function of one line, warns; and what it says."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        call()
    return {(one.filename, one.lineno) for one in told}, [str(one.message) for one in told]


def test_warnings_point_at_the_line_of_the_user(tmp_path):
    path = tmp_path / "m.npz"
    checkpoint = pylstm.ModelCheckpoint(path)
    translator().fit(SOURCES, SOURCES, callbacks=[checkpoint], verbose=0)
    net().fit(X, Y, loss="mse", callbacks=[pylstm.ModelCheckpoint(tmp_path / "n.npz")], verbose=0)
    two = {"epochs": 2, "optimizer": pylstm.Adam(0.5), "verbose": 0}
    sigmoid = pylstm.Sequential([pylstm.Linear(3, 1), pylstm.Activation("sigmoid")])
    calls = [
        lambda: translator().fit(SOURCES, SOURCES, resume=path, callbacks=[checkpoint], **two),
        lambda: translator().fit(SOURCES, SOURCES, resume=path, scheduled_sampling=0.1, callbacks=[checkpoint], **two),
        lambda: net().fit(X, Y, loss="mse", resume=tmp_path / "n.npz", **two),
        lambda: sigmoid.fit(X[:, 0], Y[:, :1] > 0, loss="binary_cross_entropy", verbose=0),
        lambda: pylstm.LSTM(3, 4, dropout=0.5),
    ]
    for call in calls:
        places, texts = line_of(call)
        assert texts
        assert places == {(__file__, inspect.getsourcelines(call)[1])}, texts
