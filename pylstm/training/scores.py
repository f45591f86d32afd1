"""Metrics that are no mean over batches: what each collects of a batch, and what it makes of all of them.

So they are exact over a whole set, however it is cut into batches. Predictions are rows here: those that count, one
after another, each with its weight.
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import Array
from ..decoding.ctc import joined
from ..losses.by_name import shape_of
from ..losses.loss import Loss, counted, weighted

Float = NDArray[np.float64]


class Score(abc.ABC):
    """One metric over one pass through the data."""

    @abc.abstractmethod
    def add(self, y: Any, targets: Any, lengths: Any, loss: Loss, sample_weight: Any) -> None:
        """A batch: outputs, targets as the loss takes them, lengths, what the loss gave, weights or None."""

    @abc.abstractmethod
    def result(self) -> float:
        """Of all batches."""


def label_weights(targets: Array, lengths: Any, ignored: int, sample_weight: Any) -> Float:
    """The weight of each label, 0 for one that does not count."""
    weights = counted(targets.shape, lengths, np.dtype(np.float64)) * (targets != ignored)
    return weighted(weights, sample_weight)


def columns(y: Array, targets: Any, lengths: Any, sample_weight: Any) -> tuple[Array, Array, Float]:
    """Logits of yes or no, whether it is yes, and weights, each (rows, K): with K questions for each row."""
    t = np.asarray(targets)
    if t.shape == y.shape[:-1]:
        t = t[..., None]
    weights = weighted(counted(y.shape, lengths, np.dtype(np.float64)), sample_weight)
    size = y.shape[-1] if y.ndim > (1 if lengths is None else 2) else 1
    return y.reshape(-1, size), t.reshape(-1, size) > 0.5, weights.reshape(-1, size)


class Counts(Score):
    """Precision, recall or F1, from how often each class was right, predicted and true.

    As scikit-learn's with zero_division=0: of two classes those of class 1, of more their mean over all classes that
    occur ("macro"), or, as the name says, "weighted" by how often they are true, or of all together ("micro").
    """

    def __init__(self, score: str, average: str | None, ignored: int | None) -> None:
        """ignored: the label that does not count, None where there are yes and no instead of labels."""
        self.score, self.average, self.ignored = score, average, ignored
        self.classes = 0
        self.counts: Float = np.zeros((3, 0))  # right, predicted, true; per class

    def add(self, y: Any, targets: Any, lengths: Any, loss: Loss, sample_weight: Any) -> None:
        if self.ignored is None:
            logits, true, weights = columns(y, targets, lengths, sample_weight)
            self.classes = max(self.classes, logits.shape[-1])
            predicted = logits > 0
            self._add([((a & b) * weights).sum(axis=0) for a, b in
                       ((predicted, true), (predicted, predicted), (true, true))])  # fmt: skip
            return
        t = np.asarray(targets)
        weights = label_weights(t, lengths, self.ignored, sample_weight)
        largest = y.argmax(axis=-1) if loss.largest is None else loss.largest
        self.classes = max(self.classes, shape_of(y)[-1])
        inside = weights != 0
        w, labels, found = weights[inside], t[inside].astype(np.int64), np.asarray(largest)[inside]
        right = labels == found
        self._add([
            np.bincount(names, some, minlength=self.classes)
            for names, some in ((labels[right], w[right]), (found, w), (labels, w))
        ])  # fmt: skip

    def _add(self, counts: list[Any]) -> None:
        new = np.array(counts)
        if new.shape[1] > self.counts.shape[1]:
            self.counts = np.pad(self.counts, ((0, 0), (0, new.shape[1] - self.counts.shape[1])))
        self.counts[:, : new.shape[1]] += new

    def result(self) -> float:
        counts = self.counts
        two = self.classes == (1 if self.ignored is None else 2)
        if self.average is None and two:
            return float(self._of(counts[:, -1:])[0])
        if self.average == "micro":
            return float(self._of(counts.sum(axis=1, keepdims=True))[0])
        if self.ignored is not None:
            counts = counts[:, counts[1:].any(axis=0)]
        scores, weights = self._of(counts), np.ones(counts.shape[1]) if self.average != "weighted" else counts[2]
        total = weights.sum()
        return float((scores * weights).sum() / total) if total else 0.0

    def _of(self, counts: Float) -> Float:
        right, predicted, true = counts
        above, below = right, {"precision": predicted, "recall": true}.get(self.score)
        if below is None:
            above, below = 2 * right, predicted + true
        return np.asarray(np.divide(above, below, out=np.zeros_like(above), where=below != 0))


class AUC(Score):
    """The area under the ROC curve: how often a yes has a larger score than a no, ties for one half.

    Of several questions, and of more than two classes one against the rest (by their probabilities), the mean over
    those that have both; NaN if none has. All scores are kept up to the end.
    """

    def __init__(self, ignored: int | None) -> None:
        self.ignored = ignored
        self.parts: list[tuple[Array, Array, Float]] = []  # scores (R, K), labels (R,) or yes (R, K), weights

    def add(self, y: Any, targets: Any, lengths: Any, loss: Loss, sample_weight: Any) -> None:  # noqa: ARG002
        if self.ignored is None:
            scores, true, weights = columns(y, targets, lengths, sample_weight)
            inside = (weights != 0).any(axis=1)
            self.parts.append((scores[inside], true[inside], weights[inside]))
            return
        t = np.asarray(targets)
        weights = label_weights(t, lengths, self.ignored, sample_weight)
        inside = weights != 0
        scores = y[inside]
        if scores.shape[-1] == 2:
            scores = scores[:, 1:] - scores[:, :1]
        else:  # log softmax, whose sums do not depend on the order of the classes: so equal ones are equal
            scores = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
            scores = scores - np.log(np.exp(np.sort(scores, axis=1)).sum(axis=1, keepdims=True))
        self.parts.append((scores, t[inside], weights[inside]))

    def result(self) -> float:
        if not self.parts:
            return np.nan
        scores, true, weights = (np.concatenate(some) for some in zip(*self.parts, strict=True))
        if self.ignored is not None:
            of_class = [1] if scores.shape[1] == 1 else range(scores.shape[1])
            areas = [area(scores[:, k], true == c, weights) for k, c in enumerate(of_class)]
        else:
            areas = [area(*some) for some in zip(scores.T, true.T, weights.T, strict=True)]
        there = [one for one in areas if not np.isnan(one)]
        return float(np.mean(there)) if there else np.nan


def area(scores: Array, true: Array, weights: Float) -> float:
    """Under the ROC curve; NaN without any yes or any no, or with a score that is NaN."""
    scores, true, weights = scores[weights != 0], true[weights != 0], weights[weights != 0]
    if not len(scores) or np.isnan(scores).any():
        return np.nan
    _, level = np.unique(scores, return_inverse=True)
    yes = np.bincount(level, weights * true)
    no = np.bincount(level, weights * ~true)
    pairs = float(yes.sum() * no.sum())
    below = np.cumsum(no) - no
    return float((yes * (below + no / 2)).sum()) / pairs if pairs else np.nan


def top_k(k: int, y: Array, targets: Any, lengths: Any, ignored: int, sample_weight: Any) -> tuple[float, float]:
    """How many labels are among the k largest outputs, of equal ones the first, and how many labels there are."""
    t = np.asarray(targets)
    weights = label_weights(t, lengths, ignored, sample_weight).reshape(-1)
    inside = np.flatnonzero(weights)
    rows, labels, w = y.reshape(-1, y.shape[-1])[inside], t.reshape(-1)[inside].astype(np.int64), weights[inside]
    own = rows[np.arange(len(rows)), labels][:, None]
    first = np.arange(rows.shape[1]) < labels[:, None]
    rank = ((rows > own) | ((rows == own) & first)).sum(axis=1)
    hits = (rank < k) & (own[:, 0] == own[:, 0])
    return float((hits * w).sum()), float(w.sum())


class LabelErrors(Score):
    """The label error rate: insertions, deletions and substitutions that make the best paths' labels the targets, over
    the number of labels in the targets (Graves 2012, section 7.1); infinite where these have none."""

    def __init__(self, blank: int) -> None:
        self.blank, self.errors, self.labels = blank, 0.0, 0.0

    def add(self, y: Any, targets: Any, lengths: Any, loss: Loss, sample_weight: Any) -> None:  # noqa: ARG002
        weights = np.ones(len(targets)) if sample_weight is None else np.asarray(sample_weight)
        paths = y.argmax(axis=-1)
        for i, target in enumerate(targets):
            path = paths[i] if lengths is None else paths[i, : lengths[i]]
            self.errors += float(weights[i]) * edit_distance(joined(path, self.blank), target)
            self.labels += float(weights[i]) * len(target)

    def result(self) -> float:
        if not self.labels:
            return np.inf if self.errors else 0.0
        return self.errors / self.labels


def edit_distance(found: list[int], target: Array) -> int:
    """The least number of insertions, deletions and substitutions from one to the other (Levenshtein 1966)."""
    places = np.arange(len(target) + 1)
    row = places.copy()
    for count, label in enumerate(found, 1):
        above = row + 1
        above[1:] = np.minimum(above[1:], row[:-1] + (np.asarray(target) != label))
        above[0] = count
        row = np.minimum.accumulate(above - places) + places  # of insertions, as many as are worth it
    return int(row[-1])
