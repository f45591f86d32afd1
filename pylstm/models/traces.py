"""What a run of the user's code leaves behind, taken back: for the one run that nobody asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from .._names import of_library
from ..layers.layer import Layer


@contextmanager
def no_traces(model: Layer) -> Iterator[None]:
    """Afterwards the attributes of the model, and of layers and models of the user's in it, are those of before, and
    the random generators among them and that of `np.random` go on from where they were. What an attribute holds, a list
    that is appended to, is not looked into."""
    own = [vars(one) for one in _users(model)]
    before = [dict(attributes) for attributes in own]
    drawn = [_put_back(value) for attributes in before for value in attributes.values()]
    shared = np.random.get_state(legacy=False)  # noqa: NPY002 - the user's runs may draw from it
    try:
        yield
    finally:
        for attributes, kept in zip(own, before, strict=True):
            for name in attributes.keys() - kept.keys():
                del attributes[name]
            attributes.update({name: value for name, value in kept.items() if attributes.get(name) is not value})
        for put_back in drawn:
            put_back()
        np.random.set_state(shared)  # noqa: NPY002


def _put_back(value: Any) -> Callable[[], None]:
    """What gives a generator of NumPy's the state that it has now; of anything else, nothing."""
    if isinstance(value, np.random.RandomState):
        return partial(value.set_state, value.get_state(legacy=False))
    bits = value.bit_generator if isinstance(value, np.random.Generator) else value
    if isinstance(bits, np.random.BitGenerator):
        return partial(setattr, bits, "state", bits.state)
    return lambda: None


def _users(model: Layer) -> list[Layer]:
    """The layers and models in `model`, and itself, that are not of the library's classes, or carry states."""
    found: dict[int, Any] = {}
    looked: list[Any] = [model]
    while looked:
        one = looked.pop()
        if id(one) in found or not isinstance(one, (Layer, dict, list, tuple)):
            continue
        found[id(one)] = one
        inner = vars(one) if isinstance(one, Layer) else one
        looked += inner.values() if isinstance(inner, dict) else inner
    return [
        one
        for one in found.values()
        if isinstance(one, Layer) and (not of_library(type(one)) or getattr(one, "_carries_states", False))
    ]
