"""Which layers something holds, and under which names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import _checks
from ..layers.containers import Container
from ..layers.layer import Layer


def named_layers(holder: Any) -> list[tuple[str, Any]]:
    """(prefix, layer) for every layer in `holder`: a layer, a `Model`, or a list, tuple or dict of such.

    Attributes in the order in which they were set, lists and dicts in theirs; a prefix is the way to the layer, with
    dots: `encoder.0.`, `heads.left.`. A layer that several ways lead to counts once, under the first.

    Raises ValueError if two layers would have the same names.
    """
    found: list[tuple[str, Any]] = []
    _collect(holder, "", set(), found)
    names: set[str] = set()
    for prefix, layer in found:
        for name in layer._param_shapes:
            if prefix + name in names:
                raise ValueError(f"two parameters would have the name {prefix + name}: name the layers differently")
            names.add(prefix + name)
    if not found and not isinstance(holder, (Layer, dict, list, tuple)):
        raise TypeError(f"net must be a model, a layer, or layers in a list or dict, got {_checks.kind(holder)}")
    return found


def _collect(thing: Any, prefix: str, seen: set[int], found: list[tuple[str, Any]]) -> None:
    if id(thing) in seen:  # lists may hold themselves, and several ways may lead to a layer
        return
    seen.add(id(thing))
    inner: Iterable[tuple[Any, Any]]
    if isinstance(thing, dict):
        inner = thing.items()
    elif isinstance(thing, (list, tuple)):
        inner = enumerate(thing)
    elif not isinstance(thing, Layer):
        return
    elif thing._holds_layers:
        inner = vars(thing).items()
    elif isinstance(thing, Container):
        inner = enumerate(thing.layers)
    else:
        found.append((prefix, thing))
        return
    for name, item in list(inner):
        if isinstance(item, (Layer, dict, list, tuple)):
            _collect(item, f"{prefix}{name}.", seen, found)
