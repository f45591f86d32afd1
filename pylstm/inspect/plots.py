"""Pictures of a layer at work."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _checks
from .._cells import CELLS
from .drawing import by_steps, finish, fonts, mark_steps, number_of, pyplot, visible
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
        # of a cell whose functions are chosen: what they usually are
        usual = (cell["functions"] for cell in CELLS.values() if letters <= {*cell["gates"], *cell["states"]})
        self._functions = self._cell["functions"] or next(filter(None, usual), {})
        self._meanings = meanings_of(name)

    def is_gate(self, letter: str) -> bool:
        """Whether its numbers usually lie in 0..1."""
        return self._functions.get(letter) == "sigmoid"

    def is_state(self, letter: str) -> bool:
        return letter in self._cell["states"]

    def title(self, letter: str) -> str:
        """For people, or nothing."""
        return "output" if letter == next(iter(self._cell["states"])) else self._meanings.get(letter, "")


def _letter(name: str) -> str:
    return name.partition("_")[0]


def plot_trace(
    trace: Mapping[str, ArrayLike],
    tokens: Sequence[str] | None = None,
    *,
    names: Sequence[str] | None = None,
    units: int = 24,
    x: ArrayLike | None = None,
    features: Sequence[str] | None = None,
    saliency: ArrayLike | None = None,
    font: str | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """Draw the gates and states of one sequence as strips: steps to the right, one row per hidden unit, by its number.

    Of a bidirectional layer the directions stand side by side, each with its own units.

    Args:
        trace: of `LSTM.trace` for one sequence, arrays (T, H).
        tokens: T texts for the steps.
        names: which of the trace's entries (default: all of the first layer, both directions).
        units: how many hidden units, those whose state moves most, from the largest to the smallest value at the end.
        x: what the layer was given, (T, F) numbers, drawn above the gates; or (T,) symbols, which are the texts of the
            steps where there are no `tokens`. Of more features than `units` those that move most.
        features: F texts for the features of x.
        saliency: (T,) numbers from `Sequential.saliency`, drawn as bars above.
        font: the name or file of a font that has the tokens' characters (default: an installed one, where one
            is needed; where there is none, steps are numbered, with a warning).
        path: also written there; the ending says as what.

    Returns:
        The matplotlib figure.

    Raises ImportError without matplotlib, TypeError or ValueError naming the argument.
    """
    plt = pyplot()
    if not isinstance(trace, Mapping):
        raise TypeError(f"trace must be what LSTM.trace returned, a mapping, got {_checks.kind(trace)}")
    if names is not None and (unknown := [str(name) for name in names if name not in trace]):
        raise ValueError(f"names must be of the trace, {', '.join(trace)}, got {', '.join(unknown)}")
    if names is None:
        names = [name for name in trace if name.partition("_")[2] in ("l0", "l0_reverse")] or list(trace)
    arrays = {name: np.asarray(trace[name]) for name in names}
    steps = next(iter(arrays.values())).shape[0] if arrays else 0
    if not arrays or any(a.ndim != 2 or a.shape[0] != steps for a in arrays.values()):
        raise ValueError(
            "plot_trace takes the trace of one sequence, arrays (T, H): of a batch, take one sequence each"
        )
    units = _checks.integer("units", units)
    given, tokens = _given(x, tokens, steps)
    if tokens is not None and len(tokens) != steps:
        raise ValueError(f"tokens must be {steps} texts, one per step, got {number_of(tokens)}")
    marks = _features(given, features)
    letters = _Letters(trace)
    bars = None if saliency is None else np.asarray(saliency)[:steps]
    if bars is not None and (bars.shape != (steps,) or bars.dtype.kind not in "biuf"):
        raise ValueError(f"saliency must be {steps} numbers, one per step, got shape {bars.shape} of {bars.dtype}")
    texts = [text for some in (tokens, features) if some is not None for text in some]
    settings, readable = fonts(texts, font, "steps and features are numbered")
    if not readable:
        tokens, marks = None, list(map(str, range(len(marks))))
    sides = [side for side in (_of_direction(arrays, False), _of_direction(arrays, True)) if side]
    with plt.rc_context(settings):
        above = ([0.7] if bars is not None else []) + ([1.0] if given is not None else [])
        heights = above + [1.0] * max(map(len, sides))
        size = (len(sides) * max(6.0, min(22.0, 1.6 + 0.36 * steps)), 0.6 + 1.75 * sum(heights))
        figure, axes = plt.subplots(len(heights), len(sides), figsize=size, squeeze=False, sharex=True,
                                    layout="constrained", gridspec_kw={"height_ratios": heights})  # fmt: skip
        for side, column in zip(sides, axes.T, strict=True):
            left = list(column)
            if bars is not None:
                _bars(left.pop(0), bars)
            if given is not None:
                _input(figure, left.pop(0), given, marks, units)
            chosen = _interesting_units(side, letters, units)
            for name, array in side.items():
                last = left.pop(0)
                _strip(figure, last, name, array, chosen[array.shape[1]], letters)
            for unused in left:
                unused.remove()
            if tokens is not None:
                mark_steps(last, tokens)
            else:
                by_steps(last)
            last.tick_params(labelbottom=True)
        return finish(figure, path)


def _of_direction(arrays: Mapping[str, NDArray[Any]], reverse: bool) -> dict[str, NDArray[Any]]:
    return {name: array for name, array in arrays.items() if name.endswith("_reverse") is reverse}


def _given(
    x: ArrayLike | None, tokens: Sequence[str] | None, steps: int
) -> tuple[NDArray[Any] | None, Sequence[str] | None]:
    """The numbers that a layer was given, (T, F), and texts for the steps: x may be symbols."""
    if x is None:
        return None, tokens
    array = np.asarray(x)
    if array.ndim not in (1, 2) or len(array) != steps or array.dtype.kind not in "biuf":
        raise ValueError(f"x must be the {steps} steps that the layer was given, (T, F) or (T,), got {array.shape}")
    if array.ndim == 1 and array.dtype.kind in "biu":
        return None, tokens if tokens is not None else list(map(str, array.tolist()))
    return (array[:, None] if array.ndim == 1 else array), tokens


def _features(given: NDArray[Any] | None, features: Sequence[str] | None) -> list[str]:
    count = 0 if given is None else given.shape[1]
    if features is None:
        return list(map(str, range(count)))
    if isinstance(features, str) or len(features) != count:
        raise ValueError(f"features must be {count} texts, one for each feature of x, got {len(features)}")
    return list(map(visible, features))


def _bars(ax: Any, bars: NDArray[Any]) -> None:
    colours = ["tab:red" if bar < 0 else "0.35" for bar in bars]
    ax.bar(np.arange(len(bars)), bars / max(float(np.abs(bars).max(initial=0)), 1e-30), color=colours)
    ax.axhline(0, color="0.7", linewidth=0.8)
    signed = "grey speaks for it, red against it" if (bars < 0).any() else "size of the gradient"
    ax.set_title(f"what the answer hangs on: {signed}", loc="left", fontsize=9)
    ax.set_yticks([])
    ax.spines[["top", "right", "left"]].set_visible(False)


def _input(figure: Any, ax: Any, given: NDArray[Any], marks: list[str], units: int) -> None:
    moving = np.sort(np.argsort(-np.nan_to_num(given.std(axis=0)), kind="stable")[:units])
    shown = given[:, moving].astype(float)
    finite = np.abs(shown[np.isfinite(shown)])
    limit = float(finite.max(initial=0)) or 1.0
    image = ax.imshow(shown.T, aspect="auto", interpolation="nearest", cmap="PuOr_r", vmin=-limit, vmax=limit)
    ax.set_title("x  input", loc="left", fontsize=9)
    _numbered(ax, [marks[k] for k in moving], "feature")
    figure.colorbar(image, ax=ax, pad=0.01, aspect=12)


def _numbered(ax: Any, marks: list[str], what: str) -> None:
    """A text at each row, or at so many of them that they can be read."""
    every = -(-len(marks) // 24) if marks else 1
    ax.set_yticks(np.arange(0, len(marks), every), marks[::every], fontsize=6)
    ax.set_ylabel(what, fontsize=8)


def _strip(figure: Any, ax: Any, name: str, array: NDArray[Any], chosen: NDArray[np.int64], letters: _Letters) -> None:
    values = array[:, chosen]
    letter, _, where = name.partition("_")
    gate = letters.is_gate(letter) and not ((values < 0) | (values > 1)).any()
    limit = 1.0 if gate else max(1.0, float(np.abs(values).max(initial=0)))
    image = ax.imshow(values.T, aspect="auto", interpolation="nearest", cmap="viridis" if gate else "RdBu_r",
                      vmin=0 if gate else -limit, vmax=limit)  # fmt: skip
    ax.set_title(f"{letter}  {letters.title(letter)}  ({where})", loc="left", fontsize=9)
    _numbered(ax, list(map(str, chosen.tolist())), "unit")
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
