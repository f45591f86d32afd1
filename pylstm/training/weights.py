"""Targets that do not all weigh the same: by `sample_weight`, or because some of them are missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import _checks
from .._arrays import Array, number_array
from ..graph.structure import mapped
from ..losses.loss import WEIGHTS, not_weights
from ..losses.loss_function import LossFunction
from ..losses.targets import Form, fits, shown
from ..losses.weighted import Weighted
from .counted import Counted, Indices
from .data import AllTargets, Inputs, SeveralTargets, Targets

MISSING = ("nan",)


class WeightedTargets:
    """Targets whose batches come with weights (`Weighted`), and in which NaN may stand for what is not known.

    missing: whether it does. Of losses of labels, a missing one becomes the label that does not count; of others it
    weighs 0, and has the value 0.
    """

    def __init__(
        self,
        targets: AllTargets,
        x: Inputs,
        sample_weight: Any,
        *,
        missing: bool,
        loss: LossFunction,
        per_step: bool | None,
        free: bool,
        lengths: Any,
    ) -> None:
        """lengths: of padded targets with lengths of their own."""
        self._targets, self._missing, self._ignored = targets, missing, loss.label_ignored
        self._each: Array | None = None  # of every sequence
        self._steps: Targets | None = None
        self._numbers: Counted | None = None  # either of these
        self._lengths = _lengths_of(targets, x)
        if missing and loss.without_places:
            raise ValueError("missing is for targets at places of their own, and the loss is ctc: leave sequences out")
        if sample_weight is not None:
            if isinstance(lengths, (tuple, dict)):
                lengths = None
            self._take(sample_weight, x, per_step, free, lengths, loss)

    def _take(self, given: Any, x: Inputs, per_step: bool | None, free: bool, lengths: Any, loss: LossFunction) -> None:
        ragged = isinstance(given, (list, tuple)) and any(np.ndim(one) for one in given)
        array = None if ragged else number_array("sample_weight", given)
        if array is not None and array.ndim == 2 and array.shape[1] == 1 and x.steps != 1:
            array = array[:, 0]
        if array is not None and array.ndim == 0:
            raise TypeError(f"sample_weight must hold a number per sequence or per step, got {_checks.kind(given)}")
        if array is not None and len(array) != len(x):
            raise ValueError(f"sample_weight must hold a number for each of {len(x)} sequences, got {array.shape}")
        part: Counted
        if array is not None and array.ndim == 1:
            self._each, part = array, _Numbers(array)
        else:
            if isinstance(self._targets, SeveralTargets):
                raise ValueError("sample_weight of several outputs must hold a number per sequence, (N,)")
            try:
                steps = Targets(given, x, per_step, free=free, lengths=lengths, name="sample_weight")
            except ValueError as error:
                raise ValueError(str(error).replace(" a target for", " a number for")) from None
            self._steps = part = steps
        if self._steps is not None and loss.without_places:
            raise ValueError("sample_weight must hold a number per sequence, (N,), for the loss ctc")
        check_weights(part)
        self._numbers = part

    def __len__(self) -> int:
        return len(self._targets)

    @property
    def all_parts(self) -> list[Counted]:
        """The targets of one output each, with what is missing filled."""
        parts = self._targets.all_parts
        return [Present(part, self._fill) for part in parts] if self._missing else list(parts)

    @property
    def weighs(self) -> bool:
        """Whether batches come with weights."""
        floats = any(part.dtype.kind == "f" for part in self._targets.all_parts)
        filled = self._missing and self._ignored is None and floats
        return filled or self._each is not None or self._steps is not None

    @property
    def counts(self) -> Array | None:
        """Which sequences weigh anything, where each has one weight."""
        return None if self._each is None else self._each != 0

    @property
    def _fill(self) -> int:
        return 0 if self._ignored is None else self._ignored

    def batch(self, rows: Indices, steps: int) -> tuple[Any, Any]:
        """As the targets' own, weighted."""
        targets, own = self._targets.batch(rows, steps)
        weights: Any = None
        if self._each is not None:
            weights = self._each[rows]
        elif self._steps is not None:
            weights = self._steps.batch(rows, steps)[0]
            if self._lengths is not None:
                weights = np.where(_inside(weights.shape, self._lengths[rows]), weights, weights.dtype.type(0))
        if self._missing and (self._ignored is not None or self.weighs):
            targets, weights = self._present(targets, weights, rows)
        return (targets if weights is None else Weighted(targets, weights)), own

    def _present(self, targets: Any, weights: Any, rows: Indices) -> tuple[Any, Any]:
        lengths = None if self._lengths is None else self._lengths[rows]

        def there(one: Array) -> Array:
            found: Array = np.ones(one.shape, np.bool_) if one.dtype.kind != "f" else ~np.isnan(one)
            return found

        def weight(one: Array) -> Array:
            found = there(one).astype(np.float64)
            if lengths is not None and found.ndim > 1:
                found *= _inside(found.shape, lengths)
            if weights is not None:
                given = weights[..., 0] if weights.ndim > found.ndim else weights
                found *= given.reshape(*given.shape, *(1,) * (found.ndim - given.ndim))
            return found

        filled = mapped(lambda one: np.where(there(one), one, one.dtype.type(self._fill)), targets)
        return filled, (weights if self._ignored is not None else mapped(weight, targets))

    def check(self, loss: LossFunction, form: Form | None, *, alone: bool) -> None:
        """Raises ValueError for weights that do not fit outputs of this form, and if nothing counts. alone: whether
        these are all targets, and no other process has more."""
        if alone and self._numbers is not None and not any((piece > 0).any() for piece in self._numbers.pieces()):
            raise ValueError("sample_weight is 0 everywhere: there is nothing to learn from")
        if alone and self._missing and not any(_any_number(part) for part in self._targets.all_parts):
            raise ValueError("y holds nothing but NaN: with missing='nan' there is no target to learn from")
        if self._steps is None or form is None or loss.own is not None:
            return
        given, wanted = self._steps.form, form if self._ignored is None else form[:-1]
        if given[-1] == 1 and len(given) == len(wanted) + 1:
            given = given[:-1]
        if not fits(given, wanted[: len(given)]):
            expected = "(N,)" if len(wanted) < 2 else f"(N,) or the first axes of {shown(wanted)}"
            raise ValueError(f"sample_weight must have shape {expected}, got {self._steps.shown}")


