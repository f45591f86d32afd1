"""NaN and infinity in what training is given, and where they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._arrays import Array
from ..layers.layer import Layer
from .counted import Counted
from .gradients import all_finite

_HINT = "check_finite=False takes such numbers as they are"
_MISSING = "missing='nan' leaves such targets out; "


def check_data(part: Counted, what: str, axis: str, dtype: np.dtype[Any] | None = None) -> None:
    """Raises ValueError if a number that counts is not finite. what: one of the parts is called so in the plural, and
    its last axis `axis`; dtype: what computes with the numbers holds them in, None if it is not known."""
    if part.dtype.kind != "f":
        return
    narrow = dtype if dtype is not None and dtype.itemsize < part.dtype.itemsize else part.dtype
    with np.errstate(over="ignore", invalid="ignore"):
        if all(all_finite(piece.astype(narrow, copy=False)) for piece in part.pieces()):
            return
        wrong = [i for i in range(len(part)) if not np.isfinite(part.one(i).astype(narrow)).all()]
        one = part.one(wrong[0])
        first, value = _first(one, narrow)
    place = _place(part, first, axis)
    do = "does" if len(wrong) == 1 else "do"
    raise ValueError(
        f"{part.name}[{wrong[0]}] holds {value}{place}; {len(wrong)} of {len(part)} {what} {do}. "
        f"{_MISSING if part.name == 'y' and value == 'NaN' else ''}{_HINT}"
    )


def check_missing(part: Counted) -> None:
    """Raises ValueError if a number of a target that counts is NaN."""
    if part.dtype.kind != "f" or not any(np.isnan(piece).any() for piece in part.pieces()):
        return
    wrong = [i for i in range(len(part)) if np.isnan(part.one(i)).any()]
    first = tuple(int(i) for i in np.argwhere(np.isnan(part.one(wrong[0])))[0])
    raise ValueError(
        f"{part.name}[{wrong[0]}] holds NaN{_place(part, first, 'column')}; {len(wrong)} of {len(part)} targets "
        f"{'does' if len(wrong) == 1 else 'do'}. missing='nan' leaves such targets out, here as in fit"
    )


def _place(part: Counted, first: tuple[int, ...], axis: str) -> str:
    """Where in one of them, as an error tells it. axis: what its last one is called."""
    names = ["step"] if part.has_steps or len(first) > 1 else []
    place = ", ".join(f"{name} {index}" for name, index in zip(names, first[:1], strict=False))
    rest = first[len(names) :]
    if rest:
        place += f"{', ' * bool(place)}{axis} {rest[0] if len(rest) == 1 else rest}"
    return f"{' at ' * bool(place)}{place}"


def check_params(model: Layer) -> None:
    """Raises ValueError for a parameter that is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        for name, array in model.params.items():
            if not all_finite(array):
                first, value = _first(array, array.dtype)
                raise ValueError(f"the model's weights: {name} holds {value} at {list(first)}. {_HINT}")


def _first(array: Array, dtype: np.dtype[Any]) -> tuple[tuple[int, ...], str]:
    """The place of the first number that is not finite in `dtype`, and how an error names it."""
    place = tuple(int(i) for i in np.argwhere(~np.isfinite(array.astype(dtype)))[0])
    value: Any = array[place]
    if np.isfinite(value):
        return place, f"{value:g} (not finite in {dtype})"
    return place, "NaN" if math.isnan(value) else "infinity" if value > 0 else "-infinity"
