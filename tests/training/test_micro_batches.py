"""Batches that are computed in pieces: the gradient of the whole, in the memory of a piece."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import pylstm
from support.fits import fit, model, same_bits, sequences

L = partial(pylstm.LSTM, batch_first=True, dtype=np.float64)
RNG = np.random.default_rng(0)
X, LENGTHS = RNG.standard_normal((30, 6, 3)), RNG.integers(0, 7, 30)
LISTS = [one[: max(1, length)] for one, length in zip(X, LENGTHS, strict=True)]
LABELS = RNG.integers(0, 9, (30, 6))
LABELS[RNG.random((30, 6)) < 0.3] = -100  # not counted


def per_step(width):
    return pylstm.Sequential([L(3, 5), pylstm.Linear(5, width, dtype=np.float64)], seed=0)


def per_sequence(width):
    layers = [L(3, 5), pylstm.MeanOverTime(), pylstm.Linear(5, width, dtype=np.float64)]
    return pylstm.Sequential(layers, seed=0)


def symbols(width):
    layers = [pylstm.Embedding(7, 3, dtype=np.float64), L(3, 5), pylstm.LastStep()]
    return pylstm.Sequential([*layers, pylstm.Linear(5, width, dtype=np.float64)], seed=0)


class Two(pylstm.Model):
    keeps_time = False

    def __init__(self):
        self.embed, self.lstm = pylstm.Embedding(7, 3, dtype=np.float64, seed=0), L(3, 5, seed=1)
        self.one = pylstm.Linear(5, 1, dtype=np.float64, seed=2)

    def run(self, x, z):
        y, _ = self.lstm(self.embed(x))
        return self.one(y[:, -1]), (y[:, 0] * z).mean(axis=1)


def of_two(outputs, targets, lengths=None):  # noqa: ARG001
    a, b = outputs
    weight = 1.0 + len(a) ** 2 % 5  # whatever it is
    d = a - targets[0], b - targets[1]
    value = ((d[0] ** 2).sum() + (d[1] ** 2).sum()) / weight
    return value, (2 * d[0] / weight, 2 * d[1] / weight), weight


WEIGHTS = RNG.random((30, 6)) * (RNG.random((30, 6)) < 0.7)
GAPS = np.where(RNG.random((30, 6, 2)) < 0.3, np.nan, RNG.standard_normal((30, 6, 2)))


def nothing(outputs, targets, lengths):  # noqa: ARG001
    return 0.0


SYMBOLS = RNG.integers(0, 7, (30, 5))
CASES = {
    "ragged labels per step": (lambda: per_step(9), LISTS, [y[: len(x)] for x, y in zip(LISTS, LABELS, strict=True)],
                               {"loss": "cross_entropy"}),
    "weights of classes": (lambda: per_step(9), X, LABELS,
                           {"loss": "cross_entropy", "lengths": LENGTHS, "class_weight": {0: 7.0, 3: 0.0, 5: 2.5}}),
    "outputs computed": (lambda: per_step(9), X, LABELS,
                         {"loss": "cross_entropy", "metrics": [nothing], "class_weight": {1: 3.0}}),
    "smoothing": (lambda: per_step(9), X, LABELS, {"loss": partial(pylstm.cross_entropy, label_smoothing=0.2)}),
    "yes or no": (lambda: per_sequence(1), LISTS, np.arange(30) % 2,
                  {"loss": "binary_cross_entropy", "class_weight": "balanced"}),
    "numbers, masked": (lambda: per_step(2), X, RNG.standard_normal((30, 6, 2)), {"loss": "mse", "lengths": LENGTHS}),
    "rows of a table": (lambda: symbols(3), SYMBOLS, np.arange(30) % 3, {"loss": "cross_entropy"}),
    "weights of samples": (lambda: per_sequence(3), LISTS, np.arange(30) % 3,
                           {"loss": "cross_entropy", "sample_weight": WEIGHTS[:, 0], "class_weight": {1: 3.0}}),
    "weights of steps": (lambda: per_step(9), X, LABELS,
                         {"loss": "cross_entropy", "sample_weight": WEIGHTS, "lengths": LENGTHS}),
    "missing numbers": (lambda: per_step(2), X, GAPS, {"loss": "huber", "missing": "nan"}),
    "weights of a partial": (lambda: per_step(9), X, LABELS,
                             {"loss": partial(pylstm.cross_entropy, ignore_index=-100), "sample_weight": WEIGHTS}),
    "a partial of numbers": (lambda: per_step(2), X, np.nan_to_num(GAPS),
                             {"loss": partial(pylstm.huber, delta=0.5), "lengths": LENGTHS}),
    "several outputs": (Two, (SYMBOLS, RNG.standard_normal((30, 5))), (X[:, 0, :1], X[:, 1, 0]), {"loss": of_two}),
}  # fmt: skip


def steps_of(case, size=None, **more):
    make, x, y, options = CASES[case]
    net = make()
    before = net.state_dict()
    history = net.fit(x, y, optimizer=pylstm.SGD(1.0), batch_size=12, micro_batch_size=size, shuffle=False, seed=0,
                      verbose=0, **{**options, **more})  # fmt: skip
    return {name: value - before[name] for name, value in net.params.items()}, history


@pytest.mark.parametrize("case", CASES)
def test_pieces_have_the_gradient_of_the_batch(case):
    want, history = steps_of(case)
    for size in (1, 5, 11):
        if case == "several outputs":  # whose weight depends on the batch: the mean over all
            continue
        got, figures = steps_of(case, size)
        for name, value in want.items():
            np.testing.assert_allclose(got[name], value, rtol=1e-11, atol=1e-13)
        near = 1e-12
        if type(CASES[case][3]["loss"]) is partial:  # figures are averaged by sequences, over pieces then
            near = 0.2 if "lengths" in CASES[case][3] else 1e-2
        assert figures["loss"] == pytest.approx(history["loss"], rel=near)
    for size in (12, 100):
        got, figures = steps_of(case, size)
        assert all(value.tobytes() == got[name].tobytes() for name, value in want.items())
        assert figures["loss"] == history["loss"]


def test_weights_of_a_loss_of_ones_own_weigh_the_pieces():
    """By central differences: of the sum of what the pieces' losses are times their weights, over all weights."""
    make, x, y, options = CASES["several outputs"]
    got, _ = steps_of("several outputs", 5, clip_norm=None)
    net = make()

    def mean(first):
        rows = [slice(0, 5), slice(5, 10), slice(10, 12)] if first else []
        total = weight = 0.0
        for own in rows:
            found = of_two(net(x[0][own], x[1][own]), (y[0][own], y[1][own]))
            total, weight = total + found[0] * found[2], weight + found[2]
        return total / weight

    net.fit(tuple(a[:12] for a in x), tuple(a[:12] for a in y), optimizer=pylstm.SGD(1.0), batch_size=12,
            micro_batch_size=5, shuffle=False, verbose=0, **options)  # fmt: skip
    after = net.state_dict()
    net = make()
    values = net.state_dict()
    rng = np.random.default_rng(1)
    for name, value in values.items():
        direction = rng.standard_normal(value.shape)
        found = []
        for step in (1e-6, -1e-6):
            net.load_state_dict({**values, name: value + step * direction})
            found.append(mean(True))
        want = ((value - after[name]) * direction).sum()
        assert (found[0] - found[1]) / 2e-6 == pytest.approx(want, rel=1e-5, abs=1e-8)
    assert got.keys() == values.keys()


