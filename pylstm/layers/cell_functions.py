"""The functions of the recurrent cells: as users name them, and the numbers that tell the core."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .. import _checks
from .._cells import ACTIVATIONS

CellFunction = str | tuple[str | float, ...]  # a name, or a name and its parameters

# Name -> the parameters' names and what they are if nothing is said: the defaults of ONNX' operators.
FUNCTIONS: dict[str, dict[str, float]] = {
    "tanh": {}, "sigmoid": {}, "relu": {}, "relu6": {}, "linear": {}, "affine": {"alpha": 1.0, "beta": 0.0},
    "leaky_relu": {"alpha": 0.01}, "thresholded_relu": {"alpha": 1.0}, "scaled_tanh": {"alpha": 1.0, "beta": 1.0},
    "hard_sigmoid": {"alpha": 0.2, "beta": 0.5}, "elu": {"alpha": 1.0}, "selu": {}, "softsign": {}, "softplus": {},
    "silu": {}, "exponential": {},
}  # fmt: skip

# What the core knows under another name: that, alpha and beta. Those of selu are Klambauer et al.'s (2017).
_IN_CORE = {
    "relu6": ("bounded_relu", 6.0, 0.0),
    "selu": ("elu", 1.6732632423543772848170429916717, 1.0507009873554804934193349852946),
}


def cell_function(name: str, value: Any) -> CellFunction:
    """The argument `name`, a function, in the one form of it: its name alone where its parameters are the default."""
    if isinstance(value, str):
        return _checks.choice(name, value, tuple(FUNCTIONS))
    if not isinstance(value, Sequence) or isinstance(value, bytes) or not value or not isinstance(value[0], str):
        raise TypeError(
            f"{name} must be the name of a function, or a tuple of the name and its parameters such as "
            f"('leaky_relu', 0.1), got {value!r:.100}"
        )
    function, *given = value
    defaults = FUNCTIONS[_checks.choice(name, function, tuple(FUNCTIONS))]
    if len(given) > len(defaults):
        takes = " and ".join(defaults) if defaults else "no parameters"
        raise ValueError(f"{name}: {function!r} takes {takes}, got {len(given)} parameters")
    numbers = [_checks.number(f"{name}'s {one}", number) for one, number in zip(defaults, given, strict=False)]
    numbers += list(defaults.values())[len(numbers) :]
    return str(function) if numbers == list(defaults.values()) else (str(function), *numbers)


def with_parameters(function: CellFunction) -> tuple[str, tuple[float, ...]]:
    """Its name, and all its parameters."""
    if isinstance(function, str):
        return function, tuple(FUNCTIONS[function].values())
    name, *numbers = function
    return str(name), tuple(float(number) for number in numbers)


def clip_bound(value: Any) -> float | None:
    """The argument `clip`."""
    return None if value is None else _checks.positive("clip", value)


def constants(options: Mapping[str, Any]) -> dict[str, float]:
    """The constants of a cell of the core by name, from its functions by ONNX' letters and `clip`."""
    found: dict[str, float] = {}
    for letter, value in options.items():
        if letter == "clip":
            found["clip"] = math.inf if value is None else value
            continue
        name, numbers = with_parameters(value)
        alpha, beta = (*numbers, 0.0, 0.0)[:2]
        core, alpha, beta = _IN_CORE.get(name, (name, alpha, 1.0 if name == "elu" else beta))  # the core's: beta elu(z)
        found |= {letter: ACTIVATIONS[core], f"{letter}_alpha": alpha, f"{letter}_beta": beta}
    return found


def differing(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """The options that are not what they are if nothing is said."""
    return [name for name, default in defaults.items() if config.get(name, default) != default]
