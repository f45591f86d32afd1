"""Tuples, lists and dicts of things, as models take and return them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .. import _checks


def mapped(function: Callable[[Any], Any], structure: Any) -> Any:
    """The same tuples, lists and dicts with `function(leaf)` in place of every other thing, in order."""
    kind = type(structure)
    if isinstance(structure, tuple):
        items = [mapped(function, item) for item in structure]
        return kind(*items) if hasattr(structure, "_fields") else tuple(items)
    if isinstance(structure, list):
        return [mapped(function, item) for item in structure]
    if isinstance(structure, dict):
        return {key: mapped(function, item) for key, item in structure.items()}
    return function(structure)


def leaves(structure: Any) -> Iterator[Any]:
    """What is no tuple, list or dict, in order."""
    if isinstance(structure, dict):
        structure = tuple(structure.values())
    if isinstance(structure, (tuple, list)):
        for item in structure:
            yield from leaves(item)
    else:
        yield structure


def paired(structure: Any, other: Any, name: str) -> Iterator[tuple[Any, Any, str]]:
    """Every leaf with what stands at its place in `other`, and the name of that place; None stands for all below it.

    Raises TypeError or ValueError where `other` has another form.
    """
    if other is None:
        return
    if isinstance(structure, (tuple, list)):
        if not isinstance(other, (tuple, list)):
            raise TypeError(
                f"{name} must be a tuple of {len(structure)}, as the outputs are, got {_checks.kind(other)}"
            )
        if len(other) != len(structure):
            raise ValueError(f"{name} must have {len(structure)} items, as the outputs have, got {len(other)}")
        for k, (item, own) in enumerate(zip(structure, other, strict=True)):
            yield from paired(item, own, f"{name}[{k}]")
    elif isinstance(structure, dict):
        if not isinstance(other, dict):
            raise TypeError(f"{name} must be a dict, as the outputs are, got {_checks.kind(other)}")
        if unknown := [key for key in other if key not in structure]:
            raise ValueError(f"{name} has a key that the outputs do not have: {unknown[0]!r}")
        for key, own in other.items():
            yield from paired(structure[key], own, f"{name}[{key!r}]")
    else:
        yield structure, other, name
