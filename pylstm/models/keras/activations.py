"""Keras' activations by name, of values. Those that a recurrent layer computes inside are arguments of our layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...files.keras.config import Config
from ...graph.functions import where
from ...graph.values import Value

_Function = Callable[[Value], Value]


def _clip(x: Value, low: float, high: float) -> Value:
    """Between both, with the gradient of what is between."""
    return (x - low).relu() - (x - high).relu() + low


def _hard_sigmoid_of_2(x: Value) -> Value:
    return _clip(x * 0.2 + 0.5, 0.0, 1.0)


def _hard_sigmoid_of_3(x: Value) -> Value:
    return _clip(x / 6 + 0.5, 0.0, 1.0)


def _exp_minus_1(x: Value) -> Value:
    """exp(x) - 1 below 0, and 0 above it."""
    return (-(-x).relu()).exp() - 1


def _elu(x: Value) -> Value:
    return x.relu() + _exp_minus_1(x)


def _selu(x: Value) -> Value:
    return (x.relu() + _exp_minus_1(x) * 1.6732632423543772) * 1.0507009873554805


def _softplus(x: Value) -> Value:
    return x.relu() + ((-x.abs()).exp() + 1).log()


def _erf(x: Value) -> Value:
    """Abramowitz & Stegun, 7.1.26: within 1.5e-7."""
    size = x.abs()
    t = 1 / (size * 0.3275911 + 1)
    tail = ((((t * 1.061405429 - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    tail = tail * (-(size * size)).exp()
    found: Value = where(x.numpy() >= 0, 1 - tail, tail - 1)
    return found


def _gelu(x: Value) -> Value:
    return x * (_erf(x * math.sqrt(0.5)) + 1) * 0.5


def _mish(x: Value) -> Value:
    return x * _softplus(x).tanh()


def _leaky(slope: float) -> _Function:
    return lambda x: x.relu() - (-x).relu() * slope


FUNCTIONS: dict[str, _Function] = {
    "relu": Value.relu, "tanh": Value.tanh, "sigmoid": Value.sigmoid, "exponential": Value.exp,
    "hard_sigmoid": _hard_sigmoid_of_3, "elu": _elu, "selu": _selu, "softplus": _softplus, "gelu": _gelu,
    "softsign": lambda x: x / (x.abs() + 1), "silu": lambda x: x * x.sigmoid(), "swish": lambda x: x * x.sigmoid(),
    "hard_silu": lambda x: x * _hard_sigmoid_of_3(x), "hard_swish": lambda x: x * _hard_sigmoid_of_3(x),
    "mish": _mish, "relu6": lambda x: _clip(x, 0.0, 6.0), "leaky_relu": _leaky(0.2),
    "log_sigmoid": lambda x: -_softplus(-x), "tanh_shrink": lambda x: x - x.tanh(),
    "hard_tanh": lambda x: _clip(x, -1.0, 1.0), "softmax": Value.softmax, "log_softmax": Value.log_softmax,
}  # fmt: skip
IN_CELLS: dict[str, Any] = {  # which our recurrent layers compute, and what they call them
    **{name: name for name in ("tanh", "sigmoid", "relu", "relu6", "linear", "elu", "selu", "softsign", "softplus",
                               "silu", "exponential")},
    "swish": "silu", "leaky_relu": ("leaky_relu", 0.2), "hard_sigmoid": ("hard_sigmoid", 1 / 6, 0.5),
    "hard_sigmoid_of_2": "hard_sigmoid",
}  # fmt: skip
OURS = ("relu", "tanh", "sigmoid", "softmax")  # which pylstm.Activation has


def name_of(config: Config, key: str, default: str) -> str:
    """The activation that a config names: "linear" for none; hard_sigmoid of Keras 1 and 2 as "hard_sigmoid_of_2"."""
    value = config.get(key, default)
    if isinstance(value, dict):
        inner = value.get("config")
        value = inner if isinstance(inner, str) else value.get("class_name")
        value = {"LeakyReLU": "leaky_relu", "ReLU": "relu", "Softmax": "softmax"}.get(str(value), value)
    if value is None:
        value = "linear"
    if value == "hard_sigmoid" and config.generation < 3:
        return "hard_sigmoid_of_2"
    if value not in FUNCTIONS and value != "linear":
        raise config.wrong(f"its {key} is {value!r:.100}, which is not known: known are {', '.join(sorted(FUNCTIONS))}")
    return str(value)


def function(name: str) -> _Function | None:
    """None: it does nothing."""
    return _hard_sigmoid_of_2 if name == "hard_sigmoid_of_2" else FUNCTIONS.get(name)
