"""What callbacks, schedules and functions of somebody's expect: figures of some name, and to be called so and so."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

from .. import _checks


def check_figure(what: object, monitor: str, names: Collection[str]) -> None:
    """Raises ValueError if there is no figure of that name, naming the nearest one. what: who watches it."""
    if monitor in names:
        return
    validated = any(name.startswith("val_") for name in names)
    lacks = monitor.startswith("val_") and not validated
    near = [*names, *(f"val_{name}" for name in names if lacks and name not in ("lr", "seconds"))]
    text = f"{type(what).__name__} watches {monitor!r}, but there are only {', '.join(names)}"
    if lacks:
        text += "; give validation_data"
    raise ValueError(text if monitor in near else text + _checks.did_you_mean(monitor, near))


def takes(what: str, function: Callable[..., Any], *names: str, named: tuple[str, ...] = ()) -> None:
    """Raises TypeError if a function of somebody's cannot be called with so many arguments, and these by name."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of something built in there is none
        return
    try:
        signature.bind(*names, **dict.fromkeys(named))
    except TypeError as error:
        call = ", ".join([*names, *(f"{name}=" for name in named)])
        raise TypeError(f"{what} is called with ({call}), and takes {signature}: {error}") from None
