"""Rows of a state: arrays in tuples, lists and dicts, each with an axis on which its rows are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks

Axis = Any  # an int, None for arrays that all rows share, or these in tuples, lists and dicts as the state is


def taken(state: Any, rows: NDArray[np.intp], axis: Axis, name: str = "state") -> Any:
    """The same structure with these rows of every array. What is no array is handed on.

    Raises TypeError or ValueError for an axis that does not fit.
    """
    if isinstance(state, (tuple, list, dict)):
        return _mapped(state, axis, name, lambda one, own, place: taken(one, rows, own, place))
    if not isinstance(state, np.ndarray) or axis is None:
        return state
    number = _axis_of(state, axis, name)
    try:
        return state.take(rows, axis=number)
    except IndexError:
        raise ValueError(
            f"{name} must have a row for each hypothesis, and has {state.shape[number]} of at least {rows.max() + 1}"
        ) from None


def count_of(state: Any, axis: Axis, name: str = "state") -> int | None:
    """How many rows the arrays have; None if there are none. Raises ValueError where they differ."""
    found: dict[int, str] = {}

    def look(one: Any, own: Axis, place: str) -> Any:
        if isinstance(one, (tuple, list, dict)):
            return _mapped(one, own, place, look)
        if isinstance(one, np.ndarray) and own is not None:
            found.setdefault(one.shape[_axis_of(one, own, place)], place)
        return one

    look(state, axis, name)
    if len(found) > 1:
        (first, place), (other, another) = list(found.items())[:2]
        raise ValueError(f"{place} has {first} rows and {another} {other}: one for each sentence")
    return next(iter(found), None)


def _mapped(state: Any, axis: Axis, name: str, function: Any) -> Any:
    if isinstance(state, dict):
        if isinstance(axis, dict) and (unknown := [key for key in state if key not in axis]):
            raise ValueError(f"axis lacks {unknown[0]!r}, which {name} has")
        if isinstance(axis, (tuple, list)):
            raise TypeError(f"axis of {name} must be a number or a dict, as it is, got {_checks.kind(axis)}")
        return {
            key: function(one, axis[key] if isinstance(axis, dict) else axis, f"{name}[{key!r}]")
            for key, one in state.items()
        }
    if isinstance(axis, dict):
        raise TypeError(f"axis of {name} must be a number or a tuple, as it is, got a dict")
    several = isinstance(axis, (tuple, list))
    if several and len(axis) != len(state):
        raise ValueError(f"axis of {name} must have {len(state)} items, as it has, got {len(axis)}")
    items = [function(one, axis[k] if several else axis, f"{name}[{k}]") for k, one in enumerate(state)]
    if isinstance(state, list):
        return items
    return type(state)(*items) if hasattr(state, "_fields") else tuple(items)


def _axis_of(array: NDArray[Any], axis: Axis, name: str) -> int:
    if isinstance(axis, (tuple, list, dict)):
        raise TypeError(f"axis of {name}, an array, must be a number, got {_checks.kind(axis)}")
    number = _checks.integer("axis", axis, minimum=-32)
    if not -array.ndim <= number < array.ndim:
        raise ValueError(f"{name} of shape {array.shape} has no axis {number} for its rows")
    return number
