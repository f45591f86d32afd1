"""Which layers of a model are frozen: training leaves their parameters as they are."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from .. import _checks
from .._active import ACTIVE

if TYPE_CHECKING:
    from .composite import Composite


def set_trainable(model: Composite, which: Collection[Any], value: bool) -> None:
    """Of these layers; none given: of all. Raises TypeError or ValueError, and nothing has changed then."""
    if ACTIVE.get() is not None:
        raise TypeError("layers cannot be frozen inside of a model's run, whose gradients it decides on")
    owners = model._owners()
    chosen: list[Any] = [] if which else [layer for _, layer in owners]
    for one in which:
        chosen += _chosen(model, owners, one)
    for layer in chosen:
        layer._set_trainable(value)


def frozen_names(model: Any) -> list[str]:
    """Of the layers with parameters of their own, without the dots at their ends; "" is the model itself."""
    return [prefix[:-1] for prefix, layer in model._owners() if not layer._trainable]


def _chosen(model: Composite, owners: list[tuple[str, Any]], one: Any) -> list[Any]:
    if isinstance(one, str):
        return _named(owners, one)
    layers = getattr(model, "layers", None)
    if isinstance(one, int) and not isinstance(one, bool) and isinstance(layers, tuple):
        if not -len(layers) <= one < len(layers):
            raise ValueError(f"layer {one} is not there: the model has {len(layers)}")
        one = layers[one]
    if not hasattr(one, "_owners"):
        raise TypeError(f"a layer of the model, its name or its place must be given, got {_checks.kind(one)}")
    own, known = [layer for _, layer in one._owners()], {id(layer) for _, layer in owners}
    if not all(id(layer) in known for layer in own):
        raise ValueError(f"{one!r} is not in the model")
    return own


def _named(owners: list[tuple[str, Any]], name: str) -> list[Any]:
    found = [layer for prefix, layer in owners if prefix == f"{name}." or prefix.startswith(f"{name}.")]
    if found:
        return found
    if inside := [prefix[:-1] for prefix, layer in owners if name in [prefix + own for own in layer._param_shapes]]:
        raise ValueError(f"{name!r} is a parameter, and layers are frozen as a whole: give {inside[0]!r}")
    names = [prefix[:-1] for prefix, _ in owners]
    hint = _checks.did_you_mean(name, names)
    raise ValueError(f"no layer with parameters has the name {name!r}: there are {', '.join(names)[:500]}{hint}")
