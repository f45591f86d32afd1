"""What an attention looks at, drawn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .drawing import finish, fonts, pyplot, visible


def plot_attention(
    weights: ArrayLike,
    source: Sequence[str] | None = None,
    target: Sequence[str] | None = None,
    *,
    title: str | None = None,
    font: str | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """Draw the weights of an attention: a row for each step of the target, a column for each of the source.

    Args:
        weights: (target steps, source steps), as `EncoderDecoder.translate(.., return_attention=True)` gives them, or
            an `Attention` for one sequence.
        source: texts for the columns.
        target: texts for the rows.
        title: above the picture; None: no title.
        font: as `plot_trace` takes it.
        path: also written there; the ending says as what.

    Returns:
        The matplotlib figure.

    Raises ImportError without matplotlib, TypeError or ValueError naming the argument.
    """
    plt = pyplot()
    array = np.asarray(weights)
    if array.ndim != 2 or array.dtype.kind not in "biuf" or not array.size:
        raise ValueError(
            f"weights must be numbers (target steps, source steps), at least one of each, got {array.dtype} of shape "
            f"{array.shape}"
        )
    for name, texts, wanted in (("target", target, len(array)), ("source", source, array.shape[1])):
        if texts is not None and (isinstance(texts, str) or len(texts) != wanted):
            raise ValueError(f"{name} must be {wanted} texts, got {len(texts)}")
    heading = "" if title is None else _checks.text("title", title)
    written = [text for some in (source, target) if some is not None for text in some]
    settings, readable = fonts([*written, heading], font, "steps are numbered")
    if not readable:
        source = target = None
        heading = heading if heading.isascii() else ""
    rows, columns = array.shape
    with plt.rc_context(settings):
        size = min(16.0, 1.6 + 0.36 * columns), min(16.0, 1.4 + 0.32 * rows)
        figure, ax = plt.subplots(figsize=size, layout="constrained")
        ax.imshow(array, aspect="auto", interpolation="nearest", cmap="Greys", vmin=0.0)
        for axis, texts, count in ((ax.xaxis, source, columns), (ax.yaxis, target, rows)):
            every = -(-count // 60)
            marks = list(map(str, range(1, count + 1))) if texts is None else list(map(visible, texts))
            axis.set_ticks(np.arange(0, count, every), marks[::every])
        ax.xaxis.tick_top()
        long = source is not None and any(len(text) > 2 for text in source)
        ax.tick_params(axis="x", rotation=60 if long else 0, length=0)
        ax.tick_params(axis="y", length=0)
        if heading:
            ax.set_title(heading.replace("$", r"\$"), loc="left")
        return finish(figure, path)
