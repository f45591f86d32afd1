"""The estimators for scikit-learn: its own checks, and what sequences add to them."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn", minversion="1.6")
import joblib  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import DataConversionWarning, NotFittedError  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils import get_tags  # noqa: E402
from sklearn.utils.class_weight import compute_sample_weight  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

import pylstm  # noqa: E402
from pylstm.sklearn import SequenceClassifier, SequenceRegressor  # noqa: E402

BOTH = [SequenceClassifier, SequenceRegressor]


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


def ragged(count=60, features=None, seed=0, shortest=2):
    """Sequences of differing length that go up or down, and which of the two."""
    rng = np.random.default_rng(seed)
    up = rng.integers(0, 2, count)
    found = []
    for one in up:
        steps = np.linspace(-1, 1, rng.integers(shortest, 9)) * (1 if one else -1)
        noise = rng.standard_normal(steps.shape if features is None else (len(steps), features)) / 10
        found.append(noise + (steps if features is None else steps[:, None]))
    return found, np.where(up, "up", "down")


def numbers(estimator, y):
    return (y == "up").astype(float) if isinstance(estimator, SequenceRegressor) else y


def quick(kind, **options):
    return kind(**{"hidden_size": 8, "epochs": 8, "random_state": 0, **options})


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
    with pytest.raises(ValueError, match=r"y must have the shape \(N, 3\)"):
        found.partial_fit(x, y[:, 0])


# ---- in scikit-learn's programs --------------------------------------------------------------------------------------


def test_cross_validation_and_search_of_lists():
    x, y = ragged(60)
    assert cross_val_score(quick(SequenceClassifier, epochs=20, batch_size=8), x, y, cv=3).mean() > 0.8
    search = GridSearchCV(
        quick(SequenceClassifier, epochs=15, batch_size=8), {"cell": ["gru", "rnn"], "hidden_size": [2, 8]}, cv=2
    )
    assert search.fit(x, y).best_score_ > 0.8
    assert search.predict(x).shape == (60,)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    three = np.random.default_rng(0).standard_normal((60, 4, 2))
    search = GridSearchCV(quick(SequenceRegressor, epochs=20, batch_size=8), {"learning_rate": [1e-4, 1e-2]}, cv=2)
    search.fit(three, three[:, -1, 0])
    assert search.best_params_ == {"learning_rate": 1e-2}


def test_pipeline():
    table = np.random.default_rng(0).standard_normal((80, 4)) * 1000 + 5e4
    y = table[:, 3] > 5e4
    pipeline = make_pipeline(StandardScaler(), SequenceClassifier(8, epochs=20, random_state=0))
    assert pipeline.fit(table, y).score(table, y) > 0.9
    assert pipeline.predict(table).dtype == bool
    again = pickle.loads(pickle.dumps(clone(pipeline).fit(table, y)))
    np.testing.assert_array_equal(again.predict_proba(table), pipeline.predict_proba(table))


@pytest.mark.parametrize("kind", BOTH)
def test_what_is_loaded_from_a_read_only_file_can_be_trained(kind, tmp_path):
    x, y = ragged(30)
    y = numbers(kind(), y)
    found = quick(kind, epochs=2).fit(x, y)
    joblib.dump(found, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    np.testing.assert_array_equal(loaded.predict(x), found.predict(x))
    np.testing.assert_array_equal(loaded.partial_fit(x, y).predict(x), found.partial_fit(x, y).predict(x))


# A program of its own: other processes take what is in a main module along, and do not find the tests.
PROGRAM = """
import json, os, threading
import joblib, numpy as np, pylstm
from sklearn.model_selection import cross_val_score
from pylstm.sklearn import SequenceClassifier

class Noted(SequenceClassifier):
    def _train(self, *args):
        self.noted_ = os.getpid(), threading.get_ident(), pylstm.get_num_threads()
        super()._train(*args)

def noted():
    return Noted(2, epochs=1).fit([np.ones(3), np.zeros(2)], ["a", "b"]).noted_

if __name__ == "__main__":
    pylstm.set_num_threads(3)
    x, y = [np.full(2 + n % 3, n / 20) for n in range(20)], np.arange(20) % 2
    some = SequenceClassifier(4, epochs=5, random_state=0)
    scores = lambda: cross_val_score(some, x, y, cv=2, scoring="neg_log_loss")
    found = {}
    for backend in ("multiprocessing", "threading", "loky"):
        with joblib.parallel_config(backend=backend, n_jobs=2):
            found[backend] = joblib.Parallel()(joblib.delayed(noted)() for _ in range(4)), list(scores())
    print(json.dumps([os.getpid(), noted()[2], list(scores()), found]))
"""


def test_joblib_keeps_threads_in_check(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    env = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    said = subprocess.run([sys.executable, program], env=env, capture_output=True, text=True, check=True).stdout
    process, alone, scores, found = json.loads(said)
    assert alone == 3
    for backend, (noted, same_scores) in found.items():
        most = max(1, joblib.cpu_count() // 2) if backend == "loky" else 1
        assert max(threads for _, _, threads in noted) <= most, backend
        assert (process in {one for one, _, _ in noted}) == (backend == "threading")
        assert same_scores == scores, backend


def run(code):
    return subprocess.run([sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", "-c", code], text=True,
                          capture_output=True, cwd="/", check=True).stdout.split("\n")[:-1]  # fmt: skip


def test_it_is_imported_when_asked_for():
    seen = "print('sklearn' in sys.modules, 'sklearn' in dir(pylstm))"
    assert run(f"import sys, pylstm; {seen}; pylstm.sklearn.SequenceRegressor; {seen}") == ["False True", "True True"]


@pytest.mark.parametrize(
    "how", ["import pylstm.sklearn", "pylstm.sklearn", "from pylstm.sklearn import SequenceRegressor"]
)
def test_without_scikit_learn(how):
    code = f"""
import sys, importlib.util
sys.modules["sklearn"] = None
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "sklearn" else find(name, package)
import pylstm
print("sklearn" in dir(pylstm))
try:
    {how}
except ImportError as error:
    print(error)
"""
    assert run(code) == ["False", "pylstm.sklearn needs scikit-learn 1.6 or newer: pip install 'pylstm[sklearn]'"]


# ---- wrong arguments -------------------------------------------------------------------------------------------------


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
