"""Beam search: the most likely sentences of a model that writes symbol by symbol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _checks
from .rows import Axis
from .search import Hypothesis, Index, Scores, Search

_FEW = 16  # from here on sorting is quicker than looking for the largest one again and again


def beam_search(
    step: Callable[..., Any],
    state: Any,
    begin: int | ArrayLike,
    end: int,
    beam_size: int,
    max_length: int,
    *,
    length_penalty: float = 0.0,
    n_best: int = 1,
    axis: Axis = 0,
    reorder: Callable[[Any, NDArray[np.intp]], Any] | None = None,
    shared: Any = None,
    batch_size: int | None = None,
) -> list[list[Hypothesis]]:
    """The best sentences that a model writes symbol by symbol, for several inputs at once.

    In every step each hypothesis of an input is followed by all symbols, and the `beam_size` likeliest of all that come
    of it remain. Those that have come to `end` are kept aside, and cost nothing more; an input is done, and leaves the
    batch, when none remains that could still be better than the `n_best` of these. With a beam of 1 it is greedy: the
    likeliest symbol each time. With one that is wide enough for everything it finds the best of all sentences.

    A score is log p / ((5 + length) / 6) ** length_penalty (Wu et al. 2016, section 7), where the length counts the
    symbols, and `end` among them. What has not ended after `max_length` symbols is cut, and counts as it is.

    Args:
        step: a function (symbols, state) -> (logits, state). symbols: (R,) int64, the last ones of R hypotheses.
            logits: (R, V), or logarithms of probabilities; -inf is a symbol that is not allowed. It may return a third,
            an array of R rows that is kept for each symbol.
        state: what the step function knows of each input before its first symbol: arrays with a row for each, in
            tuples, lists and dicts. Anything else in it is handed on. None: nothing.
        begin: the symbol that stands before the first one, or an array (N,) of them.
        end: the symbol that ends a sentence.
        beam_size: hypotheses that go on; it may be larger than V.
        max_length: symbols of a sentence, and `end` among them.
        length_penalty: 0: the likeliest sentence; the larger, the longer ones are preferred (0.6 to 1 as a rule).
        n_best: sentences wanted of each input, at most beam_size.
        axis: where the rows of the state's arrays are: 0, or 1 for the states (layers, N, H) of recurrent layers; or
            numbers in the form that the state has. None: all rows share that array.
        reorder: a function (state, rows) -> state of those rows, (R,) integers, where the state is of another kind.
        shared: arrays with a row for each input, not for each hypothesis, such as the keys of an attention. They are
            not copied for each: step gets them as a third argument, row s of them for the rows of input s, which stand
            side by side and are equally many.
        batch_size: N, where no array tells.

    Returns:
        For each input a list of at most n_best hypotheses, the best one first, each a tuple (symbols, score, log_prob,
        trace): the symbols a list without begin and end, log_prob before it is divided, trace what step gave to keep,
        or None. Of equal scores the first one found comes first, and that follows the order of symbols.

    Raises:
        TypeError: an argument of the wrong kind, which is named.
        ValueError: an argument of the wrong value; logits of the wrong shape, with NaN or +inf, or with nothing but
            -inf.

    >>> table = np.log([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.9, 0.05, 0.05]])      # of the next symbol, after each
    >>> found = beam_search(lambda symbols, state: (table[symbols], state), None, 0, 0, 4, 10, n_best=2, batch_size=1)
    >>> [(one.symbols, round(one.score, 3)) for one in found[0]]
    [([1], -1.204), ([2], -1.309)]
    """
    size = _checks.size("beam_size", beam_size)
    wanted = _checks.integer("n_best", n_best)
    if wanted > size:
        raise ValueError(f"n_best must be at most beam_size, {size}, got {wanted}")
    search = _Beam(
        step, state, begin, end, max_length, width=1, n_best=wanted, axis=axis, reorder=reorder, shared=shared,
        alpha=_checks.non_negative("length_penalty", length_penalty), batch_size=batch_size,
    )  # fmt: skip
    search.size = size
    return search.run()


class _Beam(Search):
    size: int

    def choose(self, logits: Any) -> tuple[Index, NDArray[np.int64], Scores]:
        count, width, classes = logits.shape
        rows = logits.reshape(-1, classes)
        symbols, best = _largest(rows, min(self.size, classes))
        best = best.astype(np.float64) - log_sums(rows)[:, None]
        scores = (self.scores[..., None] + best.reshape(count, width, -1)).reshape(count, -1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, : self.size]
        symbols = np.take_along_axis(symbols.reshape(count, -1), order, axis=1)
        return order // best.shape[1], symbols, np.take_along_axis(scores, order, axis=1)


def log_sums(rows: Any) -> Scores:
    """(R,) log of the sum of exp of each row."""
    largest = rows.max(axis=1)
    sums = np.exp(rows - largest[:, None]).sum(axis=1)
    return np.asarray(largest.astype(np.float64) + np.log(sums.astype(np.float64)))


def _largest(rows: Any, count: int) -> tuple[NDArray[np.int64], Any]:
    """(R, count) the places of the largest numbers of each row, the first one of equal ones first; and the numbers,
    -inf where there are no more."""
    if count > _FEW:
        places = np.argsort(-rows, axis=1, kind="stable")[:, :count]
        return places, np.take_along_axis(rows, places, axis=1)
    left, each = (rows.copy() if count > 1 else rows), np.arange(len(rows))
    found, values = np.empty((len(rows), count), np.int64), np.empty((len(rows), count), rows.dtype)
    for k in range(count):
        found[:, k] = left.argmax(axis=1)
        values[:, k] = left[each, found[:, k]]
        if k + 1 < count:
            left[each, found[:, k]] = -np.inf
    return found, values
