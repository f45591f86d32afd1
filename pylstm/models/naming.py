"""Which layers something holds, and under which names."""

from __future__ import annotations

from collections.abc import Iterator
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
    names: set[str] = set()
    for prefix, layer in _walk(holder, "", set()):
        for name in layer._param_shapes:
            if prefix + name in names:
                raise ValueError(f"two parameters would have the name {prefix + name}: name the layers differently")
            names.add(prefix + name)
        found.append((prefix, layer))
    if not found and not isinstance(holder, (Layer, dict, list, tuple)):
        raise TypeError(f"net must be a model, a layer, or layers in a list or dict, got {_checks.kind(holder)}")
    return found


def _walk(thing: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, dict):
        inner = [(str(key), item) for key, item in thing.items()]
    elif isinstance(thing, (list, tuple)):
        inner = [(str(k), item) for k, item in enumerate(thing)]
    elif isinstance(thing, Container):
        inner = [(str(k), item) for k, item in enumerate(thing.layers)]
    elif isinstance(thing, Layer) and thing._holds_layers:
        inner = list(vars(thing).items())
    elif isinstance(thing, Layer):
        if id(thing) not in seen:
            seen.add(id(thing))
            yield prefix, thing
        return
    else:
        return
    if id(thing) in seen:  # lists may hold themselves
        return
    seen.add(id(thing))
    for name, item in inner:
        yield from _walk(item, f"{prefix}{name}.", seen)
