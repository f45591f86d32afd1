"""Matrix products, over the core's where numbers are float32 or float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import _products
from ...._arrays import Array
from .registry import Call, Compute, operator


def product(a: Array, b: Array) -> Array:
    """a @ b, of any dtypes that are the same."""
    if a.dtype.char not in "fd" or a.dtype != b.dtype or a.ndim < 1 or b.ndim < 1:
        if a.dtype == np.float16:
            return np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(np.float16)
        return np.asarray(np.matmul(a, b))
    wide_a = a[None] if a.ndim == 1 else a
    wide_b = b[:, None] if b.ndim == 1 else b
    y = _products.matmul(wide_a, wide_b)
    if a.ndim == 1:
        y = y.squeeze(-2)
    return y.squeeze(-1) if b.ndim == 1 else y


@operator("MatMul", 2)
def _mat_mul(call: Call) -> Compute:  # noqa: ARG001
    return product


@operator("Gemm", 2, 3)
def _gemm(call: Call) -> Compute:
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    turn_a, turn_b = call.flag("transA", 0), call.flag("transB", 0)

    def compute(a: Array, b: Array, c: Array | None = None) -> Array:
        if a.ndim != 2 or b.ndim != 2:
            raise ValueError("takes matrices")
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
