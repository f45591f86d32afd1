"""The course of a training, drawn."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from ..losses.saved import larger_is_better
from .drawing import finish, pyplot

_SMALLER_IS_BETTER = ("loss", "error", "mse", "mae", "huber", "quantile", "perplexity")


def plot_history(history: Mapping[str, Sequence[float]], path: str | os.PathLike[str] | None = None) -> Any:
    """Draw what `fit` returned: each figure over the epochs, training and validation together, and the learning rate.

    Every panel is titled by its figure, and its legend names the history's keys. Where it is known whether more or less
    is better, the best epoch of the validation is marked.

    Args:
        history: what fit returned.
        path: also written there; the ending says as what.

    Returns:
        The matplotlib figure.

    Raises ImportError without matplotlib, TypeError or ValueError for what is no history.
    """
    plt = pyplot()
    if not isinstance(history, Mapping):
        raise TypeError(f"history must be what fit returned, a mapping, got {_checks.kind(history)}")
    curves = {name: _numbers(name, values) for name, values in history.items()}
    names = [name.removeprefix("val_") for name in curves if name not in ("lr", "seconds")]
    names = list(dict.fromkeys(names))
    if not names or not max(map(len, curves.values())):
        raise ValueError("history holds no epochs")
    rates = curves.get("lr", np.empty(0))
    count = len(names) + bool(len(rates))
    columns = min(count, 4)
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(5.2 * columns, 3.6 * rows), squeeze=False, layout="constrained")
    panels = list(axes.ravel())
    for ax in panels[count:]:
        ax.remove()
    for ax, name in zip(panels, names, strict=False):
        for key, what in ((name, "training"), (f"val_{name}", "validation")):
            if (values := curves.get(key)) is not None and len(values):
                ax.plot(_epochs(values), values, marker=".", label=f"{key} ({what})")
        if (values := curves.get(f"val_{name}")) is not None:
            _mark_best(ax, name, values)
        ax.set(title=name, ylabel=name)
    if len(rates):
        ax = panels[len(names)]
        ax.plot(_epochs(rates), rates, marker=".", color="tab:green", label="lr")
        ax.set(title="learning rate", ylabel="lr")
        if rates.min() > 0 and rates.max() > 20 * rates.min():
            ax.set_yscale("log")
    for ax in panels[:count]:
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)
    return finish(figure, path)


def _numbers(name: object, values: Any) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        array = np.empty((0, 0))
    if not isinstance(name, str) or array.ndim != 1:
        raise TypeError(f"history must have a list of numbers, one an epoch, under each name, and {name!r} has not")
    return array


def _epochs(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.arange(1, len(values) + 1)


def _mark_best(ax: Any, name: str, values: NDArray[np.float64]) -> None:
    words = name.lower()
    larger = larger_is_better(words)
    if np.isnan(values).all() or not (larger or any(word in words for word in _SMALLER_IS_BETTER)):
        return
    best = int(np.nanargmax(values) if larger else np.nanargmin(values))
    ax.axvline(best + 1, color="0.8", zorder=0)
    ax.annotate(f"best {values[best]:.3f}\nepoch {best + 1}", (best + 1, values[best]), textcoords="offset points",
                xytext=(6, 8), fontsize=8, color="0.35")  # fmt: skip
