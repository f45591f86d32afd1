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


def check_data(part: Counted, what: str, axis: str) -> None:
    """Raises ValueError if a number that counts is not finite. what: one of the parts is called so in the plural, and
    its last axis `axis`."""
    if part.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        if all(all_finite(piece) for piece in part.pieces()):
            return
    wrong = [i for i in range(len(part)) if not np.isfinite(part.one(i)).all()]
    one = part.one(wrong[0])
    first, value = _first(one)
    names = ["step"] if part.has_steps or len(first) > 1 else []
    place = ", ".join(f"{name} {index}" for name, index in zip(names, first[:1], strict=False))
    rest = first[len(names) :]
    if rest:
        place += f"{', ' * bool(place)}{axis} {rest[0] if len(rest) == 1 else rest}"
    do = "does" if len(wrong) == 1 else "do"
    raise ValueError(
        f"{part.name}[{wrong[0]}] holds {value}{' at ' * bool(place)}{place}; {len(wrong)} of {len(part)} {what} {do}. "
        f"{_HINT}"
    )


def check_params(model: Layer) -> None:
    """Raises ValueError for a parameter that is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        for name, array in model.params.items():
            if not all_finite(array):
                first, value = _first(array)
                raise ValueError(f"the model's weights: {name} holds {value} at {list(first)}. {_HINT}")


def _first(array: Array) -> tuple[tuple[int, ...], str]:
    """The place of the first number that is not finite, and how an error names it."""
    place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    value: Any = array[place]
    return place, "NaN" if math.isnan(value) else "infinity" if value > 0 else "-infinity"
