"""Sentences written symbol by symbol, several hypotheses for each: the loop that beam search and sampling share.

Rows go sentence by sentence, `width` of them for each: row s * width + j is hypothesis j of sentence s. A sentence that
is done leaves the batch; where one has fewer hypotheses than others, the rows that are left over are copies of its
first one, with the score -inf.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _arrays, _checks
from .rows import Axis, count_of, taken

Index = NDArray[np.intp]
Scores = NDArray[np.float64]


class Hypothesis(NamedTuple):
    """What a search has found for a sentence.

    Attributes:
        symbols: a list of ints, without begin and end.
        score: the logarithm of its probability, divided by the length penalty.
        log_prob: that logarithm itself, the end among its symbols.
        trace: (symbols, ...), what the step function gave to keep for each symbol, the end among them; or None.
    """

    symbols: list[int]
    score: float
    log_prob: float
    trace: Any = None


def penalty(length: int, alpha: float) -> float:
    """((5 + length) / 6) ** alpha (Wu et al. 2016)."""
    return float(((5.0 + length) / 6.0) ** alpha)


class Search(abc.ABC):
    """One search: what it was asked for, checked, and where it stands."""

    def __init__(
        self,
        step: Callable[..., Any],
        state: Any,
        begin: Any,
        end: object,
        max_length: object,
        *,
        width: int,
        alpha: float,
        n_best: int,
        axis: Axis,
        reorder: Callable[[Any, Index], Any] | None,
        shared: Any,
        batch_size: object,
        numbers: Index | None = None,
        never: int | None = None,
    ) -> None:
        """width: hypotheses of a sentence to begin with; n_best: how many of it are wanted; numbers: what errors call
        the sentences; never: a symbol that is not written, whatever its probability."""
        if not callable(step):
            raise TypeError(f"step must be a function (symbols, state), got {_checks.kind(step)}")
        if reorder is not None and not callable(reorder):
            raise TypeError(f"reorder must be a function (state, rows), got {_checks.kind(reorder)}")
        self.step, self.axis, self.own_reorder = step, axis, reorder
        self.end = _checks.integer("end", end, minimum=0)
        self.max_length = _checks.integer("max_length", max_length)
        self.alpha, self.n_best, self.never = alpha, n_best, never
        try:
            penalty(self.max_length, alpha)
        except OverflowError:
            raise ValueError(
                f"length_penalty must not be so large: ((5 + max_length) / 6) ** {alpha:g} is no number"
            ) from None
        count, first = _counted(state, begin, axis, reorder, shared, batch_size)
        self.state, self.shared = state, shared
        self.width, self.classes = width, 0
        self.ids = np.arange(count)  # of the sentences that are left
        self.numbers = self.ids if numbers is None else numbers
        self.symbols = np.repeat(first, width)
        if width > 1 and count:
            self._take(np.repeat(np.arange(count), width))
        self.scores: Scores = np.zeros((count, width))
        self.written = np.zeros((count, width, 0), np.int64)
        self.rows = np.zeros((count, width, 0), np.intp)  # of the step that wrote each symbol
        self.traces: list[Any] = []
        self.found: list[list[Hypothesis]] = [[] for _ in range(count)]

    @abc.abstractmethod
    def choose(self, logits: Any) -> tuple[Index, NDArray[np.int64], Scores]:
        """How the hypotheses go on: (parent, symbol, log probability), each (sentences, any), the best ones first;
        -inf where there is none. logits: (sentences, width, V), checked."""

    def allowed(self, rows: Any) -> Any:
        """Logits without what is never written; rows stay as they are."""
        if self.never is None or self.never >= rows.shape[1]:
            return rows
        rows = rows.copy()
        rows[:, self.never] = -np.inf
        return rows

    def run(self) -> list[list[Hypothesis]]:
        """The best ones of each sentence, best first."""
        for length in range(1, self.max_length + 1):
            if len(self.ids) == 0:
                break
            logits = self._logits(length)
            parents, symbols, scores = self.choose(logits)
            self._advance(parents, symbols, scores, length)
        for number, some in zip(self.numbers, self.found, strict=True):
            if not some:
                raise ValueError(f"nothing can be written for sentence {number}: what is allowed has logits of -inf")
            some.sort(key=lambda one: -one.score)  # stable: of equal ones the first that was found
            del some[self.n_best :]
        return self.found

    # ---- one step ----------------------------------------------------------------------------------------------------

    def _logits(self, length: int) -> Any:
        given = (self.symbols, self.state) if self.shared is None else (self.symbols, self.state, self.shared)
        found = self.step(*given)
        if not isinstance(found, tuple) or len(found) not in (2, 3):
            shown = f"a tuple of {len(found)}" if isinstance(found, tuple) else _checks.kind(found)
            raise TypeError(f"step must return (logits, state), or with something to keep a third, got {shown}")
        logits = _arrays.float_array("the logits that step returned", found[0])
        count = len(self.symbols)
        if logits.ndim != 2 or len(logits) != count or logits.shape[1] == 0:
            raise ValueError(f"step must return logits of shape ({count}, V), V at least 1, got {logits.shape}")
        if self.classes == 0:
            self.classes = logits.shape[1]
            if self.end >= self.classes:
                raise ValueError(f"end is {self.end}, and step gives logits of {self.classes} symbols, 0..")
        elif logits.shape[1] != self.classes:
            raise ValueError(f"step returned logits of {logits.shape[1]} symbols, and before of {self.classes}")
        largest = logits.max(axis=1)
        if not np.isfinite(largest).all():
            row = int(np.flatnonzero(~np.isfinite(largest))[0])
            what = "NaN" if np.isnan(largest[row]) else "+inf" if largest[row] > 0 else "nothing but -inf"
            sentence = self.numbers[self.ids[row // self.width]]
            raise ValueError(
                f"step returned logits that hold {what} for symbol {length} of sentence {sentence}: they must be "
                "finite, or -inf for a symbol that is not allowed"
            )
        self.state = found[1]
        if length > 1 and (len(found) == 3) != bool(self.traces):
            raise TypeError("step must return something to keep for every symbol, or for none")
        if len(found) == 3:
            trace = np.array(found[2])  # a copy: step may use its memory again
            if trace.ndim == 0 or len(trace) != count:
                raise ValueError(f"what step gives to keep must have {count} rows, got shape {trace.shape}")
            if self.traces and trace.shape[1:] != self.traces[0].shape[1:]:
                raise ValueError(
                    f"what step gives to keep must have rows of one shape, got {trace.shape[1:]} and before "
                    f"{self.traces[0].shape[1:]}"
                )
            self.traces.append(trace)
        return logits.reshape(len(self.ids), self.width, self.classes)

    def _advance(self, parents: Index, symbols: NDArray[np.int64], scores: Scores, length: int) -> None:
        """Each hypothesis with its new symbol; those that have ended are kept, those that can win no more are not."""
        each = np.arange(len(self.ids))[:, None]
        written = np.concatenate([self.written[each, parents], symbols[..., None]], axis=2)
        rows = np.concatenate([self.rows[each, parents], (each * self.width + parents)[..., None]], axis=2)
        alive = scores > -np.inf
        ended = alive & ((symbols == self.end) if length < self.max_length else True)
        factor = penalty(length, self.alpha)
        for s, j in zip(*np.nonzero(ended), strict=True):
            whole = written[s, j].tolist()
            self.found[self.ids[s]].append(
                Hypothesis(
                    whole[:-1] if symbols[s, j] == self.end else whole,
                    float(scores[s, j]) / factor,
                    float(scores[s, j]),
                    self._trace(rows[s, j]),
                )
            )
        alive &= ~ended & (scores / penalty(self.max_length, self.alpha) > self._bars()[:, None])
        left = np.flatnonzero(alive.any(axis=1))
        order = np.argsort(~alive[left], axis=1, kind="stable")[:, : int(alive.sum(axis=1).max(initial=0))]
        order = np.where(np.take_along_axis(alive[left], order, axis=1), order, order[:, :1])
        fresh = np.take_along_axis(scores[left], order, axis=1)
        same = order == order[:, :1]
        same[:, :1] = False
        fresh[same] = -np.inf  # copies of the first one
        at = left[:, None]
        self._take((at * self.width + parents[at, order]).reshape(-1), left)
        self.ids, self.width = self.ids[left], order.shape[1] if len(left) else 1
        self.symbols = symbols[at, order].reshape(-1)
        self.scores, self.written, self.rows = fresh, written[at, order], rows[at, order]

    def _bars(self) -> Scores:
        """What a hypothesis of each sentence has to be above, as its score can only fall: the worst of those that are
        wanted, once there are as many."""
        bars = np.full(len(self.ids), -np.inf)
        for s, i in enumerate(self.ids):
            if len(self.found[i]) >= self.n_best:
                bars[s] = sorted((one.score for one in self.found[i]), reverse=True)[self.n_best - 1]
        return bars

    def _trace(self, rows: Index) -> Any:
        return np.stack([kept[row] for kept, row in zip(self.traces, rows, strict=True)]) if self.traces else None

    def _take(self, rows: Index, left: Index | None = None) -> None:
        """Of the state these rows; of what sentences share, `left` of them."""
        if self.shared is not None and left is not None and len(left) < len(self.ids):
            self.shared = taken(self.shared, left, 0, "shared")
        if len(rows) == len(self.symbols) and bool((rows == np.arange(len(rows))).all()) and left is not None:
            return
        if self.own_reorder is not None:
            self.state = self.own_reorder(self.state, rows)
        else:
            self.state = taken(self.state, rows, self.axis)


def _counted(
    state: Any, begin: Any, axis: Axis, reorder: Any, shared: Any, batch_size: object
) -> tuple[int, NDArray[np.int64]]:
    """How many sentences there are, and their first symbols. Raises TypeError or ValueError."""
    counts: dict[str, int] = {}
    if batch_size is not None:
        counts["batch_size"] = _checks.size("batch_size", batch_size, minimum=0)
    if isinstance(begin, (int, np.integer)) and not isinstance(begin, bool):
        first = np.array([_checks.size("begin", begin, minimum=0)], np.int64)
    else:
        first = np.asarray(begin)
        if first.ndim == 1 and first.dtype.kind in "iu":
            first = first.astype(np.int64)
        if first.ndim != 1 or first.dtype != np.int64 or bool((first < 0).any()):
            raise TypeError(f"begin must be a symbol, or an array of one for each sentence, got {_checks.kind(begin)}")
        counts["begin"] = len(first)
    if reorder is None and (rows := count_of(state, axis)) is not None:
        counts["state"] = rows
    if (rows := count_of(shared, 0, "shared")) is not None:
        counts["shared"] = rows
    if not counts:
        raise ValueError("batch_size is missing: the state has no arrays that say how many sentences there are")
    if len(set(counts.values())) > 1:
        raise ValueError("there must be one row for each sentence, got " + " and ".join(
            f"{name} for {n}" for name, n in counts.items()))  # fmt: skip
    count = next(iter(counts.values()))
    return count, np.broadcast_to(first, (count,)).copy()
