"""The estimators in what scikit-learn and joblib do with them."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pylstm.sklearn import SequenceClassifier, SequenceRegressor
from support.estimators import BOTH, numbers, quick, ragged


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
