"""What the tests of `pylstm.sklearn` share."""

from __future__ import annotations

import numpy as np

from pylstm.sklearn import SequenceClassifier, SequenceRegressor

BOTH = [SequenceClassifier, SequenceRegressor]


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
