"""What a model of Keras is called with: its inputs by name and in order, whether they fit, and which steps count."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ... import _checks
from ..._arrays import length_array
from ...files.keras.config import Config, GraphConfig
from ...graph.values import Value
from .graph import refs_of
from .step import Tensor

Shape = list[int | None]


def names_of(config: GraphConfig) -> list[str]:
    return [ref.layer for ref in refs_of(config.inputs)]


def arranged(given: Any, names: Sequence[str]) -> Any:
    """A list of as many inputs as there are, as Keras takes them, as a tuple; anything else as it is."""
    several = len(names) > 1 and isinstance(given, list) and len(given) == len(names)
    return tuple(given) if several else given


def in_order(inputs: tuple[Any, ...], names: Sequence[str]) -> list[Any]:
    """One for each name, of what a call is given: so many, or one tuple or dict of them."""
    if len(inputs) == 1 and isinstance(inputs[0], dict):
        return _by_name(inputs[0], names, "the inputs")
    if len(inputs) == 1 and isinstance(inputs[0], (tuple, list)):
        inputs = tuple(inputs[0])
    if len(inputs) != len(names):
        raise ValueError(
            f"the model takes {len(names)} input{'s' * (len(names) > 1)} ({', '.join(names)}), got {len(inputs)}"
        )
    return list(inputs)


def _by_name(given: Mapping[Any, Any], names: Sequence[str], what: str) -> list[Any]:
    if set(given) != set(names):
        shown = ", ".join(map(repr, given)) or "none"
        raise ValueError(f"{what} must have the names {', '.join(map(repr, names))}, got {shown[:300]}")
    return [given[name] for name in names]


def tensors(given: list[Any], config: GraphConfig, lengths: Any) -> list[Tensor]:
    """The inputs with their masks, where they are what the file says that they are.

    Raises TypeError or ValueError naming the input, or lengths.
    """
    names = names_of(config)
    found = [_checked(value, name, shape_of(config.layers[name], config))
             for name, value in zip(names, given, strict=True)]  # fmt: skip
    for name, value in zip(names, found, strict=True):
        if value.shape[0] != found[0].shape[0]:
            raise ValueError(
                f"the inputs must be of as many sequences: {names[0]!r} has {found[0].shape[0]}, {name!r} "
                f"{value.shape[0]}"
            )
    own = _lengths(lengths, names)
    return [Tensor(value, _mask(value, one)) for value, one in zip(found, own, strict=True)]


def first_masked(given: Sequence[Any], mask: Any) -> list[Tensor]:
    """The inputs, the first one with a mask."""
    return [Tensor(one, mask if at == 0 else None) for at, one in enumerate(given)]


def _lengths(given: Any, names: Sequence[str]) -> list[Any]:
    if isinstance(given, Mapping):
        if unknown := [name for name in given if name not in names]:
            raise ValueError(f"lengths has {unknown[0]!r}, which is no input: {', '.join(map(repr, names))}")
        return [given.get(name) for name in names]
    if isinstance(given, tuple) and len(names) > 1:
        if len(given) != len(names):
            raise ValueError(f"lengths must be a tuple of {len(names)}, one for each input, got {len(given)}")
        return list(given)
    return [given, *[None] * (len(names) - 1)]


def _mask(value: Any, lengths: Any) -> Any:
    if lengths is None:
        return None
    if value.ndim < 2:
        raise ValueError(f"lengths are for an input with steps, (N, T) or (N, T, F), got {value.shape}")
    return np.arange(value.shape[1]) < length_array(lengths, value.shape[1], value.shape[0])[:, None]


def shape_of(config: Config, graph: GraphConfig) -> Shape | None:
    """Of an input, as the file says it: with None for the batch, and where any size is taken."""
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    if shape is None and graph.kind == "Sequential":  # of Keras 1 and 2 the first layer says it
        first = next((one for one in graph.layers.values() if one is not config), config)
        shape = first.get("batch_input_shape")
    if not isinstance(shape, list) or not 1 <= len(shape) <= 8:
        return None
    if any(n is not None and (type(n) is not int or not 0 < n < 2**40) for n in shape):
        return None
    return shape


def _checked(value: Any, name: str, shape: Shape | None) -> Any:
    if not isinstance(value, (Value, np.ndarray)):
        raise TypeError(f"the input {name!r} must be an array of numbers, got {_checks.kind(value)}")
    if value.ndim == 0:
        raise ValueError(f"the input {name!r} must have the sequences of the batch as its first axis, got one number")
    if shape is None:
        return value
    if value.ndim == len(shape) - 1 and shape[-1] == 1:  # as Keras does it
        value = value[..., None]
    elif value.ndim == len(shape) + 1 and value.shape[-1] == 1:
        value = value[..., 0]
    if value.ndim != len(shape) or (len(shape) > 2 and shape[-1] not in (None, value.shape[-1])):
        sizes = ", ".join(["N", *("any" if n is None else str(n) for n in shape[1:])])
        one = value.ndim == len(shape) - 1 > 0 and shape[-1] in (None, value.shape[-1])
        raise ValueError(
            f"the input {name!r} must have shape ({sizes}{',' * (len(shape) < 2)}), got {value.shape}"
            f"{f': for one sequence, {name}[None]' if one else ''}"
        )
    return value


def zeros_like(config: Config, graph: GraphConfig) -> Any:
    """An input as the file describes it, of 2 sequences, and of 3 steps where any number is taken; or None."""
    shape = shape_of(config, graph)
    if shape is None or len(shape) < 2:
        return None
    sizes = [2, *(3 if n is None else n for n in shape[1:])]
    if math.prod(sizes) > 2**20:
        return None
    dtype = config.get("dtype")
    return np.zeros(sizes, np.int64 if isinstance(dtype, str) and "int" in dtype else np.float32)
