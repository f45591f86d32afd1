"""Labels out of what a network trained with CTC gives: best path, and prefix beam search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _arrays, _checks
from .._arrays import Array

# (labels so far, candidates (K,)) -> the log probability (K,) of each of them as the next label
LanguageModel = Callable[[list[int], NDArray[np.int64]], ArrayLike]
_FEW = 4096  # numbers that are put in order as a whole


class Labelling(NamedTuple):
    """labels: what was found; score: the higher, the better."""

    labels: list[int]
    score: float


def ctc_decode(
    logits: Any,
    lengths: ArrayLike | None = None,
    beam_size: int = 1,
    blank: int = 0,
    *,
    n_best: int | None = None,
    candidates: int | None = None,
    language_model: LanguageModel | None = None,
    lm_weight: float = 1.0,
    insertion_bonus: float = 0.0,
) -> list[Any]:
    """The labels that logits of a network trained with `ctc_loss` read as.

    With a beam of 1 the best path: the largest logit of each step, the first one of several, repeats joined and blanks
    taken out. With a larger one prefix beam search (Graves 2012, section 7.4; Hannun et al. 2014): at every step it
    keeps the `beam_size` best beginnings of a labelling, each with the summed probability of the paths that read as it.
    As long as it has had to drop none, the labelling it finds is the likeliest one, with its exact probability.

    Args:
        logits: (N, T, C), or a list of N arrays (T_i, C), as `predict` gives them for a list.
        lengths: (N,) integers: steps beyond do not count. For an array; None: all T.
        beam_size: how many beginnings are kept.
        blank: the class of "no label here".
        n_best: give so many labellings, at most `beam_size`, with scores.
        candidates: only so many of the likeliest labels are tried at each step, which makes a search among thousands of
            classes fast. None: all.
        language_model: called with the labels so far, a list, and an array (K,) of candidates; returns (K,) log
            probabilities of each of them as the next label.
        lm_weight: what these are multiplied by before they are added.
        insertion_bonus: added for every label, since a language model makes long labellings unlikely.

    Returns:
        A list of N lists of labels; with `n_best` a list of N lists of `Labelling` tuples (labels, score), the best one
        first. score: the logarithm of the probability of the paths that the search has kept, with a beam of 1 of the
        best path, plus lm_weight * sum(log p_lm) + insertion_bonus * len(labels).

    Raises TypeError or ValueError for a wrong argument, naming it: a step that holds NaN or +inf, or nothing but -inf,
    too.

    >>> logits = np.log([[[0.6, 0.4], [0.6, 0.4]]])             # of one sequence: blank or 1
    >>> pylstm.ctc_decode(logits)                               # the path 0 0: probability 0.36
    [[]]
    >>> pylstm.ctc_decode(logits, beam_size=2)                  # 0 1, 1 0 and 1 1: 0.64
    [[1]]
    """
    beam_size = _checks.integer("beam_size", beam_size)
    count = 1 if n_best is None else _checks.integer("n_best", n_best)
    if count > beam_size:
        raise ValueError(f"n_best must be at most beam_size, {beam_size}, got {count}")
    if candidates is not None:
        candidates = _checks.integer("candidates", candidates)
    bonus = _checks.number("insertion_bonus", insertion_bonus)
    weight = _checks.number("lm_weight", lm_weight)
    if language_model is not None:
        if not callable(language_model):
            raise TypeError(f"language_model must be a function, got {_checks.kind(language_model)}")
        if beam_size == 1:
            raise ValueError("language_model needs a beam_size from 2: with 1 the best path is taken")
    found: list[Any] = []
    for i, z in enumerate(sequences(logits, lengths)):
        number = _checks.integer("blank", blank, minimum=0)
        if number >= z.shape[1]:
            raise ValueError(f"blank must be a class in 0..{z.shape[1] - 1}, got {number}")
        if beam_size == 1:
            best = [Labelling(joined(z.argmax(axis=1), number), _best_path(z) if n_best else 0.0)]
        else:
            beam = _Beam(z.shape[1], number, beam_size, language_model, weight, bonus)
            for t, log_p in enumerate(_log_softmax(z)):
                beam.step(log_p, candidates)
                if not beam.has_any:
                    raise ValueError(
                        f"logits[{i}, {t}] and the language model leave no labelling: one of them gives -inf to each "
                        "label that may stand there, and the blank has -inf"
                    )
            best = beam.best(count)
        found.append(best[0].labels if n_best is None else best)
    return found


def sequences(logits: Any, lengths: ArrayLike | None) -> list[Array]:
    """Each (T_i, C), up to its end. Raises TypeError or ValueError for what is no logits."""
    listed = isinstance(logits, (list, tuple))
    if listed:
        logits = [_arrays.array_of(f"logits[{i}]", one) for i, one in enumerate(logits)]
    if listed and any(one.ndim == 2 for one in logits):
        if lengths is not None:
            raise ValueError("lengths is for an array of logits: a list of sequences has lengths of its own")
        found = [_arrays.float_array(f"logits[{i}]", one) for i, one in enumerate(logits)]
    else:
        array = _arrays.float_array("logits", logits)
        if array.ndim != 3:
            raise ValueError(f"logits must have shape (N, T, C) or be a list of (T, C), got shape {array.shape}")
        if lengths is None:
            found = list(array)
        else:
            own = _arrays.length_array(lengths, array.shape[1], len(array))
            found = [one[:length] for one, length in zip(array, own, strict=True)]
    for i, one in enumerate(found):
        if one.ndim != 2 or one.shape[1] < 1 or one.shape[1] != found[0].shape[1]:
            raise ValueError(f"logits[{i}] must have shape (T, C), C the same for all and from 1, got {one.shape}")
        most = one.max(axis=1)
        if not np.isfinite(most).all():
            at = int(np.flatnonzero(~np.isfinite(most))[0])
            fault = "NaN" if np.isnan(most[at]) else "+inf" if most[at] > 0 else "nothing but -inf"
            raise ValueError(f"logits[{i}, {at}] must hold a finite number and neither NaN nor +inf, got {fault}")
    return found


def joined(path: NDArray[Any], blank: int) -> list[int]:
    """What a path (T,) reads as."""
    new = np.ones(len(path), np.bool_)
    new[1:] = path[1:] != path[:-1]
    labels: list[int] = path[new & (path != blank)].tolist()
    return labels


def _log_softmax(z: Array) -> NDArray[np.float64]:
    z = z.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    z -= np.log(np.exp(z).sum(axis=1, keepdims=True))
    return z


def _best_path(z: Array) -> float:
    return float(_log_softmax(z).max(axis=1).sum())


class _Beam:
    """The beginnings that are kept, as nodes of a tree: node 0 is the empty one, every other its parent's labels and
    one more."""

    def __init__(
        self, classes: int, blank: int, size: int, model: LanguageModel | None, weight: float, bonus: float
    ) -> None:
        self._classes, self._blank, self._size = classes, blank, size
        self._model, self._weight, self._bonus = model, weight, bonus
        self._parent, self._label = [-1], [blank]
        self._children: dict[tuple[int, int], int] = {}
        # Of the nodes in the beam: their numbers, the log probability of the paths that end in the blank, and in the
        # label, what is added to these, and of every node that was asked for what the language model adds for a label.
        self._nodes = np.zeros(1, np.int64)
        self._with_blank, self._with_label = np.zeros(1), np.full(1, -np.inf)
        self._added = np.zeros(1)
        self._of_model: dict[int, NDArray[np.float64]] = {}

    def step(self, log_p: NDArray[np.float64], candidates: int | None) -> None:
        """With the log probabilities (C,) of one more step."""
        nodes, total = self._nodes, np.logaddexp(self._with_blank, self._with_label)
        last = np.array([self._label[node] for node in nodes])
        labels = self._tried(log_p, candidates)
        with_blank = total + log_p[self._blank]
        with_label = self._with_label + log_p[last]  # the label goes on
        with_label[nodes == 0] = -np.inf
        # Behind an equal label only paths with a blank between begin another one.
        extended = total[:, None] + log_p[labels]
        rows, columns = np.nonzero(last[:, None] == labels)
        extended[rows, columns] = self._with_blank[rows] + log_p[last[rows]]
        # Of what is in the beam already, the paths are added to its own.
        place = {int(node): i for i, node in enumerate(nodes)}
        for i, node in enumerate(nodes):
            above = place.get(self._parent[node])
            at = np.searchsorted(labels, last[i])
            if above is not None and at < len(labels) and labels[at] == last[i]:
                with_label[i] = np.logaddexp(with_label[i], extended[above, at])
                extended[above, at] = -np.inf
        added = np.repeat(self._added[:, None] + self._bonus, len(labels), axis=1)
        if self._model is not None:
            added += np.array([self._asked(int(node), labels) for node in nodes]).reshape(added.shape)
        stay = np.logaddexp(with_blank, with_label)
        scores = np.concatenate([stay + self._added, (extended + added).reshape(-1)])
        kept = _largest(scores, self._size)
        old, new = kept[kept < len(nodes)], kept[kept >= len(nodes)] - len(nodes)
        rows, columns = new // max(1, len(labels)), new % max(1, len(labels))
        born = [self._child(int(nodes[row]), int(labels[column])) for row, column in zip(rows, columns, strict=True)]
        self._nodes = np.concatenate([nodes[old], np.array(born, np.int64)])
        self._with_blank = np.concatenate([with_blank[old], np.full(len(new), -np.inf)])
        self._with_label = np.concatenate([with_label[old], extended[rows, columns]])
        self._added = np.concatenate([self._added[old], added[rows, columns]])
        if self._model is not None:
            self._of_model = {int(node): self._of_model[int(node)] for node in self._nodes if node in self._of_model}

    @property
    def has_any(self) -> bool:
        """Whether anything has a chance: all may be forbidden by the language model."""
        return len(self._nodes) > 0

    def best(self, count: int) -> list[Labelling]:
        """So many of them, fewer where there are not as many."""
        scores = np.logaddexp(self._with_blank, self._with_label) + self._added
        return [
            Labelling(self._labels(int(self._nodes[i])), float(scores[i]))
            for i in np.argsort(-scores, kind="stable")[:count]
        ]

    def _tried(self, log_p: NDArray[np.float64], candidates: int | None) -> NDArray[np.int64]:
        """The labels of a step, ascending."""
        labels = np.delete(np.arange(self._classes), self._blank)
        if candidates is None or candidates >= len(labels):
            return labels
        return np.sort(labels[_largest(log_p[labels], candidates)])

    def _child(self, node: int, label: int) -> int:
        found = self._children.setdefault((node, label), len(self._parent))
        if found == len(self._parent):
            self._parent.append(node)
            self._label.append(label)
        return found

    def _labels(self, node: int) -> list[int]:
        found = []
        while node:
            found.append(self._label[node])
            node = self._parent[node]
        return found[::-1]

    def _asked(self, node: int, labels: NDArray[np.int64]) -> NDArray[np.float64]:
        """What the language model adds for each of the labels behind a node; asked for each once while it is kept."""
        known = self._of_model.setdefault(node, np.full(self._classes, np.nan))
        asked = labels[np.isnan(known[labels])]
        if len(asked):
            assert self._model is not None
            given = _arrays.number_array("the language model's result", self._model(self._labels(node), asked.copy()))
            if given.shape != asked.shape:
                raise ValueError(
                    f"the language model must return a log probability for each of {len(asked)} candidates, got shape "
                    f"{given.shape}"
                )
            values = given.astype(np.float64)
            if not (values < np.inf).all():
                raise ValueError("the language model must return log probabilities, numbers or -inf, got NaN or +inf")
            with np.errstate(over="ignore"):
                added = values * self._weight if self._weight else np.zeros(len(asked))
            if not (added < np.inf).all():
                raise ValueError(f"lm_weight, {self._weight:g}, makes +inf of a log probability of the language model")
            known[asked] = added
        return known[labels]


def _largest(scores: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """The places of the largest numbers, at most so many, and of none that is -inf; the largest first."""
    places = np.flatnonzero(scores > -np.inf)
    if len(places) > max(count, _FEW):
        places = np.sort(places[np.argpartition(-scores[places], count)[:count]])
    return places[np.argsort(-scores[places], kind="stable")[:count]]
