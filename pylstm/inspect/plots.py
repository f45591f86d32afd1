"""Pictures of a training and of a layer at work. matplotlib is an optional extra."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _checks
from .._cells import CELLS
from ..losses.saved import larger_is_better
from .trace import meanings_of


class _Letters:
    """What the letters of a trace stand for: those of the cell that has most of them."""

    def __init__(self, trace: Mapping[str, Any]) -> None:
        letters = set(map(_letter, trace))

        def fit(name: str) -> tuple[int, int]:
            own = {*CELLS[name]["gates"], *CELLS[name]["states"]}
            return len(letters & own), -len(own)

        name = max(CELLS, key=fit)
        self._cell = CELLS[name]
        self._meanings = meanings_of(name)

    def is_gate(self, letter: str) -> bool:
        """Whether its numbers lie in 0..1."""
        return self._cell["functions"].get(letter) == "sigmoid"

    def is_state(self, letter: str) -> bool:
        return letter in self._cell["states"]

    def title(self, letter: str) -> str:
        """For people, or nothing."""
        return "output" if letter == next(iter(self._cell["states"])) else self._meanings.get(letter, "")


def _letter(name: str) -> str:
    return name.partition("_")[0]


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'pylstm[train]'") from error
    return plt


def _finish(figure: Any, path: str | os.PathLike[str] | None) -> Any:
    if path is not None:
        figure.savefig(path, dpi=110)
    return figure


def plot_history(history: Mapping[str, Sequence[float]], path: str | os.PathLike[str] | None = None) -> Any:
    """Draw what `fit` returned: each figure over the epochs, training and validation together.

    Args:
        history: what fit returned.
        path: also written there; the ending says as what.

    Returns:
        The matplotlib figure.

    Raises ImportError without matplotlib, TypeError or ValueError for what is no history.
    """
    plt = _pyplot()
    if not isinstance(history, Mapping):
        raise TypeError(f"history must be what fit returned, a mapping, got {_checks.kind(history)}")
    names = [name for name in history if not name.startswith("val_") and name not in ("lr", "seconds")]
    if not names or not history[names[0]]:
        raise ValueError("history holds no epochs")
    figure, axes = plt.subplots(1, len(names), figsize=(5.2 * len(names), 3.6), squeeze=False, layout="constrained")
    for ax, name in zip(axes[0], names, strict=True):
        epochs = np.arange(1, len(history[name]) + 1)
        ax.plot(epochs, history[name], marker=".", label="training")
        if other := history.get(f"val_{name}"):
            ax.plot(epochs, other, marker=".", label="validation")
            best = int(np.argmax(other) if larger_is_better(name) else np.argmin(other))
            ax.axvline(epochs[best], color="0.8", zorder=0)
            ax.annotate(f"best {other[best]:.3f}\nepoch {epochs[best]}", (epochs[best], other[best]),
                        textcoords="offset points", xytext=(6, 8), fontsize=8, color="0.35")  # fmt: skip
            ax.legend(frameon=False)
        ax.set(title=name, xlabel="epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.spines[["top", "right"]].set_visible(False)
    return _finish(figure, path)


def plot_trace(
    trace: Mapping[str, ArrayLike],
    tokens: Sequence[str] | None = None,
    *,
    names: Sequence[str] | None = None,
    units: int = 24,
    saliency: ArrayLike | None = None,
    font: str | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """Draw the gates and states of one sequence as strips: steps to the right, one row per hidden unit.

    Args:
        trace: of `LSTM.trace` for one sequence, arrays (T, H).
        tokens: T texts for the steps.
        names: which of the trace's entries (default: all of the first layer).
        units: how many hidden units, those whose state moves most, from the largest to the smallest value at the end.
        saliency: (T,) numbers from `Sequential.saliency`, drawn as bars above.
        font: the name or file of a font that has the tokens' characters (default: the first CJK font found, where one
            is needed; where there is none, steps are numbered, with a warning).
        path: also written there; the ending says as what.

    Returns:
        The matplotlib figure.

    Raises ImportError without matplotlib, TypeError or ValueError naming the argument.
    """
    plt = _pyplot()
    if not isinstance(trace, Mapping):
        raise TypeError(f"trace must be what LSTM.trace returned, a mapping, got {_checks.kind(trace)}")
    if names is not None and (unknown := [str(name) for name in names if name not in trace]):
        raise ValueError(f"names must be of the trace, {', '.join(trace)}, got {', '.join(unknown)}")
    if names is None:
        names = [name for name in trace if name.endswith("_l0")] or list(trace)
    arrays = {name: np.asarray(trace[name]) for name in names}
    steps = next(iter(arrays.values())).shape[0] if arrays else 0
    if not arrays or any(a.ndim != 2 or a.shape[0] != steps for a in arrays.values()):
        raise ValueError(
            "plot_trace takes the trace of one sequence, arrays (T, H): of a batch, take one sequence each"
        )
    if tokens is not None and len(tokens) != steps:
        raise ValueError(f"tokens must be {steps} texts, one per step, got {len(tokens)}")
    letters = _Letters(trace)
    chosen = _interesting_units(arrays, letters, _checks.integer("units", units))
    bars = None if saliency is None else np.asarray(saliency)[:steps]
    if bars is not None and (bars.shape != (steps,) or bars.dtype.kind not in "biuf"):
        raise ValueError(f"saliency must be {steps} numbers, one per step, got shape {bars.shape} of {bars.dtype}")
    settings, readable = _fonts(tokens, font)
    if not readable:
        tokens = None
    with plt.rc_context(settings):
        heights = ([0.7] if bars is not None else []) + [1.0] * len(arrays)
        size = (max(6.0, min(22.0, 1.6 + 0.36 * steps)), 0.6 + 1.75 * sum(heights))
        figure, axes = plt.subplots(len(heights), 1, figsize=size, squeeze=False, sharex=True, layout="constrained",
                                    gridspec_kw={"height_ratios": heights})  # fmt: skip
        column = list(axes[:, 0])
        if bars is not None:
            top = column.pop(0)
            colours = ["tab:red" if bar < 0 else "0.35" for bar in bars]
            top.bar(np.arange(steps), bars / max(float(np.abs(bars).max(initial=0)), 1e-30), color=colours)
            top.axhline(0, color="0.7", linewidth=0.8)
            signed = "grey speaks for it, red against it" if (bars < 0).any() else "size of the gradient"
            top.set_title(f"what the answer hangs on: {signed}", loc="left", fontsize=9)
            top.set_yticks([])
            top.spines[["top", "right", "left"]].set_visible(False)
        for ax, (name, array) in zip(column, arrays.items(), strict=True):
            _strip(figure, ax, name, array[:, chosen[array.shape[1]]], letters)
        if tokens is not None:
            upright = max(map(len, tokens), default=0) <= 2
            column[-1].set_xticks(np.arange(steps), list(map(_visible, tokens)), rotation=0 if upright else 90)
        column[-1].set_xlabel("step" if tokens is None else "")
        return _finish(figure, path)


def _strip(figure: Any, ax: Any, name: str, values: NDArray[Any], letters: _Letters) -> None:
    letter, _, where = name.partition("_")
    gate = letters.is_gate(letter)
    limit = 1.0 if gate else max(1.0, float(np.abs(values).max(initial=0)))
    image = ax.imshow(values.T, aspect="auto", interpolation="nearest", cmap="viridis" if gate else "RdBu_r",
                      vmin=0 if gate else -limit, vmax=limit)  # fmt: skip
    ax.set_title(f"{letter}  {letters.title(letter)}  ({where})", loc="left", fontsize=9)
    ax.set_yticks([])
    ax.set_ylabel(f"{values.shape[1]} units", fontsize=8)
    figure.colorbar(image, ax=ax, pad=0.01, aspect=12)


def _interesting_units(
    arrays: Mapping[str, NDArray[Any]], letters: _Letters, units: int
) -> dict[int, NDArray[np.int64]]:
    """For each width: the units that move most, by their value at the end. One order for all strips, so that a unit's
    gates and states stand on the same line."""
    chosen = {}
    for width in {array.shape[1] for array in arrays.values()}:
        same = {name: array for name, array in arrays.items() if array.shape[1] == width}
        states = [array for name, array in same.items() if letters.is_state(_letter(name))] or list(same.values())
        state = states[-1]
        moving = np.argsort(-state.std(axis=0), kind="stable")[:units]
        chosen[width] = moving[np.argsort(-state[-1:, moving].sum(axis=0), kind="stable")]
    return chosen


def _visible(token: str) -> str:
    return {" ": "␣", "\n": "⏎", "\t": "⇥"}.get(token, token).replace("$", r"\$")


def _fonts(tokens: Sequence[str] | None, font: str | None) -> tuple[dict[str, Any], bool]:
    """Settings with a font for the tokens, and whether there is one."""
    from matplotlib import font_manager

    if font is None and tokens is not None and any(ord(char) > 0x2E80 for token in tokens for char in token):
        known = {entry.name for entry in font_manager.fontManager.ttflist}
        marks = ("CJK", "WenQuanYi", "Droid Sans Fallback", "SimHei", "PingFang", "YaHei", "Song")
        font = next((name for name in sorted(known) if any(mark in name for mark in marks)), None)
        if font is None:
            warnings.warn(
                "no font has these characters, so steps are numbered: install one, or give font=", stacklevel=3
            )
            return {}, False
    elif font is not None and os.path.isfile(font):
        font_manager.fontManager.addfont(font)
        font = font_manager.FontProperties(fname=font).get_name()
    return ({} if font is None else {"font.sans-serif": [font, "DejaVu Sans"], "font.family": "sans-serif"}), True
