"""Operators that make one number of many: sums, means, norms, softmax, normalisations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .... import _activations
from ...._arrays import Array
from ....layers.normalization import LayerNorm
from .registry import Call, Compute, operator
from .shapes import axis_of


def _log_sum_exp(x: Array, **options: Any) -> Any:
    most = x.max(axis=options["axis"], keepdims=True, initial=-np.inf)
    most = np.where(np.isfinite(most), most, 0)
    total = np.log(np.exp(x - most).sum(axis=options["axis"], keepdims=True)) + most
    return total if options["keepdims"] else total.squeeze(options["axis"])


def _summed(x: Array, **options: Any) -> Any:
    return np.sum(x, dtype=x.dtype, **options)


def _mean(x: Array, axis: tuple[int, ...], keepdims: bool) -> Any:
    if x.dtype.char not in "fd":
        return np.mean(x, axis=axis, keepdims=keepdims)
    # as np.mean has it, in less time where the numbers are few
    count = x.dtype.type(math.prod(x.shape[at] for at in axis))
    return x.sum(axis=axis, keepdims=keepdims) / count


def _end(x: Array, low: bool) -> Any:
    """The least or greatest number of a dtype: what nothing at all comes to."""
    if x.dtype.kind == "b":
        return not low
    if x.dtype.kind == "f":
        return -np.inf if low else np.inf
    return np.iinfo(x.dtype).min if low else np.iinfo(x.dtype).max


_REDUCTIONS: dict[str, tuple[Callable[..., Any], int]] = {  # name -> function, the opset whose axes are an input
    "ReduceSum": (_summed, 13),
    "ReduceMean": (_mean, 18),
    "ReduceMax": (lambda x, **options: np.max(x, initial=_end(x, low=True), **options), 18),
    "ReduceMin": (lambda x, **options: np.min(x, initial=_end(x, low=False), **options), 18),
    "ReduceProd": (lambda x, **options: np.prod(x, dtype=x.dtype, **options), 18),
    "ReduceL1": (lambda x, **options: _summed(np.abs(x), **options), 18),
    "ReduceL2": (lambda x, **options: np.sqrt(_summed(x * x, **options)), 18),
    "ReduceSumSquare": (lambda x, **options: _summed(x * x, **options), 18),
    "ReduceLogSum": (lambda x, **options: np.log(_summed(x, **options)), 18),
    "ReduceLogSumExp": (_log_sum_exp, 18),
}


def _reduced(function: Callable[..., Any], x: Array, axes: Any, keep: bool, nothing: bool) -> Array:
    if axes is None or not len(axes):
        if nothing:
            return x
        axes = range(x.ndim)
    places = tuple(axis_of(int(axis), x.ndim) for axis in axes)
    return np.asarray(function(x, axis=places, keepdims=keep)).astype(x.dtype, copy=False)


def _add_reduction(name: str, function: Callable[..., Any], changed: int) -> None:
    @operator(name, 1)
    def by_attribute(call: Call) -> Compute:
        axes, keep = call.integers("axes", None), call.flag("keepdims", 1)
        return lambda x: _reduced(function, x, axes, keep, False)

    @operator(name, 1, 2, since=changed)
    def by_input(call: Call) -> Compute:
        keep, nothing = call.flag("keepdims", 1), call.flag("noop_with_empty_axes", 0)
        return lambda x, axes=None: _reduced(function, x, None if axes is None else axes.ravel(), keep, nothing)


for _name, (_function, _changed) in _REDUCTIONS.items():
    _add_reduction(_name, _function, _changed)


# ---- along an axis ---------------------------------------------------------------------------------------------------


def _softmax(x: Array, axis: int) -> Array:
    if not x.size:
        return x
    wide = x.astype(np.float32) if x.dtype == np.float16 else x
    return np.asarray(_activations.softmax(wide, axis), x.dtype)


def _log_softmax(x: Array, axis: int) -> Array:
    shifted = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)))


def _hardmax(x: Array, axis: int) -> Array:
    y = np.zeros_like(x)
    np.put_along_axis(y, np.expand_dims(x.argmax(axis), axis), 1, axis)
    return y


def _add_along(name: str, function: Callable[[Array, int], Array]) -> None:
    @operator(name, 1)
    def of_the_rest(call: Call) -> Compute:  # before opset 13 all axes from this one on are one
        axis = call.integer("axis", 1)

        def compute(x: Array) -> Array:
            at = axis_of(axis, x.ndim)
            return function(x.reshape(*x.shape[:at], -1), at).reshape(x.shape)

        return compute

    @operator(name, 1, since=13)
    def along_one(call: Call) -> Compute:
        axis = call.integer("axis", -1)
        return lambda x: function(x, axis_of(axis, x.ndim))


_add_along("Softmax", _softmax)
_add_along("LogSoftmax", _log_softmax)
_add_along("Hardmax", _hardmax)


# ---- normalisations --------------------------------------------------------------------------------------------------


def _by_channel(parameter: Array, x: Array) -> Array:
    return parameter.reshape(1, -1, *[1] * (x.ndim - 2))


@operator("BatchNormalization", 5)
def _batch_normalization(call: Call) -> Compute:
    eps = call.number("epsilon", 1e-5)
    call.ignore("momentum", "is_test")
    if not call.flag("spatial", 1) or call.flag("training_mode", 0) or call.outputs > 1:
        raise call.error("takes means over the batch, as in training: export the model for inference")

    def compute(x: Array, scale: Array, bias: Array, mean: Array, variance: Array) -> Array:
        factor = scale / np.sqrt(variance + variance.dtype.type(eps))
        return ((x - _by_channel(mean, x)) * _by_channel(factor, x) + _by_channel(bias, x)).astype(x.dtype)

    return compute


@operator("InstanceNormalization", 3)
def _instance_normalization(call: Call) -> Compute:
    eps = call.number("epsilon", 1e-5)

    def compute(x: Array, scale: Array, bias: Array) -> Array:
        axes = tuple(range(2, x.ndim))
        y, _, _ = _normalized(x, axes, eps)
        return y * _by_channel(scale, x) + _by_channel(bias, x)

    return compute


@operator("GroupNormalization", 3, since=21)
def _group_normalization(call: Call) -> Compute:
    eps, groups = call.number("epsilon", 1e-5), call.integer("num_groups")
    call.ignore("stash_type")

    def compute(x: Array, scale: Array, bias: Array) -> Array:
        y, _, _ = _normalized(x.reshape(len(x), groups, -1), (2,), eps)
        return y.reshape(x.shape) * _by_channel(scale, x) + _by_channel(bias, x)

    return compute


def _normalized(x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array, Array]:
    mean = x.mean(axis=axes, keepdims=True)
    centred = x - mean
    inverse = 1 / np.sqrt((centred * centred).mean(axis=axes, keepdims=True) + x.dtype.type(eps))
    return centred * inverse, mean, inverse


@operator("LayerNormalization", 2, 3, since=17)
def _layer_normalization(call: Call) -> Compute:
    axis, eps, outputs = call.integer("axis", -1), call.number("epsilon", 1e-5), call.outputs
    call.ignore("stash_type")
    layer = _layer_norm(call, eps) if axis == -1 and outputs == 1 else None

    def compute(x: Array, scale: Array, bias: Array | None = None) -> Any:
        if layer is not None and x.dtype == layer.dtype and x.shape[-1:] == scale.shape:
            return layer(x)
        wide = x.astype(np.float32) if x.dtype == np.float16 else x
        y, mean, inverse = _normalized(wide, tuple(range(axis_of(axis, x.ndim), x.ndim)), eps)
        y = y.astype(x.dtype, copy=False) * scale
        if bias is not None:
            y = y + bias
        return (y, mean, inverse)[:outputs] if outputs > 1 else y

    return compute


def _layer_norm(call: Call, eps: float) -> LayerNorm | None:
    """The layer of ours with these weights, if they are known."""
    scale, bias = call.constant(1), call.constant(2)
    if scale is None or scale.ndim != 1 or scale.dtype.char not in "fd" or not scale.size or eps <= 0:
        return None
    if len(call.node.inputs) > 2 and (bias is None or bias.shape != scale.shape):
        return None
    layer = LayerNorm(scale.size, eps, dtype=scale.dtype)
    layer.load_state_dict({"weight": scale, "bias": np.zeros_like(scale) if bias is None else bias})
    return layer


@operator("RMSNormalization", 2, since=23)
def _rms_normalization(call: Call) -> Compute:
    axis, eps = call.integer("axis", -1), call.number("epsilon", 1e-5)
    call.ignore("stash_type")

    def compute(x: Array, scale: Array) -> Array:
        axes = tuple(range(axis_of(axis, x.ndim), x.ndim))
        return np.asarray(x / np.sqrt((x * x).mean(axis=axes, keepdims=True) + x.dtype.type(eps)) * scale)

    return compute


@operator("LpNormalization", 1)
def _lp_normalization(call: Call) -> Compute:
    axis, p = call.integer("axis", -1), call.integer("p", 2)

    def compute(x: Array) -> Array:
        size = np.abs(x).sum(axis, keepdims=True) if p == 1 else np.sqrt((x * x).sum(axis, keepdims=True))
        return np.where(size == 0, 0, x / size).astype(x.dtype)

    return compute
