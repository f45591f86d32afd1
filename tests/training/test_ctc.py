"""Training with loss "ctc": labels without places."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import pylstm
from pylstm.training.scores import edit_distance


def digit_strings(count, seed, digits=4, features=6):
    """Strings of digits 1..`digits` as noisy frames: each digit some frames of its own, with pauses between some."""
    rng = np.random.default_rng(seed)
    looks = np.random.default_rng(99).standard_normal((digits + 1, features)) * 1.5
    looks[0] = 0
    x, y = [], []
    for _ in range(count):
        labels = rng.integers(1, digits + 1, rng.integers(1, 5))
        parts = [np.zeros((rng.integers(1, 3), features))]
        for label in labels:
            parts += [np.repeat(looks[label : label + 1], rng.integers(2, 5), axis=0)]
            parts += [np.zeros((rng.integers(1, 3), features))]
        frames = np.concatenate(parts)
        x.append((frames + 0.15 * rng.standard_normal(frames.shape)).astype(np.float32))
        y.append(labels.tolist())
    return x, y


def net(features=6, classes=5, seed=0, size=24):
    layers = [pylstm.LSTM(features, size, bidirectional=True, batch_first=True), pylstm.Linear(2 * size, classes)]
    return pylstm.Sequential(layers, seed=seed)


def test_digit_strings_are_learnt_out_of_noisy_frames():
    x, y = digit_strings(200, 0)
    model = net()
    history = model.fit(
        x, y, loss="ctc", optimizer=pylstm.Adam(1e-2), epochs=25, batch_size=16, metrics=["label_error_rate"],
        validation_split=0.1, clip_norm=5.0, seed=1, verbose=0,
    )  # fmt: skip
    assert history["loss"][-1] < 0.05 < history["loss"][0]
    assert history["val_label_error_rate"][-1] == 0
    unseen, right = digit_strings(50, 5)
    assert model.evaluate(unseen, right)["label_error_rate"] == 0
    assert pylstm.ctc_decode(model.predict(unseen)) == right
    assert pylstm.ctc_decode(model.predict(unseen), beam_size=4) == right


def small(seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(6, 12, 10)
    x = [rng.standard_normal((length, 3)).astype(np.float32) for length in lengths]
    y = [rng.integers(1, 4, rng.integers(0, 4)).tolist() for _ in lengths]
    return x, y


def padded(items, kind):
    lengths = np.array([len(item) for item in items])
    first = np.asarray(items[int(lengths.argmax())])
    array = np.full((len(items), lengths.max(), *first.shape[1:]), -7, kind)
    for row, item in zip(array, items, strict=True):
        row[: len(item)] = item
    return array, lengths


def trained(x, y, loss="ctc", **options):
    model = net(3, 4, size=5)
    options = {"epochs": 3, "batch_size": 4, "seed": 3, "verbose": 0, "optimizer": pylstm.Adam(1e-2), **options}
    history = model.fit(x, y, loss=loss, **options)
    return model, history


def weights(model):
    return b"".join(value.tobytes() for value in model.state_dict().values())


def test_forms_of_targets_train_to_the_same_bits():
    x, y = small()
    want = weights(trained(x, y)[0])
    array, lengths = padded(y, np.int64)
    x_array, x_lengths = padded(x, np.float32)
    for targets, options in (
        ([tuple(one) for one in y], {}), ([np.array(one, np.int16) for one in y], {}),
        (array, {"target_lengths": lengths}), (array.astype(np.float32), {"target_lengths": lengths}),
    ):  # fmt: skip
        assert weights(trained(x, targets, **options)[0]) == want
    assert weights(trained(x_array, y, lengths=x_lengths)[0]) == want
    for loss in (pylstm.ctc_loss, pylstm.CTC(), pylstm.CTC(zero_infinity=True)):
        assert weights(trained(x, y, loss)[0]) == want
    for options in ({}, {"blank": 0}):
        model, history = trained(x, y, partial(pylstm.ctc_loss, **options), metrics=[])
        assert np.isfinite(history["loss"]).all()
        assert weights(model) == want
    whole = [[1, 2], [3, 1]] * 5
    assert weights(trained(x, whole)[0]) == weights(trained(x, np.array(whole))[0])


def test_the_loss_and_the_metric_are_those_of_the_whole_set():
    x, y = small()
    model, history = trained(x, y, metrics=["label_error_rate"], validation_data=(x, y))
    outputs = model.predict(x)
    losses = [pylstm.ctc_loss(one[None], [target])[0] for one, target in zip(outputs, y, strict=True)]
    found = pylstm.ctc_decode(outputs)
    errors = [edit_distance(a, np.array(b)) for a, b in zip(found, y, strict=True)]
    figures = model.evaluate(x, y, batch_size=3)
    np.testing.assert_allclose(figures["loss"], np.mean(losses), rtol=1e-6)
    np.testing.assert_allclose(figures["label_error_rate"], sum(errors) / sum(map(len, y)), rtol=1e-12)
    np.testing.assert_allclose(history["val_loss"][-1], np.mean(losses), rtol=1e-6)
    each = np.arange(10.0)
    figures = model.evaluate(x, y, sample_weight=each)
    np.testing.assert_allclose(figures["loss"], np.average(losses, weights=each), rtol=1e-6)
    labels = np.array([len(one) for one in y])
    np.testing.assert_allclose(figures["label_error_rate"], each @ errors / (each @ labels), rtol=1e-12)
    seen = []
    model.evaluate(x, y, metrics=[lambda _, targets, __: seen.append([one.tolist() for one in targets]) or 0.0])
    assert sorted(seen[0]) == sorted(y)


def test_edit_distances():
    def plain(a, b):
        if not a or not b:
            return len(a) + len(b)
        return min(plain(a[1:], b) + 1, plain(a, b[1:]) + 1, plain(a[1:], b[1:]) + (a[0] != b[0]))

    rng = np.random.default_rng(0)
    for _ in range(60):
        a, b = (rng.integers(1, 3, rng.integers(0, 6)).tolist() for _ in range(2))
        assert edit_distance(a, np.array(b, np.int64)) == plain(a, b)


def test_pieces_and_weights_have_the_gradient_of_the_batch():
    x, y = small()
    wide = [one.astype(np.float64) for one in x]
    each = np.random.default_rng(1).random(10)

    def after(x, y, **options):
        layers = [pylstm.GRU(3, 4, batch_first=True, dtype="float64"), pylstm.Linear(4, 4, dtype="float64")]
        model = pylstm.Sequential(layers, seed=0)
        model.fit(x, y, loss="ctc", epochs=1, batch_size=100, optimizer=pylstm.SGD(1.0), verbose=0, **options)
        return model.state_dict()

    whole, pieces = after(wide, y, sample_weight=each), after(wide, y, sample_weight=each, micro_batch_size=3)
    for name, value in whole.items():
        np.testing.assert_allclose(pieces[name], value, atol=1e-12)
    repeated = after([*wide, wide[2]], [*y, y[2]])
    double = np.ones(10)
    double[2] = 2
    for name, value in after(wide, y, sample_weight=double).items():
        np.testing.assert_allclose(repeated[name], value, atol=1e-12)


def test_blank_and_options_are_saved_with_the_model(tmp_path):
    x, y = small()
    y = [[label - 1 for label in one] for one in y]
    model, _ = trained(x, y, pylstm.CTC(blank=3), metrics=["label_error_rate"])
    model.save(tmp_path / "m.npz")
    again = pylstm.load(tmp_path / "m.npz")
    assert again.evaluate(x, y) == model.evaluate(x, y)
    assert set(again.evaluate(x, y)) == {"loss", "label_error_rate"}
    model, _ = trained(*small())
    model.save(tmp_path / "n.npz")
    assert pylstm.load(tmp_path / "n.npz").evaluate(*small()) == model.evaluate(*small())


def test_loss_objects():
    z = np.random.default_rng(0).standard_normal((2, 6, 4))
    value, gradient = pylstm.CTC(blank=3, zero_infinity=True)(z, [[1, 0], [2] * 5])
    want = pylstm.ctc_loss(z, [[1, 0], [2] * 5], blank=3, zero_infinity=True)
    assert value == want[0]
    assert np.array_equal(gradient, want[1])
    found = pylstm.CTC()(z, np.array([[1, 2], [3, 3]]), lengths=[6, 5], target_lengths=[1, 2], sample_weight=[1, 2])
    want = pylstm.ctc_loss(z, np.array([[1, 2], [3, 3]]), [6, 5], [1, 2], sample_weight=[1, 2])
    assert found[0] == want[0]
    assert pylstm.CTC(3) == pylstm.CTC(blank=3) != pylstm.CTC()
    assert repr(pylstm.CTC()) == "CTC(blank=0, zero_infinity=False)"


def test_targets_that_do_not_fit_into_their_input():
    x, y = small()
    y[4] = [1, 1, 2, 2, 3, 3, 1, 1]
    before = net(3, 4, size=5)
    model = net(3, 4, size=5)
    with pytest.raises(ValueError, match=r"y\[4\] has 8 labels and 4 pairs .* at least 12 steps.*zero_infinity"):
        model.fit(x, y, loss="ctc", verbose=0)
    assert weights(model) == weights(before)
    with pytest.raises(ValueError, match=r"validation_data: y\[4\] has 8 labels"):
        model.fit(*small(), loss="ctc", validation_data=(x, y), verbose=0)
    assert weights(model) == weights(before)
    model, history = trained(x, y, pylstm.CTC(zero_infinity=True))
    assert np.isfinite(history["loss"]).all()
    counts = np.ones(10)
    counts[4] = 0
    assert np.isfinite(trained(x, y, sample_weight=counts)[1]["loss"]).all()
    assert model.evaluate(x, y, loss="ctc")["loss"] == np.inf
    x_array, lengths = padded(x, np.float32)
    with pytest.raises(ValueError, match=r"y\[4\] has 8 labels"):
        model.fit(x_array, y, lengths=lengths, loss="ctc", verbose=0)
    with pytest.raises(ValueError, match=r"y\[0\] has 12 labels, which need at least 12 steps.* has 11"):
        model.fit(x_array[:, :11], [[1, 2] * 6] * 10, loss="ctc", verbose=0)


X = [np.zeros((6, 3), np.float32)] * 2
WRONG = [
    ([[1], [4]], {}, ValueError, r"0..3 but the blank 0.* got 4 in y\[1\] at place 0"),
    ([[1], [2, 0]], {}, ValueError, r"got the blank, 0 in y\[1\] at place 1"),
    ([[-1], [2]], {}, ValueError, r"got -1 in y\[0\]"),
    ([[1], [2.5]], {}, TypeError, r"2.5 of dtype float64 in y\[1\]"),
    ([[1]], {}, ValueError, "x holds 2 sequences and y 1"),
    ([1, 2], {}, ValueError, "y must hold a sequence of labels for each input"),
    ([[[1]], [[1]]], {}, ValueError, "y must hold a sequence of labels"),
    ([["a"], ["b"]], {}, TypeError, "y"),
    (np.array([[1, 2], [1, 4]]), {}, ValueError, r"got 4 in y\[1\] at place 1"),
    (np.array([[1, 2], [1, 4]]), {"target_lengths": [3, 1]}, ValueError, "lengths must lie in 0..2"),
    ([[1], [2]], {"loss": pylstm.CTC(blank=4)}, ValueError, "blank must be a class in 0..3, got 4"),
    ([[1], [2]], {"class_weight": {1: 2.0}}, ValueError, "class_weight is for classification"),
    ([[1], [2]], {"sample_weight": [[1.0], [1.0, 2.0]]}, ValueError, "sample_weight must hold a number per sequence"),
    ([[1], [2]], {"missing": "nan"}, ValueError, "missing"),
    ([[1], [2]], {"truncate": 3}, ValueError, "truncate needs a target for each step"),
    ([[1], [2]], {"metrics": ["accuracy"]}, ValueError, "accuracy, of metrics"),
    ([[1], [2]], {"metrics": ["mse"]}, ValueError, "mse, of metrics"),
    ([[1], [2]], {"metrics": ["cer"]}, ValueError, "did you mean 'label_error_rate'"),
    ([[1], [2]], {"loss": "CTC"}, ValueError, "did you mean 'ctc'"),
    ([[1], [2]], {"loss": pylstm.CTC}, TypeError, "call it"),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(WRONG)))
def test_wrong_arguments_are_named_and_nothing_is_trained(case):
    y, options, kind, message = WRONG[case]
    model = net(3, 4, size=5)
    before = weights(model)
    with pytest.raises(kind, match=message):
        model.fit(X, y, verbose=0, **{"loss": "ctc", **options})
    assert weights(model) == before


def test_what_else_is_refused():
    with pytest.raises(ValueError, match="label_error_rate, of metrics, needs the loss ctc"):
        net(3, 4).fit(X, [[0] * 6] * 2, loss="cross_entropy", metrics=["label_error_rate"], verbose=0)
    pooled = pylstm.Sequential([pylstm.LSTM(3, 4, batch_first=True), pylstm.LastStep(), pylstm.Linear(4, 4)])
    with pytest.raises(ValueError, match=r"ctc needs an output \(N, T, C\)"):
        pooled.fit(X, [[1], [2]], loss="ctc", verbose=0)
    model, _ = trained(X, [[1], [2]])
    with pytest.raises(ValueError, match="ctc_decode"):
        model.predict_classes(X)
    for wrong in ({"blank": -1}, {"blank": 2**70}):
        with pytest.raises(ValueError, match="blank"):
            pylstm.CTC(**wrong)
    with pytest.raises(TypeError, match="zero_infinity"):
        pylstm.CTC(zero_infinity=None)


class Halved(pylstm.Model):
    """Two steps in one, as a convolution with a stride makes them; the lengths of its outputs are its own."""

    keeps_time = True

    def __init__(self):
        self.lstm, self.head = pylstm.LSTM(6, 8, batch_first=True), pylstm.Linear(8, 4)

    def run(self, x, lengths=None):
        pairs = x.reshape(x.shape[0], -1, 6)
        return self.head(self.lstm(pairs, lengths=None if lengths is None else (lengths + 1) // 2)[0])

    def output_lengths(self, lengths):
        return None if lengths is None else (lengths + 1) // 2


def test_outputs_that_are_shorter_than_their_input():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 10, 3)).astype(np.float32)
    lengths = np.array([10, 9, 7, 10, 8, 6])
    y = [[1, 2], [3, 1, 2], [], [1, 2, 3, 1, 2], [2], [3, 3]]
    model = Halved()
    # NumPy's own reshape of plain arrays, values of a run, and batches of an even number of steps
    history = model.fit(x, y, lengths=lengths, loss="ctc", epochs=2, batch_size=6, verbose=0, seed=0)
    assert np.isfinite(history["loss"]).all()
    y[5] = [3, 3, 1]  # 4 of 3 steps
    with pytest.raises(ValueError, match=r"y\[5\] has 3 labels and 1 pair .* has 3"):
        model.fit(x, y, lengths=lengths, loss="ctc", epochs=2, batch_size=6, verbose=0)


def test_batches_that_come_one_by_one():
    x, y = small()

    def batches():
        for start in range(0, 10, 4):
            yield x[start : start + 4], y[start : start + 4]

    model = net(3, 4, size=5)
    history = model.fit(batches, loss="ctc", epochs=2, metrics=["label_error_rate"], verbose=0)
    assert np.isfinite(history["loss"]).all()

    def wrong():
        yield x[:4], y[:4]
        yield x[4:8], [[1], [2], [9], [1]]

    with pytest.raises(ValueError, match=r"batch 2.*got 9 in y\[2\]"):
        model.fit(wrong, loss="ctc", epochs=1, verbose=0)
