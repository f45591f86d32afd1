"""Saliency, drawn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .drawing import by_steps, finish, fonts, mark_steps, number_of, pyplot, visible


def plot_saliency(
    scores: ArrayLike,
    tokens: Sequence[str] | None = None,
    *,
    features: Sequence[str] | None = None,
    title: str | None = None,
    font: str | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """Draw what `saliency` gave of one sequence: a bar for each step, or a cell for each feature of each step.

    Args:
        scores: (T,), or (T, F).
        tokens: T texts for the steps.
        features: F texts for the features.
        title: above the picture; None: "saliency".
        font: as `plot_trace` takes it.
        path: also written there; the ending says as what.

    Returns:
        The matplotlib figure.

    Raises ImportError without matplotlib, TypeError or ValueError naming the argument.
    """
    plt = pyplot()
    array = np.asarray(scores)
    if array.ndim not in (1, 2) or array.dtype.kind not in "biuf" or not array.size:
        raise ValueError(f"scores must be numbers of one sequence, (T,) or (T, F), got {array.dtype} of {array.shape}")
    steps, count = len(array), (array.shape[1] if array.ndim == 2 else 0)
    for name, texts, wanted in (("tokens", tokens, steps), ("features", features, count)):
        if texts is not None and (isinstance(texts, str) or len(texts) != wanted):
            raise ValueError(f"{name} must be {wanted} texts, got {number_of(texts)}")
    heading = "saliency" if title is None else _checks.text("title", title)
    written = [text for some in (tokens, features) if some is not None for text in some]
    settings, readable = fonts([*written, heading], font, "steps and features are numbered")
    if not readable:
        tokens = features = None
        heading = heading if heading.isascii() else "saliency"
    limit = float(np.nanmax(np.abs(array[np.isfinite(array)]), initial=0)) or 1.0
    with plt.rc_context(settings):
        height = 2.4 if array.ndim == 1 else min(12.0, 1.6 + 0.28 * count)
        figure, ax = plt.subplots(figsize=(max(5.0, min(22.0, 1.8 + 0.36 * steps)), height), layout="constrained")
        if array.ndim == 1:
            ax.bar(np.arange(steps), array, color=np.where(array < 0, "tab:red", "0.35").tolist())
            ax.axhline(0, color="0.7", linewidth=0.8)
            ax.set_ylabel("saliency")
            ax.spines[["top", "right"]].set_visible(False)
        else:
            image = ax.imshow(array.T, aspect="auto", interpolation="nearest", cmap="RdBu_r", vmin=-limit, vmax=limit)
            every = -(-count // 40)
            marks = list(map(str, range(count))) if features is None else list(map(visible, features))
            ax.set_yticks(np.arange(0, count, every), marks[::every])
            ax.set_ylabel("feature")
            figure.colorbar(image, ax=ax, pad=0.01, aspect=12)
        if tokens is not None:
            mark_steps(ax, tokens)
        else:
            by_steps(ax)
        ax.set_title(heading.replace("$", r"\$"), loc="left")
        return finish(figure, path)
