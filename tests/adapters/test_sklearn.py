"""The estimators for scikit-learn: its own checks, and what sequences add to them."""

from __future__ import annotations

import os
import pickle
import signal
import threading

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils import get_tags
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.estimator_checks import parametrize_with_checks

import pylstm
from pylstm.sklearn import SequenceClassifier, SequenceRegressor
from support.estimators import BOTH, numbers, quick, ragged


@parametrize_with_checks([SequenceClassifier(), SequenceRegressor()])
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("kind", BOTH)
def test_no_check_is_left_out_by_tags(kind):
    tags = get_tags(kind())
    assert tags.input_tags.two_d_array
    assert not tags.no_validation
    assert not tags.non_deterministic
    assert not tags._skip_test
    assert not getattr(tags.classifier_tags or tags.regressor_tags, "poor_score")  # noqa: B009


# ---- data ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [None, 3])
@pytest.mark.parametrize(("options", "embedded"), [
    ({}, False), ({"cell": "gru", "bidirectional": True}, False), ({"pooling": "mean", "dropout": 0.1}, False),
    ({"cell": "rnn", "num_layers": 2, "dropout": 0.1, "pooling": "max"}, False), ({"embedding": 4}, True),
    ({"embedding": (30, 4), "bidirectional": True}, True),
])  # fmt: skip
def test_lists_of_sequences_are_learned(options, embedded, features):
    x, y = ragged(features=features)
    if embedded:
        if features:
            with pytest.raises(ValueError, match=r"embedding needs X of symbols, .* got 3 features"):
                quick(SequenceClassifier, **options).fit(x, y)
            return
        x = [np.round(5 * one + 10).astype(int) for one in x]
    classifier = SequenceClassifier(16, epochs=20, random_state=0, **options).fit(x, y)
    assert classifier.classes_.tolist() == ["down", "up"]
    assert classifier.score(x, y) > 0.9
    assert classifier.n_features_in_ == (features or 1)
    proba = classifier.predict_proba(x)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    logits = classifier.model_.predict(x if embedded or features else [one[:, None] for one in x])[:, 0]
    np.testing.assert_allclose(proba[:, 1], 1 / (1 + np.exp(-logits)), rtol=1e-5)
    np.testing.assert_array_equal(classifier.predict_proba(x[5:6]), proba[5:6])  # alone: the same bits
    regressor = SequenceRegressor(16, epochs=20, random_state=0, **options).fit(x, y == "up")
    assert regressor.score(x, y == "up") > 0.6


def test_a_classifier_is_the_model_that_one_would_write():
    """Layers, seeds, loss and options, in both forms of X."""
    x, y = ragged(features=2)
    y = np.arange(len(y)) % 3
    found = SequenceClassifier(6, cell="gru", num_layers=2, dropout=0.2, bidirectional=True, epochs=3, batch_size=7,
                               learning_rate=3e-3, clip_norm=0.5, random_state=5).fit(x, y)  # fmt: skip
    rng = np.random.RandomState(5)
    model = pylstm.Sequential([
        pylstm.GRU(2, 6, 2, batch_first=True, dropout=0.2, bidirectional=True, dtype="float64"), pylstm.BothEnds(),
        pylstm.Dropout(0.2), pylstm.Linear(12, 3, dtype="float64"),
    ], seed=rng.randint(2**31 - 1))  # fmt: skip
    history = model.fit(x, y, loss="cross_entropy", optimizer=pylstm.Adam(3e-3), epochs=3, batch_size=7, clip_norm=0.5,
                        seed=int(rng.randint(2**31 - 1)), verbose=0)  # fmt: skip
    np.testing.assert_array_equal(found.decision_function(x), model.predict(x))
    assert found.history_["loss"] == history["loss"]
    assert found.n_iter_ == 3
    np.testing.assert_array_equal(found.predict(x), model.predict_classes(x))
    want = model.predict(x, activation="softmax")
    np.testing.assert_allclose(found.predict_proba(x), want, rtol=1e-12)
    np.testing.assert_allclose(found.predict_log_proba(x), np.log(want), rtol=1e-9)


