"""The activations that recurrent nodes name, with their alpha and beta."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...._arrays import Array
from .elementwise import elu, hard_sigmoid, sigmoid, softplus
from .registry import Call

# name -> how it is computed of (x, alpha, beta), and what these are where a file does not say
_FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[float, ...]]] = {
    "Sigmoid": (lambda x: sigmoid(x), ()),
    "Tanh": (np.tanh, ()),
    "Relu": (lambda x: np.maximum(x, x.dtype.type(0)), ()),
    "Softsign": (lambda x: x / (1 + np.abs(x)), ()),
    "Softplus": (softplus, ()),
    "Affine": (lambda x, alpha, beta: alpha * x + beta, (1.0, 0.0)),
    "LeakyRelu": (lambda x, alpha: np.where(x < 0, alpha * x, x), (0.01,)),
    "ThresholdedRelu": (lambda x, alpha: np.where(x > alpha, x, x.dtype.type(0)), (1.0,)),
    "ScaledTanh": (lambda x, alpha, beta: alpha * np.tanh(beta * x), (1.0, 1.0)),
    "HardSigmoid": (hard_sigmoid, (0.2, 0.5)),
    "Elu": (elu, (1.0,)),
}
_BY_LETTERS = {name.lower(): name for name in _FUNCTIONS}


@dataclass(frozen=True)
class Function:
    """An activation with its numbers."""

    name: str
    numbers: tuple[float, ...] = ()

    def __call__(self, x: Array) -> Array:
        compute = _FUNCTIONS[self.name][0]
        return np.asarray(compute(x, *[x.dtype.type(one) for one in self.numbers]), x.dtype)

    def __str__(self) -> str:
        return f"{self.name}{self.numbers or ''}"


def read_activations(call: Call, defaults: tuple[str, ...], directions: int) -> list[tuple[Function, ...]]:
    """Those of each direction. alpha and beta are handed out in the order of those that take them."""
    names = call.texts("activations", None) or [*defaults] * directions
    numbers = [list(call.numbers(f"activation_{which}", None) or []) for which in ("alpha", "beta")]
    if len(names) == len(defaults) and directions == 2:
        names = names * 2
    if len(names) != len(defaults) * directions:
        raise call.error(
            f"names {len(names)} activations, and has {directions} directions with {len(defaults)} each: {names[:12]}"
        )
    found = []
    for given in names:
        name = _BY_LETTERS.get(given.lower())
        if name is None:
            raise call.error(f"names the activation {given[:80]!r}, and must name of {', '.join(_FUNCTIONS)}")
        standard = _FUNCTIONS[name][1]
        values = tuple(float(left.pop(0)) if left else other for left, other in zip(numbers, standard, strict=False))
        found.append(Function(name, values))
    each = len(defaults)
    return [tuple(found[at : at + each]) for at in range(0, len(found), each)]