def test_no_more_than_a_piece_is_computed_at_once(monkeypatch):
    seen = []
    for name in ("_train", "_infer"):
        inner = getattr(pylstm.LSTM, name)
        monkeypatch.setattr(pylstm.LSTM, name, lambda *a, _f=inner: seen.append(a[1].shape[1]) or _f(*a))
    x, y, _ = sequences()
    fit(model(), x, y, batch_size=64, micro_batch_size=7, validation_data=(x, y), epochs=1)
    assert max(seen) == 7
    assert sum(seen) == 2 * len(x)


def test_pieces_are_as_long_as_their_own_longest(monkeypatch):
    seen = []
    inner = pylstm.LSTM._train
    monkeypatch.setattr(pylstm.LSTM, "_train", lambda *a: seen.append(a[1].shape[0]) or inner(*a))
    x, y, _ = sequences()
    fit(model(), x, y, batch_size=len(x), micro_batch_size=10, epochs=1)
    assert sorted(seen) != [max(seen)] * len(seen)


@pytest.mark.parametrize("threads", [2, 3])
def test_the_same_seed_gives_the_same_bits_for_any_number_of_threads(threads):
    x, y, _ = sequences()

    def trained(number):
        before = pylstm.get_num_threads()
        pylstm.set_num_threads(number)
        try:
            net = model()
            fit(net, x, y, batch_size=16, micro_batch_size=5, clip_norm=0.5)
        finally:
            pylstm.set_num_threads(before)
        return net

    assert same_bits(trained(1), trained(threads))


def test_resumed_training_is_as_if_never_interrupted(tmp_path):
    x, y, _ = sequences()

    def trained(epochs, **options):
        net = model()
        fit(
            net,
            x,
            y,
            epochs=epochs,
            micro_batch_size=5,
            callbacks=[pylstm.ModelCheckpoint(tmp_path / "c.npz")],
            **options,
        )
        return net

    straight = trained(4)
    trained(2)
    assert same_bits(straight, trained(4, resume="auto"))


@pytest.mark.parametrize("case", ["weights of classes", "smoothing"])
def test_processes_add_up_what_their_pieces_have(case):
    want, _ = steps_of(case)
    asked = []

    def reduce(grads, weight):
        asked.append(weight)
        return grads, weight

    got, _ = steps_of(case, 5, reduce=reduce)
    assert len(asked) == 3  # once a batch
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-11, atol=1e-13)


def test_a_piece_that_is_not_finite_leaves_the_model_as_before_the_batch():
    x, y, _ = sequences(count=16)
    x, net = [one for one in x if len(one)], model()
    before, masks = net.state_dict(), net._dropout_state()
    calls = []

    def loss(output, targets, lengths=None):  # noqa: ARG001
        calls.append(len(output))
        return (np.nan if len(calls) == 3 else 1.0), output * 0 + 1.0

    with pytest.raises(FloatingPointError, match="the model is as before that batch"):
        net.fit(x, y, loss=loss, optimizer=pylstm.Adam(), batch_size=16, micro_batch_size=5, verbose=0)
    assert calls == [5, 5, 5]
    assert all(value.tobytes() == before[name].tobytes() for name, value in net.params.items())
    assert net._dropout_state() == masks


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "4", True, [4]])
def test_wrong_sizes_are_refused(wrong):
    x, y, _ = sequences()
    with pytest.raises((TypeError, ValueError), match="micro_batch_size"):
        fit(model(), x, y, micro_batch_size=wrong)


def test_pieces_of_steps_are_no_pieces_of_batches():
    x, _, y = sequences()
    with pytest.raises(ValueError, match="micro_batch_size and truncate: only one of them"):
        fit(model(per_step=True), x, y, per_step=True, truncate=3, micro_batch_size=5)