@pytest.mark.parametrize("kind", BOTH)
def test_forms_of_the_same_data(kind):
    """A table, (N, T, 1), lists of arrays and columns of objects give the same bits."""
    rng = np.random.default_rng(0)
    table = rng.standard_normal((20, 5))
    y = (table[:, 0] > 0).astype(int)
    column = np.empty(20, object)
    column[:] = list(table)
    want = quick(kind).fit(table, y)
    assert want.n_features_in_ == 5
    for form in (table.tolist(), table[:, :, None], list(table), [row[:, None] for row in table], tuple(table), column):
        found = quick(kind).fit(form, y)
        for asked in (form, list(table), table[:, :, None]):
            assert_close = np.testing.assert_allclose if form is not table else np.testing.assert_array_equal
            assert_close(found.predict(asked), want.predict(table), rtol=1e-9)
    assert quick(kind).fit(table[:, :, None], y).n_features_in_ == 1
    with pytest.raises(ValueError, match=r"X has 4 features, but .* is expecting 5 features as input"):
        want.predict(table[:, :4])
    assert len(quick(kind).fit(list(table), y).predict(table[:, :4])) == 20  # sequences may be of any length
    assert len(quick(kind).fit(table.tolist(), y).predict(table[:, :4].tolist())) == 20
    three = quick(kind).fit(rng.standard_normal((20, 4, 3)), y)
    assert three.predict(rng.standard_normal((7, 9, 3))).shape == (7,)
    with pytest.raises(ValueError, match=r"X has 2 features, but .* is expecting 3 features as input"):
        three.predict(rng.standard_normal((7, 9, 2)))


def test_data_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.random.default_rng(0).standard_normal((20, 3)), columns=["a", "b", "c"])
    y = pandas.Series(np.arange(20) % 2)
    found = quick(SequenceClassifier).fit(frame, y)
    assert found.feature_names_in_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names"):
        found.predict(frame[["b", "a", "c"]])
    x, y = ragged(20)
    column = pandas.Series(x, index=range(100, 120))
    np.testing.assert_array_equal(quick(SequenceClassifier).fit(column, y).predict(column),
                                  quick(SequenceClassifier).fit(x, y).predict(x))  # fmt: skip
    assert not hasattr(found.fit(x, y), "feature_names_in_")


