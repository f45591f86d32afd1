"""Matrix products, over the core's where numbers are float32 or float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import _products
from ...._arrays import Array
from ....layers.linear import Linear
from .registry import Call, Compute, operator


def product(a: Array, b: Array) -> Array:
    """a @ b, of any dtypes that are the same."""
    if a.dtype.char not in "fd" or a.dtype != b.dtype or a.ndim < 1 or b.ndim < 1:
        if a.dtype == np.float16:
            return np.asarray(np.matmul(a.astype(np.float32), b.astype(np.float32)), np.float16)
        return np.asarray(np.matmul(a, b))
    wide_a = a[None] if a.ndim == 1 else a
    wide_b = b[:, None] if b.ndim == 1 else b
    y = _products.matmul(wide_a, wide_b)
    if a.ndim == 1:
        y = y.squeeze(-2)
    return y.squeeze(-1) if b.ndim == 1 else y


def linear_layer(weight: Array | None, bias: Array | None) -> Linear | None:
    """The layer of ours for x @ weight + bias, weight (in, out); None where there is none."""
    if weight is None or weight.ndim != 2 or weight.dtype.char not in "fd" or not weight.size:
        return None
    if bias is not None and (bias.size != weight.shape[1] or bias.shape[-1] != bias.size or bias.dtype != weight.dtype):
        return None
    layer = Linear(weight.shape[0], weight.shape[1], bias is not None, dtype=weight.dtype, seed=0)
    layer.load_state_dict({"weight": weight.T} | ({} if bias is None else {"bias": bias.reshape(-1)}))
    return layer


class LinearNode:
    """x @ weight, and bias if there is one, both of them constants.

    Attributes:
        layer: ours, which has both.
    """

    def __init__(self, layer: Linear) -> None:
        self.layer = layer

    def __call__(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        if x.ndim < 1 or x.dtype != self.layer.dtype:
            y = product(x, weight)
            return y if bias is None else y + bias
        return self.layer(x)


@operator("MatMul", 2)
def _mat_mul(call: Call) -> Compute:
    layer = linear_layer(call.constant(1), None)
    return product if layer is None else LinearNode(layer)


@operator("Gemm", 2, 3)
def _gemm(call: Call) -> Compute:
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    turn_a, turn_b = call.flag("transA", 0), call.flag("transB", 0)
    layer, weight, c = None, call.constant(1), call.constant(2)
    known = c is not None or len(call.node.inputs) < 3
    if weight is not None and known and not turn_a and alpha == 1.0 and beta == 1.0 and (c is None or c.ndim):
        layer = linear_layer(weight.T if turn_b else weight, c)

    def compute(a: Array, b: Array, c: Array | None = None) -> Array:
        if a.ndim != 2 or b.ndim != 2:
            raise ValueError("takes matrices")
        if layer is not None and a.dtype == layer.dtype:
            return layer(a)
        y = product(a.T if turn_a else a, b.T if turn_b else b)
        if alpha != 1.0:
            y = y * y.dtype.type(alpha)
        if c is not None:
            y = y + (c if beta == 1.0 else c * c.dtype.type(beta))
        return y

    return compute


@operator("Einsum", 1, -1)
def _einsum(call: Call) -> Compute:
    equation = call.text("equation", "")
    if not equation or len(equation) > 200:
        raise call.error("its equation is missing, or too long")

    def compute(*arrays: Array) -> Any:
        return np.einsum(equation.replace(" ", ""), *arrays)

    return compute
