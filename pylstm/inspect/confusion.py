"""Which classes are taken for which."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _checks
from .._arrays import Array, length_array
from ..losses.classification import IGNORED
from .drawing import finish, fonts, pyplot, visible

_MOST = 2**13  # classes: their matrix takes half a GiB


class ConfusionMatrix(NamedTuple):
    """What `confusion_matrix` gives.

    Attributes:
        matrix: (K, K): at [i, j] how often class i was taken for class j.
        labels: K texts or numbers, what the classes are called.
    """

    matrix: Array
    labels: tuple[Any, ...]


def confusion_matrix(
    y: Any,
    predicted: Any,
    *,
    labels: Sequence[Any] | None = None,
    lengths: ArrayLike | None = None,
    normalize: str | None = None,
) -> ConfusionMatrix:
    """How often each class was taken for which: a row for each class of y, a column for each class predicted.

    Args:
        y: the right classes: integers (N,) or (N, 1), per step (N, T), or a list of sequences; or texts in these forms.
            Those of -100 are left out, as losses do.
        predicted: classes in the same form, as `predict_classes` gives them.
        labels: K names, of the classes 0 .. K - 1; of texts the classes themselves, in this order. None: the numbers up
            to the largest, or the texts in their order.
        lengths: (N,) integers, of padded steps.
        normalize: "true": shares of each row, of what the classes are; "predicted": shares of each column; "all":
            shares of all; None: counts. Where there is nothing to share it is 0.

    Returns:
        A `ConfusionMatrix`: matrix, (K, K) integers, or floats where they are shares, and labels.

    Raises TypeError or ValueError naming the argument.
    """
    if normalize is not None:
        _checks.choice("normalize", normalize, ("true", "predicted", "all"))
    (own, each), (other, others) = _flat("y", y, lengths), _flat("predicted", predicted, lengths)
    if len(own) != len(other) or len(each) != len(others):
        raise ValueError(f"y holds {len(own)} classes and predicted {len(other)}, of {len(each)} and {len(others)}")
    if (each != others).any():
        k = int(np.flatnonzero(each != others)[0])
        raise ValueError(f"y[{k}] holds {each[k]} classes and predicted[{k}] {others[k]}")
    if own.dtype.kind != other.dtype.kind and len(own):
        raise TypeError("y and predicted must both be numbers of classes, or both texts")
    if own.dtype.kind != "U":
        other, own = other[own != IGNORED], own[own != IGNORED]
    names = _names(labels, own, other)
    if own.dtype.kind == "U":
        places = {name: k for k, name in enumerate(names)}
        own, other = _numbered("y", own, places), _numbered("predicted", other, places)
    for name, array in (("y", own), ("predicted", other)):
        if len(array) and not (array.min() >= 0 and array.max() < len(names)):
            wrong = int(array[(array < 0) | (array >= len(names))][0])
            raise ValueError(f"{name} must hold classes 0 .. {len(names) - 1}, got {wrong}")
    count = len(names)
    matrix: Array = np.bincount(own.astype(np.int64) * count + other.astype(np.int64), minlength=count * count)
    matrix = matrix.reshape(count, count)
    if normalize is not None:
        axis = {"true": 1, "predicted": 0, "all": None}[normalize]
        total = matrix.sum(axis=axis, keepdims=True)
        matrix = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    return ConfusionMatrix(matrix, names)


def _flat(name: str, given: Any, lengths: ArrayLike | None) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """All classes that count, one after another, integers or texts; and how many there are of each sequence."""
    if isinstance(given, (list, tuple)) and given and isinstance(given[0], (list, tuple, np.ndarray)):
        if lengths is not None:
            raise ValueError("lengths is for padded arrays: lists of sequences have lengths of their own")
        parts = [_classes(f"{name}[{k}]", item) for k, item in enumerate(given)]
        each = np.array([part.size for part in parts], np.int64)
        parts = [part for part in parts if part.size] or [np.zeros(0, np.int64)]
        if len({part.dtype.kind for part in parts}) > 1:
            raise TypeError(f"{name} must hold numbers of classes or texts, not both")
        return np.concatenate([part.reshape(-1) for part in parts]), each
    array = _classes(name, given)
    if lengths is None:
        return array.reshape(-1), np.full(len(array), array[:1].size, np.int64)
    if array.ndim != 2:
        raise ValueError(f"lengths needs {name} of shape (N, T), got {array.shape}")
    counts = length_array(lengths, array.shape[1], len(array))
    return np.asarray(array[np.arange(array.shape[1]) < counts[:, None]]), counts


def _classes(name: str, given: Any) -> NDArray[Any]:
    if isinstance(given, np.ma.MaskedArray):
        raise TypeError(f"{name} must hold classes, got a masked array; fill or drop the masked entries first")
    try:
        array = np.asarray(given)
    except ValueError:
        array = np.empty(0, object)
    if array.dtype.kind == "O" and array.size and all(isinstance(text, str) for text in array.flat):
        array = array.astype(np.str_)  # as columns of tables have them
    if array.dtype.kind == "f" and (array == np.floor(array)).all():
        array = array.astype(np.int64)
    if array.size == 0 and array.dtype.kind == "f":
        array = array.astype(np.int64)
    if array.dtype.kind == "b":
        array = array.astype(np.int64)
    if array.dtype.kind not in "iuU" or array.ndim == 0:
        raise TypeError(
            f"{name} must hold classes, whole numbers or texts (predict_classes gives them), got {_checks.kind(given)}"
            + (f" of {array.dtype}" if isinstance(given, np.ndarray) else "")
        )
    return array.astype(np.int64) if array.dtype.kind == "u" else array


def _names(labels: Sequence[Any] | None, own: NDArray[Any], other: NDArray[Any]) -> tuple[Any, ...]:
    texts = own.dtype.kind == "U"
    if labels is None:
        if texts:
            names: tuple[Any, ...] = tuple(np.unique(np.concatenate([own, other])).tolist())
        else:
            names = tuple(range(_few(int(max(own.max(initial=-1), other.max(initial=-1))) + 1)))
    elif isinstance(labels, (str, set, frozenset)) or not hasattr(labels, "__len__"):  # a set has no order
        raise TypeError(f"labels must be a list of names, got {_checks.kind(labels)}")
    else:
        _few(len(labels))
        names = tuple(labels)
    if len(set(map(str, names))) != len(names):
        raise ValueError("labels must differ from each other")
    return names


def _few(count: int) -> int:
    if count > _MOST:
        raise ValueError(f"a confusion matrix has at most {_MOST} classes, and these are {count}")
    return count


def _numbered(name: str, texts: NDArray[Any], places: dict[Any, int]) -> NDArray[Any]:
    if unknown := [text for text in texts.tolist() if text not in places]:
        raise ValueError(f"{name} holds {unknown[0]!r}, which is none of labels")
    return np.array([places[text] for text in texts.tolist()], np.int64)


def plot_confusion_matrix(
    matrix: ConfusionMatrix | ArrayLike,
    labels: Sequence[Any] | None = None,
    *,
    title: str | None = None,
    font: str | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """Draw a confusion matrix: the right classes downwards, the predicted ones to the right.

    Args:
        matrix: what `confusion_matrix` gave, or an array (K, K).
        labels: K names; None: those of the matrix.
        title: above the picture; None: "confusion matrix".
        font: as `plot_trace` takes it. Where no font has the labels' characters, classes are numbered, with a warning.
        path: also written there; the ending says as what.

    Returns:
        The matplotlib figure.

    Raises ImportError without matplotlib, TypeError or ValueError naming the argument.
    """
    plt = pyplot()
    own = matrix.labels if isinstance(matrix, ConfusionMatrix) else None
    counts = np.asarray(matrix.matrix if isinstance(matrix, ConfusionMatrix) else matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size or counts.dtype.kind not in "iuf":
        raise ValueError(f"matrix must be numbers (K, K), got {counts.dtype} of shape {counts.shape}")
    count = len(counts)
    labels = labels if labels is not None else own if own is not None else range(count)
    if isinstance(labels, str) or len(labels) != count:
        raise ValueError(f"labels must be {count} names, got {len(labels)}")
    heading = "confusion matrix" if title is None else _checks.text("title", title)
    settings, readable = fonts([*labels, heading], font, "classes are numbered")
    if not readable:
        labels = range(count)
        heading = heading if heading.isascii() else "confusion matrix"
    with plt.rc_context(settings):
        side = max(3.2, min(16.0, 1.6 + 0.5 * count))
        figure, ax = plt.subplots(figsize=(side + 0.8, side), layout="constrained")
        most = float(np.nanmax(counts, initial=0)) or 1.0
        image = ax.imshow(counts, cmap="Blues", vmin=0, vmax=most)
        every = -(-count // 60)
        texts = list(map(visible, labels))[::every]
        long = max(map(len, texts)) > 2
        ax.set_xticks(np.arange(0, count, every), texts, rotation=90 if long else 0)
        ax.set_yticks(np.arange(0, count, every), texts)
        if count <= 25:
            for i, j in np.ndindex(count, count):
                value = counts[i, j]
                text = str(value) if counts.dtype.kind in "iu" else f"{value:.2f}"
                ax.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if value > most / 2 else "0.2")
        ax.set(xlabel="predicted", ylabel="true", title=heading.replace("$", r"\$"))
        figure.colorbar(image, ax=ax, pad=0.02)
        return finish(figure, path)
