"""Targets with what each of them weighs, as batches hand them to losses and metrics."""

from __future__ import annotations

from typing import Any

from .._arrays import Array


class Weighted:
    """The targets of a batch, and their weights: per sequence (N,), per step (N, T), or of the targets' own form.

    Indexed as an array of targets is, so that a loop that cuts those in pieces cuts the weights with them.
    """

    __slots__ = ("targets", "weights")

    def __init__(self, targets: Any, weights: Any) -> None:
        self.targets, self.weights = targets, weights

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the targets."""
        found: tuple[int, ...] = self.targets.shape
        return found

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: Any) -> Weighted:
        axes = index if isinstance(index, tuple) else (index,)
        weights: Array = self.weights
        return Weighted(self.targets[index], weights[axes[: weights.ndim]])


def apart(targets: Any) -> tuple[Any, Any]:
    """Targets and their weights, None if all weigh the same."""
    return (targets.targets, targets.weights) if type(targets) is Weighted else (targets, None)