def test_empty_sequences_are_sequences():
    x, y = ragged(20)
    for empty in (np.zeros(0), []):
        found = quick(SequenceClassifier).fit([empty, *x], ["up", *y])
        assert np.isfinite(found.predict_proba([empty, x[0]])).all()
    with pytest.raises(ValueError, match="all 2 sequences in X are empty"):
        quick(SequenceClassifier).fit([np.zeros(0), []], [0, 1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes(dtype):
    x, y = ragged(20)
    x = [one.astype(dtype) for one in x]
    assert quick(SequenceClassifier).fit(x, y).model_.dtype == dtype
    assert quick(SequenceClassifier, dtype="float32").fit(x, y).model_.dtype == "float32"
    assert quick(SequenceClassifier, embedding=2).fit([[1, 2], [1]], [0, 1]).model_.dtype == "float32"


# ---- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BOTH)
def test_weights_of_sequences(kind):
    x, y = ragged(30)
    y = numbers(kind(), y)
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 3, 30)
    rows = np.repeat(np.arange(30), weights)
    weighted = quick(kind, batch_size=100).fit(x, y, sample_weight=weights)
    repeated = quick(kind, batch_size=100).fit([x[i] for i in rows], y[rows])
    ours, theirs = ((one.decision_function if kind is SequenceClassifier else one.predict)(x)
                    for one in (weighted, repeated))  # fmt: skip
    np.testing.assert_allclose(ours, theirs, rtol=1e-7)


def test_weights_of_classes():
    x, _ = ragged(30)
    y = np.array(["a", "b", "c", "c", "c"])[np.arange(30) % 5]
    sample_weight = np.random.default_rng(0).uniform(0.5, 2, 30)
    for given in ({"a": 3.0, "b": 0.5, "c": 1.0, "unseen": 7.0}, "balanced"):
        own = compute_sample_weight(
            {k: v for k, v in given.items() if k != "unseen"} if isinstance(given, dict) else given, y
        )
        want = quick(SequenceClassifier).fit(x, y, sample_weight=own).decision_function(x)
        found = quick(SequenceClassifier, class_weight=given).fit(x, y)
        np.testing.assert_allclose(found.decision_function(x), want, rtol=1e-9)
    found = quick(SequenceClassifier, class_weight={"a": 3.0, "b": 1.0, "c": 1.0}).fit(x, y, sample_weight)
    want = quick(SequenceClassifier).fit(x, y, sample_weight * np.where(y == "a", 3, 1))
    np.testing.assert_array_equal(found.decision_function(x), want.decision_function(x))
    total = [sample_weight[y == label].sum() for label in "abc"]
    found = quick(SequenceClassifier, class_weight="balanced").fit(x, y, sample_weight)
    want = quick(SequenceClassifier).fit(x, y, sample_weight / np.take(total, np.searchsorted(["a", "b", "c"], y)))
    np.testing.assert_allclose(found.decision_function(x), want.decision_function(x), rtol=1e-7)


@pytest.mark.parametrize("kind", BOTH)
def test_early_stopping(kind):
    x, _ = ragged(60)
    y = np.random.default_rng(3).integers(0, 2, 60)  # of which nothing can be learned
    found = quick(kind, epochs=400, early_stopping=True, patience=3, validation_fraction=0.25)
    found.fit(x, y, sample_weight=np.ones(60))
    losses = found.history_["val_loss"]
    assert found.n_iter_ == len(losses) < 400
    assert len(losses) - 1 - int(np.argmin(losses)) == 3
    rest = clone(found).set_params(epochs=int(np.argmin(losses)) + 1).fit(x, y, sample_weight=np.ones(60))
    np.testing.assert_array_equal(found.predict(x), rest.predict(x))  # the best weights


def test_validation_data_have_the_weights_and_classes_of_their_own():
    x, y = ragged(40)
    options = {"epochs": 2, "early_stopping": True, "validation_fraction": 0.25}
    weights = np.where(y == "up", 5.0, 1.0)
    plain = quick(SequenceClassifier, **options).fit(x, y)
    weighted = quick(SequenceClassifier, **options).fit(x, y, weights)
    assert plain.history_["val_loss"][0] != weighted.history_["val_loss"][0]
    with pytest.raises(ValueError, match="least populated class"):
        quick(SequenceClassifier, **options).fit([*x, x[0]], [*y, "once"])


@pytest.mark.parametrize("kind", BOTH)
def test_partial_fit_goes_on(kind):
    x, y = ragged(60)
    y = numbers(kind(), y)
    classes = {"classes": ["down", "other", "up"]} if kind is SequenceClassifier else {}
    found = quick(kind).partial_fit(x[:30], y[:30], **classes)
    if classes:
        assert found.classes_.tolist() == ["down", "other", "up"]
    first = found.history_["loss"][0]
    for _ in range(15):
        found.partial_fit(x[:30], y[:30]).partial_fit(x[30:], y[30:])
    assert found.n_iter_ == 31 == len(found.history_["loss"])
    assert found.history_["loss"][-1] < first / 2
    again = quick(kind).partial_fit(x[:30], y[:30], **classes)
    for _ in range(7):
        again.partial_fit(x[:30], y[:30]).partial_fit(x[30:], y[30:])
    again = pickle.loads(pickle.dumps(again))  # the optimizer's state and the random numbers, too
    for _ in range(8):
        again.partial_fit(x[:30], y[:30]).partial_fit(x[30:], y[30:])
    np.testing.assert_array_equal(found.predict(x), again.predict(x))
    before = found._optimizer.lr
    found.set_params(learning_rate=before / 2).partial_fit(x, y)
    assert found._optimizer.lr == before / 2


def test_partial_fit_of_classes():
    x, y = ragged(20)
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        quick(SequenceClassifier).partial_fit(x, y)
    found = quick(SequenceClassifier).partial_fit(x, y, classes=["up", "down"])
    before = found.predict_proba(x)
    with pytest.raises(ValueError, match=r"not in `self.classes_`.*\['left'\]"):
        found.partial_fit(x, ["left"] * 20)
    with pytest.raises(ValueError, match="is not the same as on last call"):
        found.partial_fit(x, y, classes=["a", "b"])
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
        quick(SequenceClassifier, class_weight="balanced").partial_fit(x, y, classes=["up", "down"])
    with pytest.raises(ValueError, match="early_stopping is for fit"):
        quick(SequenceClassifier, early_stopping=True).partial_fit(x, y, classes=["up", "down"])
    with pytest.raises(ValueError, match=r"embedding=\(number, size\)"):
        quick(SequenceClassifier, embedding=3).partial_fit([[1, 2]], [1], classes=[0, 1])
    found.partial_fit(x[:1], y[:1], classes=["down", "up"])  # one class of them
    assert not np.array_equal(found.predict_proba(x), before)


@pytest.mark.parametrize("kind", BOTH)
def test_warm_start(kind):
    x, y = ragged(40)
    y = numbers(kind(), y)
    found = quick(kind, warm_start=True, epochs=2).fit(x, y)
    model = found.model_
    found.fit(x, y)
    assert found.model_ is model
    assert found.n_iter_ == 4
    with pytest.raises(ValueError, match="parameters of the network have changed"):
        found.set_params(hidden_size=9).fit(x, y)
    assert quick(kind, epochs=2).fit(x, y).fit(x, y).n_iter_ == 2


@pytest.mark.parametrize("kind", BOTH)
def test_the_same_random_state_gives_the_same_bits(kind):
    x, y = ragged(40)
    y = numbers(kind(), y)
    options = {"dropout": 0.3, "batch_size": 8, "early_stopping": True}
    found = []
    for threads in (1, 2):
        before = pylstm.get_num_threads()
        pylstm.set_num_threads(threads)
        try:
            found.append(quick(kind, **options).fit(x, y).predict(x))
        finally:
            pylstm.set_num_threads(before)
    np.testing.assert_array_equal(*found)
    rng = np.random.RandomState(0)  # goes on from fit to fit
    one, two = (quick(kind, random_state=rng).fit(x, y).predict(x) for _ in range(2))
    assert kind is SequenceClassifier or not np.array_equal(one, two)
    want = np.random.RandomState(0)
    for _ in range(4):
        want.randint(2**31 - 1)
    assert rng.randint(1000) == want.randint(1000)


def test_an_optimizer_is_copied():
    x, y = ragged(20)
    optimizer = pylstm.AdamW(5e-3)
    found = quick(SequenceClassifier, optimizer=optimizer).fit(x, y)
    assert optimizer._updates == 0
    assert found._optimizer._updates > 0
    assert found._optimizer.lr == 5e-3
    assert quick(SequenceClassifier, optimizer=optimizer, learning_rate=0.1).fit(x, y)._optimizer.lr == 0.1
    assert optimizer.lr == 5e-3
    np.testing.assert_array_equal(found.fit(x, y).predict_proba(x), clone(found).fit(x, y).predict_proba(x))
    assert quick(SequenceClassifier, optimizer="SGD", learning_rate=0.5).fit(x, y)._optimizer.lr == 0.5


def test_interrupted_training_is_usable():
    x, y = ragged(20)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.warns(UserWarning, match="interrupted by user"):
        found = quick(SequenceClassifier, epochs=10**7).fit(x, y)
    timer.join()
    assert found.predict(x).shape == (20,)


# ---- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_numbers_of_any_size(loss):
    x = np.random.default_rng(0).standard_normal((150, 4))
    y = np.stack([1e6 + 1e5 * x.sum(axis=1), 1e-3 * x[:, 0], np.full(150, 7.0)], axis=1)
    found = SequenceRegressor(16, cell="gru", loss=loss, epochs=60, random_state=0).fit(x, y)
    predicted = found.predict(x)
    assert predicted.shape == (150, 3)
    for k in range(2):
        assert np.var(y[:, k] - predicted[:, k]) < 0.1 * np.var(y[:, k])
    np.testing.assert_allclose(predicted[:, 2], 7, atol=1e-1)
    np.testing.assert_allclose(predicted, found.model_.predict(x[:, :, None]) * found.y_scale_ + found.y_mean_)
    assert found.predict(x[:1]).shape == (1, 3)
    assert quick(SequenceRegressor).fit(x, y[:, :1]).predict(x).shape == (150, 1)
    raw = quick(SequenceRegressor, normalize_y=False).fit(x, x[:, 0])
    np.testing.assert_array_equal(raw.predict(x), raw.model_.predict(x[:, :, None])[:, 0])
    large = quick(SequenceRegressor, epochs=1).fit(x, y[:, 0] * 1e295).predict(x)
    assert np.isfinite(large).all()
    assert 0.5e301 < np.median(large) < 2e301
    with pytest.raises(ValueError, match=r"y must have the shape \(N, 3\)"):
        found.partial_fit(x, y[:, 0])
