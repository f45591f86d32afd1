"""The functions of cells with their derivatives, both of what goes in: a function by its name, and its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Function = tuple[Callable[..., Any], Callable[..., Any]]  # of z and the parameters: the value, the derivative
Chosen = Any  # a name, or a tuple of a name and its parameters


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow and accurate in both tails."""
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1 / (1 + e), e / (1 + e)))


def _d_sigmoid(z: Array) -> Array:
    y = sigmoid(z)
    return np.asarray(y * (1 - y))


def _elu(z: Array, alpha: float = 1.0, scale: float = 1.0) -> Array:
    return scale * np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


def _d_elu(z: Array, alpha: float = 1.0, scale: float = 1.0) -> Array:
    return scale * np.where(z > 0, 1, alpha * np.exp(np.minimum(z, 0)))


SELU = 1.6732632423543772, 1.0507009873554805  # alpha and scale of Klambauer et al. 2017

FUNCTIONS: dict[str, Function] = {
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (sigmoid, _d_sigmoid),
    "relu": (lambda z: np.maximum(z, 0), lambda z: z > 0),
    "relu6": (lambda z: np.clip(z, 0, 6), lambda z: (z > 0) & (z < 6)),
    "linear": (lambda z: z, np.ones_like),
    "affine": (
        lambda z, alpha=1.0, beta=0.0: alpha * z + beta,
        lambda z, alpha=1.0, beta=0.0: np.full_like(z, alpha),  # noqa: ARG005
    ),
    "leaky_relu": (
        lambda z, alpha=0.01: np.where(z > 0, z, alpha * z),
        lambda z, alpha=0.01: np.where(z > 0, 1, alpha),
    ),
    "thresholded_relu": (lambda z, alpha=1.0: np.where(z > alpha, z, 0), lambda z, alpha=1.0: z > alpha),
    "scaled_tanh": (
        lambda z, alpha=1.0, beta=1.0: alpha * np.tanh(beta * z),
        lambda z, alpha=1.0, beta=1.0: alpha * beta * (1 - np.tanh(beta * z) ** 2),
    ),
    "hard_sigmoid": (
        lambda z, alpha=0.2, beta=0.5: np.clip(alpha * z + beta, 0, 1),
        lambda z, alpha=0.2, beta=0.5: np.where((alpha * z + beta > 0) & (alpha * z + beta < 1), alpha, 0),
    ),
    "elu": (_elu, _d_elu),
    "selu": (lambda z: _elu(z, *SELU), lambda z: _d_elu(z, *SELU)),
    "softsign": (lambda z: z / (1 + np.abs(z)), lambda z: (1 + np.abs(z)) ** -2.0),
    "softplus": (lambda z: np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))), sigmoid),
    "silu": (lambda z: z * sigmoid(z), lambda z: sigmoid(z) + z * _d_sigmoid(z)),
    "exponential": (np.exp, np.exp),
}


def value(function: Chosen, z: Array, clip: float | None = None) -> Array:
    """The function of z, which is first cut off at +-clip."""
    name, parameters = (function, ()) if isinstance(function, str) else (function[0], function[1:])
    return np.asarray(FUNCTIONS[name][0](_cut(z, clip), *parameters)).astype(z.dtype, copy=False)


def derivative(function: Chosen, z: Array, clip: float | None = None) -> Array:
    """That of `value` with respect to z."""
    name, parameters = (function, ()) if isinstance(function, str) else (function[0], function[1:])
    slope = np.asarray(FUNCTIONS[name][1](_cut(z, clip), *parameters)).astype(z.dtype, copy=False)
    return slope if clip is None else np.where(np.abs(z) > clip, z.dtype.type(0), slope)


def _cut(z: Array, clip: float | None) -> Array:
    return z if clip is None else np.clip(z, -clip, clip)
