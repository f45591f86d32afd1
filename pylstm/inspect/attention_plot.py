"""A picture of which words of the source a target's words come from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .drawing import finish, fonts, pyplot, visible

_MOST = 400  # words of either: more of them nobody can read, and no figure is so large


def plot_attention(
    weights: ArrayLike,
    source: Sequence[Any],
    target: Sequence[Any],
    *,
    title: str | None = None,
    font: str | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """Draw attention's weights for one sequence: the target's words downwards, the source's to the right.

    Args:
        weights: (Q, K), as `Attention` gives them for one sequence; those of padding behind the words are left out.
        source: at most K words, or symbols of any kind: what the keys stand for.
        target: at most Q words: what the queries were when they looked.
        title: above the picture; None: none.
        font: as `plot_trace` takes it. Where no font has the words' characters, words are numbered, with a warning.
        path: also written there; the ending says as what.

    Returns:
        The matplotlib figure.

    Raises ImportError without matplotlib, TypeError or ValueError naming the argument.

    >>> import numpy as np, pylstm
    >>> weights = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1]])
    >>> figure = pylstm.plot_attention(weights, ["good", "day", "!"], ["guten", "Tag"])
    """
    plt = pyplot()
    shown = np.asarray(weights)
    if shown.ndim != 2 or shown.dtype.kind not in "iuf":
        raise ValueError(f"weights must be numbers (Q, K) of one sequence, got {shown.dtype} of shape {shown.shape}")
    if not shown.size:
        raise ValueError(f"weights must be of one word and one step at least, got shape {shown.shape}")
    below, right = _words("target", target, shown.shape[0]), _words("source", source, shown.shape[1])
    shown = shown[: len(below), : len(right)]
    heading = "" if title is None else _checks.text("title", title)
    settings, readable = fonts([*below, *right, heading], font, "words are numbered")
    if not readable:
        below, right = list(map(str, range(len(below)))), list(map(str, range(len(right))))
        heading = heading if heading.isascii() else ""
    with plt.rc_context(settings):
        size = [max(2.4, min(20.0, 1.6 + 0.32 * len(words))) for words in (right, below)]
        figure, ax = plt.subplots(figsize=(size[0] + 0.8, size[1]), layout="constrained")
        image = ax.imshow(shown, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        ax.xaxis.tick_top()
        long = max(map(len, right)) > 2
        ax.set_xticks(range(len(right)), [visible(word) for word in right], rotation=60 if long else 0,
                      ha="left" if long else "center")  # fmt: skip
        ax.set_yticks(range(len(below)), [visible(word) for word in below])
        ax.set(xlabel="source", ylabel="target")
        ax.xaxis.set_label_position("top")
        if heading:
            figure.suptitle(heading.replace("$", r"\$"))
        figure.colorbar(image, ax=ax, pad=0.02, label="weight")
        return finish(figure, path)


def _words(name: str, given: Any, most: int) -> list[str]:
    if isinstance(given, (str, bytes, set, frozenset)) or not hasattr(given, "__len__"):  # a set has no order
        hint = f": list({name}) is its characters" if isinstance(given, str) else ""
        raise TypeError(f"{name} must be a list of words, got {_checks.kind(given)}{hint}")
    words = [str(word) for word in given]
    if not 0 < len(words) <= min(most, _MOST):
        raise ValueError(f"{name} must be 1 to {min(most, _MOST)} words, as weights have them, got {len(words)}")
    return words
