"""Data that come batch by batch, from functions and iterables; and arrays that stay in their file."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import pylstm
from support.batches import LENGTHS, SIZE, X, Y, batches, chain, fitted, whole

RNG = np.random.default_rng(1)


class Pairs:
    """As a Dataset is often written."""

    def __len__(self):
        return -(-len(X) // SIZE)

    def __getitem__(self, i):
        if not 0 <= i < len(self):
            raise RuntimeError("nobody asks for this")
        part = slice(i * SIZE, (i + 1) * SIZE)
        return X[part], Y[part]


class Loader:
    def __init__(self, length=None):
        if length is not None:
            self.__class__ = type("Loader", (Loader,), {"__len__": lambda _: length})

    def __iter__(self):
        return map(list, batches())


FORMS = {
    "a function": lambda: batches,
    "a method": lambda: Loader().__iter__,
    "a class": lambda: Loader,
    "a list": lambda: [*batches()],
    "an object to go through": Loader,
    "an object of a length": lambda: Loader(5),
    "an object with places": Pairs,
    "a function that returns a list": lambda: lambda: [*batches()],
    "dicts": lambda: lambda: ({"x": x, "y": y} for x, y in batches()),
    "lists of sequences": lambda: lambda: ((list(x), list(y)) for x, y in batches()),
}


@pytest.mark.parametrize("form", FORMS)
def test_batches_are_trained_on_as_they_come(form):
    """The bits of training on all data in the same order; evaluation and predictions, too."""
    options = {"epochs": 3, "metrics": ["accuracy"]}
    given, one, other = FORMS[form](), chain(), chain()
    history = fitted(one, given, validation_data=None if isinstance(given, list) else given, **options)
    expected = whole(other, X, Y, validation_data=(X, Y), **options)
    assert history["loss"] == expected["loss"]
    assert all(np.array_equal(value, other.params[name]) for name, value in one.params.items())
    if not isinstance(given, list):
        assert history["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-6)
    assert one.evaluate(given) == pytest.approx(other.evaluate(X, Y), rel=1e-6)
    if not isinstance(given, list):
        assert np.array_equal(one.predict(given), other.predict(X))
        assert np.array_equal(one.predict_classes(given), other.predict_classes(X))


def test_the_size_of_a_batch_is_its_own():
    sizes = []

    class Sizes(pylstm.Model):
        def __init__(self):
            self.lstm, self.head = pylstm.LSTM(3, 4, batch_first=True), pylstm.Linear(4, 2)

        def run(self, x):
            sizes.append(len(x))
            return self.head(self.lstm(x)[0][:, -1])

    model = Sizes()
    fitted(model, lambda: ((X[:n], Y[:n]) for n in (3, 50, 1, 7)), batch_size=2)
    assert sizes == [3, 3, 50, 1, 7]  # the look at the first, and four updates


def test_batches_in_pieces():
    one, other = chain(0), chain(0)
    history = fitted(one, lambda: iter([(X, Y)]), micro_batch_size=40, epochs=2)
    assert history["loss"] == whole(other, X, Y, batch_size=70, micro_batch_size=40, epochs=2)["loss"]
    assert np.array_equal(one.predict(X), other.predict(X))


def test_lengths_come_with_the_batches():
    def padded():
        for i in range(0, len(X), SIZE):
            part = slice(i, i + SIZE)
            yield X[part, : LENGTHS[part].max()], Y[part], LENGTHS[part]

    def lists():
        for x, y, lengths in padded():
            yield [row[:n] for row, n in zip(x, lengths, strict=True)], y

    models = [chain() for _ in range(3)]
    losses = [fitted(models[0], padded, epochs=2)["loss"], fitted(models[1], lists, epochs=2)["loss"],
              whole(models[2], X, Y, lengths=LENGTHS, epochs=2)["loss"]]  # fmt: skip
    assert losses[0] == losses[1] == losses[2]
    found = [models[0].predict(padded), models[1].predict(lists), models[2].predict(X, lengths=LENGTHS)]
    assert np.array_equal(found[0], found[2])
    assert np.array_equal(found[1], found[2])


def test_predictions_per_step_are_those_of_all_data():
    model = pylstm.Sequential([pylstm.GRU(3, 4, batch_first=True), pylstm.Linear(4, 2)], seed=0)
    parts = [slice(i, i + SIZE) for i in range(0, len(X), SIZE)]
    plain = model.predict(lambda: (X[part] for part in parts))
    assert np.array_equal(plain, model.predict(X))
    padded = model.predict((X[part, : LENGTHS[part].max()], None, LENGTHS[part]) for part in parts)
    assert np.array_equal(padded, model.predict(X, lengths=LENGTHS)[:, : LENGTHS.max()])
    rows = [row[:n] for row, n in zip(X, LENGTHS, strict=True)]
    lists = model.predict(rows[part] for part in parts)
    assert isinstance(lists, list)
    assert all(np.array_equal(a, b) for a, b in zip(lists, model.predict(rows), strict=True))


class Two(pylstm.Model):
    keeps_time = False

    def __init__(self):
        self.lstm, self.a, self.b = pylstm.LSTM(3, 4, batch_first=True), pylstm.Linear(4, 2), pylstm.Linear(6, 1)

    def run(self, x, more):
        h = self.lstm(x)[0][:, -1]
        return {"a": self.a(h), "b": self.b(pylstm.concatenate([h, more], axis=1))}


def test_several_inputs_and_outputs():
    more = X[:, 0, :2]

    def loss(outputs, targets, lengths=None):  # noqa: ARG001
        gradients, total = {}, 0.0
        for name, output in outputs.items():
            difference = output - targets[name]
            total += np.square(difference).mean()
            gradients[name] = 2 * difference / difference.size
        return total, gradients

    def pairs():
        for i in range(0, len(X), SIZE):
            part = slice(i, i + SIZE)
            yield {"x": X[part], "more": more[part]}, {"a": X[part, 1, :2], "b": X[part, 2, :1]}

    one, other = Two(), Two()
    other.load_state_dict(one.state_dict())
    fitted(one, pairs, loss=loss, epochs=2)
    whole(other, {"x": X, "more": more}, {"a": X[:, 1, :2], "b": X[:, 2, :1]}, loss=loss, epochs=2)
    found, expected = one.predict(pairs), other.predict({"x": X, "more": more})
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    again = one.predict(lambda: (((x["x"], x["more"]), None) for x, _ in pairs()))
    assert np.array_equal(again["a"], expected["a"])


def test_weights_and_missing_targets():
    weights = RNG.random(70)
    targets = X[:, 1, :2].astype(np.float64)
    targets[RNG.random(targets.shape) < 0.3] = np.nan

    def pairs():
        for i in range(0, len(X), SIZE):
            part = slice(i, i + SIZE)
            yield {"x": X[part], "y": targets[part], "sample_weight": weights[part]}

    def tuples():
        return ((d["x"], d["y"], None, None, d["sample_weight"]) for d in pairs())

    options = {"loss": "mse", "missing": "nan", "epochs": 2}
    expected = whole(chain(), X, targets, sample_weight=weights, **options)
    for given in (pairs, tuples):
        model = chain()
        assert fitted(model, given, validation_data=given, **options)["loss"] == expected["loss"]
        found = model.evaluate(given, missing="nan")
        assert found == pytest.approx(model.evaluate(X, targets, sample_weight=weights, missing="nan"), rel=1e-6)
    with pytest.raises(ValueError, match=r"batch 1: sample_weight must hold a number for each of 16 sequences"):
        fitted(chain(), lambda: ({**d, "sample_weight": weights} for d in pairs()), **options)
    model, other = chain(), chain()
    fitted(
        model, lambda: iter([(X, targets), (X, targets * np.nan)]), **options
    )  # a batch without any target teaches nothing
    whole(other, np.concatenate([X, X]), np.concatenate([targets, targets * np.nan]), **{**options, "batch_size": 70})
    assert np.array_equal(model.predict(X), other.predict(X))


def test_an_iterator_is_for_one_epoch():
    one, other = chain(), chain()
    assert fitted(one, batches())["loss"] == whole(other, X, Y)["loss"]
    for given in (batches(), map(tuple, batches())):
        with pytest.raises(ValueError, match=r"x is .*(generator|map).* once, and epochs is 2\. Give the function"):
            fitted(chain(), given, epochs=2)
    with pytest.raises(ValueError, match="validation_data is a generator, which gives its batches once"):
        fitted(chain(), batches, validation_data=batches(), epochs=2)
    fitted(chain(), batches, validation_data=batches())


def test_an_iterator_goes_on_where_an_epoch_ended():
    asked = []

    def endless():
        for i in range(100):
            asked.append(i)
            yield from [(X[:SIZE] + i % 5, Y[:SIZE])]

    one, other = chain(0), chain(0)
    history = fitted(one, endless(), epochs=3, steps_per_epoch=5)
    expected = fitted(other, lambda: ((X[:SIZE] + i, Y[:SIZE]) for i in range(5)), epochs=3)
    assert history["loss"] == expected["loss"]
    assert len(asked) == 15  # not one more is taken
    history = fitted(chain(0), endless, epochs=3, steps_per_epoch=5)  # a function begins anew
    assert history["loss"] == expected["loss"]
    model = chain()
    with pytest.raises(ValueError, match="x ended after 2 batches, and steps_per_epoch is 3"):
        fitted(model, iter([*batches()]), epochs=2, steps_per_epoch=3)
    model.predict(X)


def test_what_is_empty_the_second_time():
    class Once:
        def __init__(self):
            self.batches = batches()

        def __iter__(self):
            return self.batches

    model = chain()
    with pytest.raises(ValueError, match=r"x gave no batch when it was gone through again\. Give the function"):
        fitted(model, Once(), epochs=2)
    assert np.isfinite(model.predict(X)).all()


def test_a_function_of_the_epoch_and_going_on(tmp_path):
    """With it, a resumed training has the bits of one that was never interrupted."""
    asked = []

    def shuffled(epoch):
        asked.append(epoch)
        order = np.random.default_rng(epoch).permutation(len(X))
        for i in range(0, len(X), SIZE):
            yield X[order[i : i + SIZE]], Y[order[i : i + SIZE]]

    path = str(tmp_path / "m.npz")
    straight, interrupted, resumed = chain(), chain(), chain()
    fitted(straight, shuffled, epochs=4)
    assert asked == [0, 1, 2, 3]
    fitted(interrupted, shuffled, epochs=2, callbacks=[pylstm.ModelCheckpoint(path)])
    asked.clear()
    fitted(resumed, shuffled, epochs=4, resume=path, callbacks=[pylstm.ModelCheckpoint(path)])
    assert asked == [0, 2, 3]  # the look at the first batch, and what was left
    assert all(np.array_equal(value, straight.params[name]) for name, value in resumed.params.items())


def test_schedules_that_count_batches():
    straight, one, other, third = (chain() for _ in range(4))
    whole(straight, X, Y, epochs=2, schedule=pylstm.Cosine(2))
    fitted(one, Loader(5), epochs=2, schedule=pylstm.Cosine(2))
    fitted(other, batches, epochs=2, schedule=pylstm.Cosine(2), steps_per_epoch=5)
    for model in (one, other):
        assert all(np.array_equal(value, straight.params[name]) for name, value in model.params.items())
    before = third.state_dict()
    for schedule in (pylstm.Cosine(2), pylstm.WarmUp(1), lambda *numbers: 1 / numbers[2]):
        with pytest.raises(ValueError, match=r"how many batches an epoch has, .* give steps_per_epoch, or x a __len__"):
            fitted(third, batches, schedule=schedule)
    assert all(np.array_equal(value, third.params[name]) for name, value in before.items())
    for schedule in (None, pylstm.StepLR(1), pylstm.ReduceOnPlateau(monitor="loss")):
        fitted(third, batches, schedule=schedule)


def test_batches_hold_their_memory_one_after_another():
    """40 MB, 2 MB at a time."""

    def large():
        for _ in range(20):
            yield np.zeros((1000, 125, 4), np.float32), np.zeros(1000, int)

    layers = [pylstm.GRU(4, 2, batch_first=True), pylstm.LastStep(), pylstm.Linear(2, 2)]
    model = pylstm.Sequential(layers, seed=0)
    tracemalloc.start()
    try:
        fitted(model, large)
        model.evaluate(large)
        model.predict(large)
        assert tracemalloc.get_traced_memory()[1] < 15e6
    finally:
        tracemalloc.stop()


def stored(path, array):
    np.save(path, array)
    return np.load(path, mmap_mode="r")


def test_arrays_in_files_are_read_batch_by_batch(tmp_path):
    """32 MB of numbers, of symbols, of targets per step; the look for NaN and for symbols before training, too."""
    x = stored(tmp_path / "x.npy", RNG.standard_normal((40_000, 100, 1)))
    ids = stored(tmp_path / "ids.npy", RNG.integers(0, 50, (40_000, 100)))
    lengths = stored(tmp_path / "lengths.npy", RNG.integers(1, 9, 40_000))
    y = stored(tmp_path / "y.npy", RNG.integers(0, 2, 40_000))
    numbers = pylstm.Sequential([pylstm.RNN(1, 1, batch_first=True), pylstm.Linear(1, 1)], seed=0)
    layers = [pylstm.Embedding(50, 1), pylstm.RNN(1, 1, batch_first=True), pylstm.LastStep(), pylstm.Linear(1, 2)]
    symbols = pylstm.Sequential(layers, seed=0)
    options = {"optimizer": pylstm.SGD(0.1), "batch_size": 1000}
    tracemalloc.start()
    try:
        fitted(numbers, x, x, loss="mse", **options)
        numbers.evaluate(x, x)
        assert tracemalloc.get_traced_memory()[1] < 12e6
        fitted(symbols, ids, y, lengths=lengths, **options)
        symbols.evaluate(ids, y, lengths=lengths)
        symbols.predict(ids, lengths=lengths)
        assert tracemalloc.get_traced_memory()[1] < 16e6
    finally:
        tracemalloc.stop()


def test_an_array_in_a_file_with_nan_is_refused_by_its_place(tmp_path):
    x = X.copy()
    x[60, 5, 2] = np.inf
    with pytest.raises(ValueError, match=r"x\[60\] holds infinity at step 5, feature 2"):
        fitted(chain(), stored(tmp_path / "x.npy", x), Y)


def test_windows_are_data_by_themselves():
    series = RNG.standard_normal((80, 3)).astype(np.float32)
    train, validation = pylstm.windows(series, 6, 2, targets=0).split(0.7)
    one, other = chain(), chain()
    history = fitted(one, train, loss="mse", validation_data=validation)
    assert history["val_loss"] == fitted(other, *train, loss="mse", validation_data=tuple(validation))["val_loss"]
    assert np.array_equal(one.predict(validation), other.predict(validation.x))
    assert one.evaluate(validation) == other.evaluate(*validation)
