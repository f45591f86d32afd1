"""What the estimators for scikit-learn refuse."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.exceptions import DataConversionWarning, NotFittedError

import pylstm
from pylstm.sklearn import SequenceClassifier
from support.estimators import BOTH, quick, ragged


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"cell": "LSTN"}, ValueError, "cell must be 'lstm' or 'gru' or 'rnn'"),
    ({"cell": None}, TypeError, "cell must be"),
    ({"hidden_size": 0}, ValueError, "hidden_size must be at least 1"),
    ({"hidden_size": 2.5}, TypeError, "hidden_size must be an integer"),
    ({"num_layers": 0}, ValueError, "num_layers must be at least 1"),
    ({"bidirectional": 1}, TypeError, "bidirectional must be True or False"),
    ({"dropout": 1.5}, ValueError, "dropout must be a number in"),
    ({"pooling": "first"}, ValueError, "pooling must be 'last' or 'mean' or 'max'"),
    ({"embedding": 0}, ValueError, "embedding must be at least 1"),
    ({"embedding": (3, 4, 5)}, ValueError, r"embedding must be a size, or \(number, size\)"),
    ({"embedding": (3, 0)}, ValueError, r"embedding\[1\] must be at least 1"),
    ({"epochs": 0}, ValueError, "epochs must be at least 1"),
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
    ({"learning_rate": -1.0}, ValueError, "learning_rate must not be negative"),
    ({"optimizer": "adamm"}, ValueError, "optimizer must be .*did you mean 'adam'"),
    ({"optimizer": pylstm.Adam}, TypeError, "optimizer must be an optimizer.*call it"),
    ({"clip_norm": 0}, ValueError, "clip_norm must be above 0"),
    ({"early_stopping": "yes"}, TypeError, "early_stopping must be True or False"),
    ({"early_stopping": True, "validation_fraction": 0.0}, ValueError, "validation_fraction must be between 0 and 1"),
    ({"early_stopping": True, "patience": 0}, ValueError, "patience must be at least 1"),
    ({"warm_start": None}, TypeError, "warm_start must be True or False"),
    ({"dtype": "float16"}, TypeError, "dtype must be float32 or float64"),
    ({"verbose": -1}, ValueError, "verbose must be at least 0"),
    ({"random_state": "x"}, ValueError, "cannot be used to seed"),
])  # fmt: skip
@pytest.mark.parametrize("kind", BOTH)
def test_wrong_parameters(kind, options, error, message):
    x = [[1, 0], [2]] if "embedding" in options else [np.zeros(2), np.ones(1)]
    estimator = quick(kind, **options)
    with pytest.raises(error, match=message):
        estimator.fit(x, [0, 1])
    with pytest.raises(NotFittedError):
        estimator.predict(x)
    assert not [name for name in vars(estimator) if name.endswith("_") or name.startswith("_")]


GOOD = [np.zeros(2), np.ones(3)]


@pytest.mark.parametrize(("x", "y", "weights", "error", "message"), [
    ([np.zeros(2), np.array([1, np.nan])], [0, 1], None, ValueError, "Input X contains NaN"),
    ([np.zeros(2), np.array([1, np.inf])], [0, 1], None, ValueError, "Input X contains infinity"),
    (np.full((2, 3, 1), np.nan), [0, 1], None, ValueError, "Input X contains NaN"),
    ([np.zeros((2, 2)), np.zeros((3, 1))], [0, 1], None, ValueError, r"differ in length only.*X\[1\]"),
    ([np.zeros(2), np.zeros((3, 2, 2))], [0, 1], None, ValueError, r"X\[1\] must have shape"),
    ([np.zeros(2), np.zeros((3, 2))], [0, 1], None, ValueError, "differ in length only"),
    ([np.zeros(2), [1, [2, 3]]], [0, 1], None, ValueError, r"X\[1\] cannot be made an array"),
    ([np.zeros(2), np.ma.zeros(3)], [0, 1], None, TypeError, r"X\[1\] must be .* masked"),
    ([["a", "b"], ["c"]], [0, 1], None, ValueError, "could not convert string to float"),
    (["some text", "more"], [0, 1], None, ValueError, "Expected 2D array|could not convert"),
    ([np.zeros(2) * 1j, np.zeros(3)], [0, 1], None, ValueError, "Complex data not supported"),
    (np.zeros((2, 3, 4, 5)), [0, 1], None, ValueError, "Found array with dim 4"),
    (np.zeros((2, 0, 3)), [0, 1], None, ValueError, "needs steps and features"),
    (np.zeros((2, 3, 0)), [0, 1], None, ValueError, "needs steps and features"),
    ([], [], None, ValueError, "Expected 2D array|0 sample"),
    (GOOD, [0, 1, 1], None, ValueError, "inconsistent numbers of samples"),
    (GOOD, [0, np.nan], None, ValueError, "Input y.* contains NaN"),
    (GOOD, None, None, ValueError, "requires y to be passed, but the target y is None"),
    (GOOD, [0, 1], [1, -1], ValueError, "Negative values in data passed to `sample_weight`"),
    (GOOD, [0, 1], [0, 0], ValueError, "at least one non-zero"),
    (GOOD, [0, 1], [1, np.nan], ValueError, "sample_weight contains NaN"),
    (GOOD, [0, 1], [1, 1, 1], ValueError, "sample_weight.shape"),
])  # fmt: skip
@pytest.mark.parametrize("kind", BOTH)
def test_wrong_data(kind, x, y, weights, error, message):
    for estimator in (quick(kind), quick(kind).fit(GOOD, [0, 1])):
        before = dict(vars(estimator))
        with pytest.raises(error, match=message):
            estimator.fit(x, y, sample_weight=weights)
        assert vars(estimator) == before


def test_wrong_labels():
    x, _ = ragged(6)
    for y, message in (([0.5, 1, 2, 3, 4, 5], "Unknown label type"), (["a"] * 6, "one class"),
                       (np.zeros((6, 2)), "y should be a 1d array")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            quick(SequenceClassifier).fit(x, y)
    with pytest.warns(DataConversionWarning):
        quick(SequenceClassifier).fit(x, np.arange(6)[:, None] % 2)


@pytest.mark.parametrize(("x", "message"), [
    ([[1, 5], [2]], "X holds the symbol 5, but the embedding has 4, 0..3"), ([[1, -1], [2]], "integers from 0"),
    ([[1, 0.5], [2]], "integers from 0"), (np.zeros((2, 3, 2)), "got 2 features"),
])  # fmt: skip
def test_wrong_symbols(x, message):
    found = quick(SequenceClassifier, embedding=3).fit([[1, 3, 2], [2]], [0, 1])
    with pytest.raises(ValueError, match=message):
        found.predict(x)
    with pytest.raises(ValueError, match=message):
        quick(SequenceClassifier, embedding=(4, 2)).fit(x, [0, 1])
    assert found.predict([[0, 0, 0, 0], [1.0]]).shape == (2,)
    assert found.predict([[0, 1], [1, 2]]).shape == (2,)  # lists of symbols are no table


def test_changed_embedding_after_fit():
    found = quick(SequenceClassifier, embedding=3).fit([[1, 3, 2], [2]], [0, 1])
    found.set_params(embedding=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found.predict([[1], [2]]).shape == (2,)  # it is the trained one that predicts
