"""A picture of losses over learning rates."""

from __future__ import annotations

import os
from typing import Any

from numpy.typing import NDArray

from .drawing import finish, pyplot


def plot_rates(
    rates: NDArray[Any],
    losses: NDArray[Any],
    smoothed: NDArray[Any],
    suggestion: float | None,
    path: str | os.PathLike[str] | None,
) -> Any:
    """See `LearningRates.plot`."""
    plt = pyplot()
    figure, ax = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
    ax.plot(rates, losses, ".", color="0.75", markersize=4, label="of each batch")
    ax.plot(rates, smoothed, label="smoothed")
    low, high = float(smoothed.min()), float(smoothed.max())
    first = float(smoothed[0])
    top = min(high, first + 1.5 * max(first - low, 0.1 * abs(first)))  # where it came apart says no more
    margin = 0.08 * (top - low) or 1.0
    ax.set(xscale="log", title="loss over the learning rate", xlabel="learning rate", ylabel="loss",
           ylim=(low - margin, top + margin))  # fmt: skip
    if suggestion is not None:
        ax.axvline(suggestion, color="0.8", zorder=0)
        ax.annotate(f"suggestion {suggestion:.2g}", (suggestion, top), textcoords="offset points", xytext=(6, -8),
                    fontsize=8, color="0.35")  # fmt: skip
    ax.legend(frameon=False, loc="lower left")
    ax.spines[["top", "right"]].set_visible(False)
    return finish(figure, path)
