"""Operators on 8-bit integers, computed as onnxruntime computes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...._arrays import Array
from .indexing import reversed_steps
from .recurrent import Kind, read_kind
from .recurrent_steps import direction_of_steps
from .registry import MICROSOFT, Call, Compute, operator
from .shapes import axis_of


def _along(parameter: Array, x: Array, axis: int) -> Array:
    """A scale or zero point of a channel, to be broadcast over x."""
    if parameter.ndim != 1 or parameter.size == 1:
        return parameter
    at = axis_of(axis, x.ndim)
    return parameter.reshape([-1 if k == at else 1 for k in range(x.ndim)])


def _quantised(x: Array, scale: Array, zero: Array) -> Array:
    bounds = np.iinfo(zero.dtype)
    return np.asarray(np.clip(np.rint(x / scale) + zero.astype(x.dtype), bounds.min, bounds.max), zero.dtype)


def dynamic(x: Array) -> tuple[Array, Array, Array]:
    """x as uint8, the scale and the zero point of the whole array: 0 is a number that is met exactly."""
    low, high = min(float(x.min(initial=0.0)), 0.0), max(float(x.max(initial=0.0)), 0.0)
    span = np.float32(high) - np.float32(low)
    scale = np.float32(1.0) if span == 0 else np.float32(span / np.float32(255.0))
    zero = np.asarray(np.clip(np.rint(-np.float32(low) / scale), 0, 255), np.uint8)
    return _quantised(x, np.asarray(scale), zero), np.asarray(scale), zero


@operator("DynamicQuantizeLinear", 1, since=11)
def _dynamic_quantize(call: Call) -> Compute:  # noqa: ARG001
    return dynamic


@operator("QuantizeLinear", 2, 3, since=10)
@operator("QuantizeLinear", 2, 3, domain=MICROSOFT)
def _quantize(call: Call) -> Compute:
    axis = call.integer("axis", 1)
    call.ignore("saturate")
    if (
        call.integer("block_size", 0)
        or call.integer("output_dtype", 0) not in (0, 2, 3)
        or call.integer("precision", 0)
    ):
        raise call.error("quantises in blocks, or to another type than int8 and uint8")

    def compute(x: Array, scale: Array, zero: Array | None = None) -> Array:
        zero = np.zeros((), np.uint8) if zero is None else zero
        return _quantised(x, _along(scale, x, axis), _along(zero, x, axis))

    return compute


@operator("DequantizeLinear", 2, 3, since=10)
@operator("DequantizeLinear", 2, 3, domain=MICROSOFT)
def _dequantize(call: Call) -> Compute:
    axis = call.integer("axis", 1)
    if call.integer("block_size", 0) or call.integer("output_dtype", 0):
        raise call.error("is quantised in blocks, or gives another type than its scale's")

    def compute(x: Array, scale: Array, zero: Array | None = None) -> Array:
        wide = x.astype(np.int32)
        if zero is not None:
            wide = wide - _along(zero, x, axis).astype(np.int32)
        return wide.astype(scale.dtype) * _along(scale, x, axis)

    return compute


def integer_product(a: Array, b: Array) -> Array:
    """a @ b of integers of 8 bits and their differences, exactly, as int32."""
    # float64 holds every sum of such products, and its product is the fast one
    return np.asarray(np.matmul(a.astype(np.float64), b.astype(np.float64)).astype(np.int64), np.int32)


@operator("MatMulInteger", 2, 4, since=10)
def _mat_mul_integer(call: Call) -> Compute:  # noqa: ARG001
    def compute(a: Array, b: Array, a_zero: Array | None = None, b_zero: Array | None = None) -> Array:
        left, right = a.astype(np.int32), b.astype(np.int32)
        if a_zero is not None:
            left = left - (a_zero[:, None] if a_zero.ndim == 1 and a_zero.size > 1 else a_zero).astype(np.int32)
        if b_zero is not None:
            right = right - b_zero.astype(np.int32)
        return integer_product(left, right)

    return compute


@operator("DynamicQuantizeMatMul", 3, 5, domain=MICROSOFT)
def _dynamic_quantize_mat_mul(call: Call) -> Compute:  # noqa: ARG001
    def compute(a: Array, b: Array, scale: Array, zero: Array | None = None, bias: Array | None = None) -> Array:
        y = quantised_product(a, b, scale, zero)
        return y if bias is None else y + bias

    return compute


def quantised_product(x: Array, weight: Array, scale: Array, zero: Array | None) -> Array:
    """x @ weight, x as uint8 with one scale for all of it, weight (k, n) of integers."""
    whole, x_scale, x_zero = dynamic(x)
    right = weight.astype(np.int32)
    if zero is not None:
        right = right - zero.astype(np.int32)
    found: Any = integer_product(whole.astype(np.int32) - x_zero.astype(np.int32), right).astype(np.float32)
    return np.asarray(found * (x_scale * scale), np.float32)


@operator("DynamicQuantizeLSTM", 3, 12, domain=MICROSOFT)
def _dynamic_quantize_lstm(call: Call) -> Compute:
    """Weights are (D, I, 4H) and (D, H, 4H) integers, with a scale and a zero point for each direction, or for each
    column of each. x is quantised as a whole, h as a whole at every step: so what comes out depends on the batch."""
    return QuantisedLSTM(read_kind(call, "LSTM"), call.outputs)


class QuantisedLSTM:
    """Computes such a node, step by step."""

    def __init__(self, kind: Kind, outputs: int) -> None:
        self.kind, self.outputs = kind, outputs

    def __call__(
        self, x: Array, w: Array, r: Array, b: Array | None, lengths: Array | None, h: Array | None, c: Array | None,
        p: Array | None, w_scale: Array, w_zero: Array, r_scale: Array, r_zero: Array,
    ) -> Any:  # fmt: skip
        """Y, Y_h and Y_c, as many as the node has outputs; of one the array itself."""
        kind, size = self.kind, r.shape[1]
        shapes = [(kind.directions, x.shape[2], 4 * size), (kind.directions, size, 4 * size)]
        if x.ndim != 3 or kind.layout or [w.shape, r.shape] != shapes:
            raise ValueError(f"X {x.shape}, W {w.shape} and R {r.shape} do not fit each other, or the layout is 1")
        found = []
        for d in range(kind.directions):
            backwards = kind.direction == "reverse" or d == 1
            x_d = reversed_steps(x, lengths) if backwards else x

            def times(rows: Array, d: int = d, which: int = 0) -> Array:
                weight, scale, zero = ((w, w_scale, w_zero), (r, r_scale, r_zero))[which]
                flat = rows.reshape(-1, rows.shape[-1])
                return quantised_product(flat, weight[d], scale[d], zero[d]).reshape(*rows.shape[:-1], 4 * size)

            weights = [np.zeros((4 * size, 1), np.float32), np.zeros((4 * size, size), np.float32)]
            own = [*weights, None if b is None else b[d], None if p is None else p[d]]
            begin = [None if one is None else one[d] for one in (h, c)]
            y, after = direction_of_steps(
                kind, kind.activations[d], x_d, own, lengths, begin, (times, lambda rows, t=times: t(rows, which=1))
            )
            found.append((reversed_steps(y, lengths) if backwards else y, after))
        results = [
            np.stack([y for y, _ in found], 1),
            *[np.stack(one) for one in zip(*[a for _, a in found], strict=True)],
        ]
        return tuple(results[: self.outputs]) if self.outputs > 1 else results[0]
