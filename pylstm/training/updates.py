"""The gradient of an update that is put together: of pieces of a batch, and over several processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .. import _checks
from .._arrays import number_array
from ..graph.structure import mapped
from ..layers.row_gradient import RowGradient
from ..losses.loss import Loss
from .counted import Indices
from .data import AllTargets, Batch, Inputs

# Sums over several processes: (name -> gradient of the summed loss, its weight) -> the same, summed over all of them
Reduce = Callable[[dict[str, Any], float], tuple[Mapping[str, Any], float]]
Piece = tuple[Batch, Any, Any]  # inputs, targets, and lengths that the targets have of their own


def pieces_of(x: Inputs, y: AllTargets, rows: Indices, size: int | None) -> Iterable[Piece]:
    """A batch, in pieces of `size` sequences if it is not None: one at a time, each padded to its own longest."""
    return [_piece(x, y, rows)] if size is None else _pieces(x, y, rows, size)


def _pieces(x: Inputs, y: AllTargets, rows: Indices, size: int) -> Iterator[Piece]:
    for start in range(0, len(rows), size):
        yield _piece(x, y, rows[start : start + size])


def _piece(x: Inputs, y: AllTargets, rows: Indices) -> Piece:
    batch = x.batch(rows)
    return (batch, *y.batch(rows, batch.steps))


def of_sum(loss: Loss) -> Any:
    """The gradient of the summed loss: that of the mean is what a loss gives."""
    return mapped(lambda d: None if d is None else _times(d, _share(loss)), loss.gradient)


def _share(loss: Loss) -> float:
    """What the mean is over."""
    return loss.weight if loss.share is None else loss.share


class Summed:
    """Gradients of summed losses, added up, and what the mean is over.

    So pieces of any weights (lengths, masks, weights of classes) make the gradient of the whole, up to rounding.
    """

    def __init__(self) -> None:
        self._grads: dict[str, Any] = {}
        self._own: set[str] = set()  # what was made here, and may be added to in place
        self._total = self._weight = 0.0

    def add(self, grads: dict[str, Any], loss: Loss) -> None:
        """One that is not finite has a weight of NaN: other processes wait, and all of them raise the same."""
        self._total += loss.mean * _share(loss)
        self._weight += _share(loss) if math.isfinite(loss.total) else math.nan
        if not self._grads:
            self._grads = dict(grads)
            return
        for name, gradient in grads.items():
            total = self._grads[name]
            if name in self._own and not isinstance(gradient, RowGradient):
                total += gradient
            else:
                self._grads[name] = total + gradient
                if not isinstance(self._grads[name], RowGradient):
                    self._own.add(name)

    @property
    def loss(self) -> float:
        """The mean."""
        return self._total / self._weight if self._weight else 0.0

    def mean(self, reduce: Reduce | None, about: Callable[[float], str]) -> dict[str, Any]:
        """The gradient of the mean loss, over all processes. about: what an error says of a loss that is not finite."""
        grads: Mapping[str, Any] = self._grads
        weight = self._weight
        if reduce is not None:
            found = reduce(self._grads, weight)
            if not _is_pair(found):
                raise TypeError(f"reduce must return (gradients, weight), got {_checks.kind(found)}")
            if found[0].keys() != grads.keys():
                raise ValueError("reduce must return gradients of the names that it was given")
            try:
                grads, weight = found[0], float(found[1])
            except (TypeError, ValueError):
                raise TypeError(f"reduce must return a number for the weight, got {_checks.kind(found[1])}") from None
        if not math.isfinite(weight):
            raise FloatingPointError(about(self._total if not math.isfinite(self._total) else weight))
        scale = 1.0 / weight if weight else 0.0
        return {name: _times(gradient, scale) for name, gradient in grads.items()}


def _is_pair(found: Any) -> bool:
    return isinstance(found, (tuple, list)) and len(found) == 2 and isinstance(found[0], Mapping)


def _times(gradient: Any, scale: float) -> Any:
    if isinstance(gradient, RowGradient):
        return gradient * scale
    array = number_array("the gradients that reduce returned", gradient)
    return array * array.dtype.type(scale) if array.dtype.kind == "f" else array * scale
