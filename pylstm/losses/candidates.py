"""Classes drawn at random, each once, and how often each was to be expected among them: for losses that look at a few
of many classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import Array, number_array

_ROUNDS = 8  # of draws; behind them the classes that are left are drawn by another way to the same distribution

_LEAST = 1e-200  # of the largest probability: an exponential time divided by it is a number


def log_uniform(classes: int) -> NDArray[np.float64]:
    """log(1 + 1 / (k + 1)) / log(classes + 1) for k = 0, 1, ..: about Zipf's law, for classes by falling frequency."""
    return np.asarray(np.log1p(1.0 / np.arange(1.0, classes + 1)) / np.log(classes + 1.0))


class Candidates:
    """Draws from a distribution over classes, of which a class is taken the first time that it comes.

    As TensorFlow's candidate samplers with unique=True: the draws go on until `number` different classes have come, and
    after `tries` of them a class of probability p was to be expected 1 - (1 - p)^tries times.
    """

    def __init__(self, probabilities: NDArray[np.float64], number: int) -> None:
        """probabilities: above 0 for `number` classes or more, of any sum."""
        self.number = number
        self._p = probabilities / probabilities.sum()
        self._sums = np.cumsum(self._p)
        with np.errstate(divide="ignore"):
            self._log_miss = np.log1p(-np.minimum(self._p, 1.0))  # -inf for a class that always comes

    def draw(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], float]:
        """The classes, ascending, and the tries it took."""
        drawn = np.zeros(0, np.int64)
        places = first = drawn
        for _ in range(_ROUNDS):
            u = rng.random(2 * self.number) * self._sums[-1]
            more = np.minimum(np.searchsorted(self._sums, u, side="right"), len(self._p) - 1)
            drawn = np.concatenate([drawn, more])
            places, first = np.unique(drawn, return_index=True)
            if len(places) >= self.number:
                tries = np.sort(first)[self.number - 1] + 1
                return places[first < tries], float(tries)
        return self._rest(rng, places, float(len(drawn)))

    def _rest(
        self, rng: np.random.Generator, found: NDArray[np.int64], tries: float
    ) -> tuple[NDArray[np.int64], float]:
        """What many more draws would add. Classes come for the first time in the order of exponential times with their
        probabilities as rates (Efraimidis & Spirakis 2006), and up to each new one a geometric number of draws goes
        by."""
        left = self._p.copy()
        left[found] = 0
        wanted = self.number - len(found)
        with np.errstate(divide="ignore", over="ignore"):
            times = rng.standard_exponential(len(left)) / left
        new = np.argpartition(times, wanted - 1)[:wanted]
        new = new[np.argsort(times[new], kind="stable")]
        own = left[new]
        left[new] = 0
        mass = np.minimum(left.sum() + np.cumsum(own[::-1])[::-1], 1.0)  # of all that has not come before
        # a geometric number, by the inverse of its distribution; log(1 - u) / log(1 - mass)
        with np.errstate(divide="ignore"):
            waits = np.ceil(-rng.standard_exponential(wanted) / np.log1p(-mass))
        return np.sort(np.concatenate([found, new])), tries + float(np.maximum(waits, 1.0).sum())

    def log_expected(self, classes: Array, tries: float) -> NDArray[np.float64]:
        """log(1 - (1 - p)^tries) of some classes; -inf where p is 0."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(-np.expm1(tries * self._log_miss[classes])))


def checked_probabilities(name: str, values: Any) -> NDArray[np.float64]:
    """A copy of a user's probabilities or counts. Raises TypeError or ValueError, naming the argument."""
    array = number_array(name, values)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{name} must hold a number per class, an array (C,), got shape {array.shape}")
    p = array.astype(np.float64)
    wrong = np.flatnonzero(~(np.isfinite(p) & (p > 0)))
    if len(wrong):
        raise ValueError(
            f"{name} must hold finite numbers above 0, got {p[wrong[0]]} for class {wrong[0]}: a class that is never "
            "drawn is never told apart from the right one (of counts, take np.maximum(counts, 1))"
        )
    p /= p.max()  # the sum may overflow
    if p.min() < _LEAST:
        raise ValueError(f"{name} must hold numbers of at least {_LEAST:g} of the largest, got {p.min():g} of it")
    return p
