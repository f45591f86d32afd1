"""What models of Keras are called with: names, order, forms, lengths, and what is said of what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from support.keras_files import file_of, layer, masked_model, tensor

RNG = np.random.default_rng(0)
A = RNG.normal(size=(4, 5, 3)).astype(np.float32)
B = RNG.normal(size=(4, 2)).astype(np.float32)
IDS = np.array([[1, 4, 2], [3, 5, 0]])


def two(first=("a", "b")):
    """Sequences and vectors in, under names; a dict out."""
    rng = np.random.default_rng(1)
    entries = {"a": layer("InputLayer", "a", batch_shape=[None, None, 3]), "b": layer("InputLayer", "b",
               batch_shape=[None, 2])}  # fmt: skip
    layers = [
        *[entries[name] for name in first], layer("Masking", "mask", tensor("a")),
        layer("LSTM", "lstm", tensor("mask"), units=4), layer("Concatenate", "both", [tensor("lstm"), tensor("b")]),
        layer("Dense", "out", tensor("both"), units=1),
    ]  # fmt: skip
    weights = {"lstm/cell": [rng.normal(size=shape) for shape in ((3, 16), (4, 16), (16,))],
               "dense": [rng.normal(size=(6, 1)), rng.normal(size=1)]}  # fmt: skip
    return pylstm.from_keras(file_of(layers, weights, input_layers=[[name, 0, 0] for name in first],
                                     output_layers=["out", 0, 0]))  # fmt: skip


def test_every_way_to_give_two_inputs_is_the_same():
    model = two()
    wanted = model(A, B)
    for x in ((A, B), [A, B], {"a": A, "b": B}, {"b": B, "a": A.tolist()}):
        assert np.array_equal(model(x), wanted)
        assert np.array_equal(model.predict(x), wanted)
        assert np.array_equal(model.forward(x)[0], wanted)
    histories = []
    for x in ((A, B), [A, B], {"b": B, "a": A}):
        model = two()
        histories.append(model.fit(x, wanted * 2, loss="mse", optimizer="sgd", epochs=2, validation_split=0.5,
                                   shuffle=False, verbose=0)["val_loss"])  # fmt: skip
        model.evaluate(x, wanted, loss="mse")
    assert histories[0] == histories[1] == histories[2]


@pytest.mark.parametrize("first", [("a", "b"), ("b", "a")])
def test_lengths_are_those_of_the_input_that_has_them(first):
    model, lengths = two(first), [5, 2, 3, 1]
    wanted = np.concatenate(
        [model({"a": A[n : n + 1, :length], "b": B[n : n + 1]}) for n, length in enumerate(lengths)]
    )
    ragged = [A[n, :length] for n, length in enumerate(lengths)]
    given = {"a": ragged, "b": B}
    np.testing.assert_allclose(model.predict(given), wanted, atol=1e-6)
    np.testing.assert_allclose(model.predict(tuple(given[name] for name in first)), wanted, atol=1e-6)
    np.testing.assert_allclose(model({"a": A, "b": B}, lengths={"a": lengths}), wanted, atol=1e-6)
    own = tuple(lengths if name == "a" else None for name in first)
    np.testing.assert_allclose(model(*[{"a": A, "b": B}[name] for name in first], lengths=own), wanted, atol=1e-6)
    history = model.fit(given, wanted, loss="mse", epochs=1, verbose=0)
    np.testing.assert_allclose(history["loss"], 0, atol=1e-6)


def test_an_axis_of_one_is_added_or_taken_away():
    """As Keras does it."""
    layers = [layer("InputLayer", "x", batch_shape=[None, None, 1]), layer("SimpleRNN", "rnn", tensor("x"), units=2)]
    weights = {"simple_rnn/cell": [RNG.normal(size=(1, 2)), RNG.normal(size=(2, 2)), RNG.normal(size=2)]}
    model = pylstm.from_keras(file_of([*layers, layer("Softmax", "s", tensor("rnn"), axis=1)], weights,
                                      input_layers=["x", 0, 0], output_layers=["s", 0, 0]))  # fmt: skip
    assert type(model) is pylstm.KerasModel
    assert np.array_equal(model(A[:, :, 0]), model(A[:, :, :1]))
    words = pylstm.from_keras(masked_model())
    assert np.array_equal(words(IDS[..., None]), words(IDS))


def test_no_sequences_at_all():
    assert two().predict((A[:0], B[:0])).shape == (0, 1)
    assert two()(A[:, :0], B).shape == (4, 1)


@pytest.mark.parametrize(("given", "words"), [
    ((A,), "takes 2 inputs \\(a, b\\), got 1"), ((A, B, B), "takes 2 inputs .* got 3"),
    (({"a": A},), "must have the names 'a', 'b', got 'a'"), (({"a": A, 1: B},), "must have the names .* got 'a', 1"),
    (({"a": A, "c": B},), "got 'a', 'c'"), (({},), "got none"),
    ((B, A), r"'a' must have shape \(N, any, 3\), got \(4, 2\)$"), ((A[0], B), r"got \(5, 3\): for one sequence, a\["),
    ((A[..., :2], B), r"'a' must have shape \(N, any, 3\), got \(4, 5, 2\)"),
    ((A, B[:2]), "as many sequences: 'a' has 4, 'b' 2"), ((A, None), "'b' must be an array of numbers, got None"),
    ((A, {"b": B}), "'b' must be an array of numbers, got dict"), ((A, 3), "'b' must be an array"),
    ((A, np.float32(3)), "'b' must have the sequences|'b' must be an array"), (("words", B), "got str"),
])  # fmt: skip
def test_wrong_inputs_are_named(given, words):
    model = two()
    for call in (model, model.forward):
        with pytest.raises((TypeError, ValueError), match=words):
            call(*given)


@pytest.mark.parametrize("given", [{"a": A}, {"a": A, "b": B, "c": B}, {"x": A, "y": B}])
def test_wrong_names_are_told_in_fit_and_predict(given):
    model = two()
    for call in (lambda: model.predict(given), lambda: model.fit(given, B[:, :1], loss="mse", verbose=0)):
        with pytest.raises(ValueError, match="must have the names 'a', 'b', got"):
            call()


@pytest.mark.parametrize("lengths", [
    [6, 1, 1, 1], [-1, 1, 1, 1], [1, 2], [1.5, 2, 3, 4], [[1], [2], [3], [4]], "abc", 3, [np.nan] * 4, [True] * 4,
    ([1, 1, 1, 1],), {"c": [1, 1, 1, 1]}, {"b": [3, 1, 1, 1]},
])  # fmt: skip
def test_wrong_lengths_are_refused(lengths):
    model = two()
    for call in (model, model.forward):
        with pytest.raises((TypeError, ValueError), match="lengths"):
            call(A, B, lengths=lengths)


@pytest.mark.parametrize("wrong", [1.5, np.nan, np.inf, 1e30])
def test_symbols_are_whole_numbers(wrong):
    model = pylstm.from_keras(masked_model())
    x = IDS.astype(np.float64)
    assert np.array_equal(model(x), model(IDS))
    x[0, 1] = wrong
    with pytest.raises(ValueError, match="'words' takes symbols, whole numbers from 0 on, got"):
        model(x)