class Present(Counted):
    """Targets with a number in place of NaN."""

    def __init__(self, part: Counted, fill: int) -> None:
        self.name, self.counts, self._part, self._filled = part.name, part.counts, part, fill

    def filled_with(self, fill: int) -> Present:
        """The same with another number."""
        return Present(self._part, fill)

    def __len__(self) -> int:
        return len(self._part)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._part.dtype

    @property
    def form(self) -> tuple[int | None, ...]:
        return self._part.form

    @property
    def shown(self) -> str:
        return self._part.shown

    @property
    def has_steps(self) -> bool:
        return self._part.has_steps

    def one(self, index: int) -> Array:
        return self._fill(np.asarray(self._part.one(index)))

    def pieces(self) -> Iterator[Array]:
        return map(self._fill, self._part.pieces())

    def _fill(self, piece: Array) -> Array:
        if piece.dtype.kind != "f":
            return piece
        return np.where(np.isnan(piece), piece.dtype.type(self._filled), piece)


class _Numbers(Counted):
    """One number for each sequence."""

    def __init__(self, array: Array) -> None:
        self.name, self._array = "sample_weight", array

    def __len__(self) -> int:
        return len(self._array)


def check_weights(part: Counted) -> None:
    """Raises ValueError unless all that counts are finite numbers from 0, and none is lost in float32."""
    if not any(not_weights(piece).any() for piece in part.pieces()):
        return
    for i in range(len(part)):
        one = np.atleast_1d(part.one(i))
        if (at := not_weights(one)).any():
            raise ValueError(f"sample_weight must hold {WEIGHTS}, got {one[at][0]} in sample_weight[{i}]")


def _any_number(part: Counted) -> bool:
    return any(piece.size and (piece.dtype.kind != "f" or not np.isnan(piece).all()) for piece in part.pieces())


def _lengths_of(targets: AllTargets, x: Inputs) -> Indices | None:
    """How many steps of each target count, where that is known."""
    if not isinstance(targets, Targets):
        return None
    if targets.lengths is not None:
        return targets.lengths
    return x.lengths if targets.has_steps else None


def _inside(shape: tuple[int, ...], lengths: Indices) -> Array:
    inside: Array = np.arange(shape[1]) < lengths[:, None]
    return inside.reshape(*inside.shape, *(1,) * (len(shape) - 2))
