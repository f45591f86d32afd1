"""Operators that compute each number on its own, broadcast as NumPy does."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .... import _activations
from ...._arrays import Array
from ...strict_json import ModelFileError
from ..tensors import dtype_of
from .registry import Call, Compute, operator

_Unary = Callable[[Array], Any]


def _unary(name: str, function: _Unary) -> None:
    operator(name, 1)(lambda call: function)  # noqa: ARG005


def _binary(name: str, function: Callable[[Array, Array], Any]) -> None:
    @operator(name, 2)
    def build(call: Call) -> Compute:  # noqa: ARG001
        return function


def _like(x: Array, value: float) -> Any:
    return x.dtype.type(value)


def _wide(x: Array) -> Array:
    """Of float16 float32, in which functions are computed."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


def _narrow(y: Any, x: Array) -> Any:
    return y.astype(x.dtype, copy=False)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), as our layers compute it."""
    return np.asarray(_activations.sigmoid(_wide(x)), x.dtype)


def softplus(x: Array) -> Array:
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), x.dtype)


# Abramowitz and Stegun's series are good to 1e-7 only: math.erf has all digits, number by number
_ERF = np.frompyfunc(math.erf, 1, 1)


def erf(x: Array) -> Array:
    """The error function."""
    return np.asarray(_ERF(x), dtype=np.float64).astype(x.dtype)


def _round(x: Array) -> Any:
    return np.rint(x)


def _integer_division(a: Array, b: Array) -> Any:
    if a.dtype.kind == "f":
        return np.divide(a, b)
    if a.dtype.kind == "u":
        return np.floor_divide(a, b)
    quotient = np.floor_divide(a, b)  # C rounds towards zero
    return quotient + ((quotient < 0) & (quotient * b != a)).astype(a.dtype)


_UNARY: dict[str, _Unary] = {
    "Abs": np.abs, "Neg": np.negative, "Sqrt": np.sqrt, "Exp": np.exp, "Log": np.log, "Floor": np.floor,
    "Ceil": np.ceil, "Sign": np.sign, "Reciprocal": np.reciprocal, "Sin": np.sin, "Cos": np.cos, "Tan": np.tan,
    "Asin": np.arcsin, "Acos": np.arccos, "Atan": np.arctan, "Sinh": np.sinh, "Cosh": np.cosh, "Tanh": np.tanh,
    "Asinh": np.arcsinh, "Acosh": np.arccosh, "Atanh": np.arctanh, "IsNaN": np.isnan, "Round": _round,
    "Not": np.logical_not, "Identity": lambda x: x, "Sigmoid": sigmoid, "Softplus": softplus, "Erf": erf,
    "Relu": lambda x: np.maximum(x, 0) if x.dtype.char in "fd" else np.maximum(x, _like(x, 0)),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Mish": lambda x: x * np.tanh(softplus(x)),
    "HardSwish": lambda x: x * np.clip(x * _like(x, 1 / 6) + _like(x, 0.5), _like(x, 0), _like(x, 1)),
}  # fmt: skip
for _name, _function in _UNARY.items():
    _unary(_name, _function)

_BINARY: dict[str, Callable[[Array, Array], Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": _integer_division, "And": np.logical_and,
    "Or": np.logical_or, "Xor": np.logical_xor, "Equal": np.equal, "Greater": np.greater, "Less": np.less,
    "GreaterOrEqual": np.greater_equal, "LessOrEqual": np.less_equal,
    "PRelu": lambda x, slope: np.where(x < 0, x * slope, x),
    "BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor,
}  # fmt: skip
for _name, _pair in _BINARY.items():
    _binary(_name, _pair)
_unary("BitwiseNot", np.bitwise_not)


@operator("Pow", 2)
def _pow(call: Call) -> Compute:
    exponent = call.constant(1)
    if exponent is not None and not exponent.ndim and exponent.item() == 2:
        return lambda a, _: np.square(a)
    return lambda a, b: np.power(a, b if b.dtype == a.dtype else b.astype(_power_dtype(a, b))).astype(a.dtype)


def _power_dtype(a: Array, b: Array) -> Any:
    return a.dtype if a.dtype.kind == "f" or b.dtype.kind != "f" else b.dtype


def _with_slope(name: str, defaults: dict[str, float], function: Callable[..., Any], *, since: int = 1) -> None:
    @operator(name, 1, since=since)
    def build(call: Call) -> Compute:
        values = [call.number(key, default) for key, default in defaults.items()]
        return lambda x: function(x, *[_like(x, value) for value in values])


def hard_sigmoid(x: Array, alpha: Any, beta: Any) -> Any:
    return np.clip(alpha * x + beta, _like(x, 0), _like(x, 1))


def elu(x: Array, alpha: Any) -> Any:
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


_with_slope("LeakyRelu", {"alpha": 0.01}, lambda x, alpha: np.where(x < 0, alpha * x, x))
_with_slope("Elu", {"alpha": 1.0}, elu)
_with_slope("Celu", {"alpha": 1.0}, lambda x, a: np.maximum(x, 0) + np.minimum(0, a * np.expm1(np.minimum(x, 0) / a)))
_with_slope(
    "Selu", {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875},
    lambda x, alpha, gamma: gamma * elu(x, alpha),
)  # fmt: skip
_with_slope("HardSigmoid", {"alpha": 0.2, "beta": 0.5}, hard_sigmoid)
_with_slope("ThresholdedRelu", {"alpha": 1.0}, lambda x, alpha: np.where(x > alpha, x, _like(x, 0)))
_with_slope("Swish", {"alpha": 1.0}, lambda x, alpha: x * sigmoid(alpha * x), since=24)


@operator("Gelu", 1, since=20)
def _gelu(call: Call) -> Compute:
    if call.choice("approximate", "none", ("none", "tanh")) == "tanh":
        inner = math.sqrt(2 / math.pi)
        return lambda x: _narrow(x / 2 * (1 + np.tanh(_like(x, inner) * (x + _like(x, 0.044715) * x**3))), x)
    return lambda x: _narrow(x / 2 * (1 + erf(x * _like(x, math.sqrt(0.5)))), x)


@operator("Clip", 1)
def _clip_by_attributes(call: Call) -> Compute:
    low, high = call.number("min", None), call.number("max", None)
    return lambda x: _clipped(x, None if low is None else _like(x, low), None if high is None else _like(x, high))


@operator("Clip", 1, 3, since=11)
def _clip(call: Call) -> Compute:  # noqa: ARG001
    return lambda x, low=None, high=None: _clipped(x, low, high)


def _clipped(x: Array, low: Any, high: Any) -> Any:
    if low is not None:
        x = np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _of_many(name: str, function: Callable[[Array, Array], Any]) -> None:
    @operator(name, 1, -1)
    def build(call: Call) -> Compute:  # noqa: ARG001
        def compute(*arrays: Array) -> Any:
            found = arrays[0]
            for array in arrays[1:]:
                found = function(found, array)
            return found

        return compute


_of_many("Sum", np.add)
_of_many("Min", np.minimum)
_of_many("Max", np.maximum)


@operator("Mean", 1, -1)
def _mean(call: Call) -> Compute:  # noqa: ARG001
    return lambda *arrays: sum(arrays[1:], arrays[0]) / _like(arrays[0], len(arrays))


@operator("Mod", 2)
def _mod(call: Call) -> Compute:
    return np.fmod if call.flag("fmod", 0) else np.mod


@operator("Where", 3)
def _where(call: Call) -> Compute:  # noqa: ARG001
    return np.where


@operator("IsInf", 1)
def _is_inf(call: Call) -> Compute:
    negative, positive = call.flag("detect_negative", 1), call.flag("detect_positive", 1)
    return lambda x: np.isinf(x) & np.where(x < 0, negative, positive)


@operator("Cast", 1)
def _cast(call: Call) -> Compute:
    call.ignore("saturate", "round_mode")
    number = call.integer("to")
    try:
        dtype = dtype_of(number, "what it gives")
    except ModelFileError as error:
        raise call.error(str(error)) from None
    return lambda x: cast(x, dtype)


@operator("CastLike", 2)
def _cast_like(call: Call) -> Compute:
    call.ignore("saturate", "round_mode")
    return lambda x, like: cast(x, like.dtype)


def cast(x: Array, dtype: Any) -> Array:
    if dtype.kind == "b":
        return np.not_equal(x, 0)
    return x.astype(dtype, copy=False)


@operator("Dropout", 1)
@operator("Dropout", 1, 3, since=12)
def _dropout(call: Call) -> Compute:
    call.ignore("ratio", "seed", "is_test")
    training = call.constant(2)
    if len(call.node.inputs) > 2 and call.node.inputs[2] and (training is None or training.any()):
        raise call.error("drops at random, as in training: export the model for inference")
    if call.outputs > 1:
        return lambda x, *_: (x, np.ones(x.shape, bool))
    return lambda x, *_: x
