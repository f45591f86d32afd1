"""Constants folded: what a file says in many nodes is computed when it is read, within bounds.

A small file may ask for arrays of any size. So a node is computed beforehand only where its result is known to be
small beside the file, or not to be larger than what goes in; the others run when the model does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..._arrays import Array
from .model import Node
from .operators.registry import Call

_ROOM = 2**23  # bytes that constants of any file may take
_TIMES = 4  # .. and of a large one, so many times the file


def _sum(*arrays: Any) -> int:
    return sum(array.size for array in arrays if array is not None)


def _broadcast(*arrays: Any) -> int:
    sizes: dict[int, int] = {}
    for array in arrays:
        for at, size in enumerate(reversed(array.shape if array is not None else ())):
            sizes[at] = max(sizes.get(at, 1), size)
    return math.prod(sizes.values())


def _product(sizes: Any) -> int:
    return math.prod(max(int(size), 0) for size in sizes)


def _gathered(x: Array, indices: Array) -> int:
    return max(x.size, indices.size) * max(indices.size, 1) if x.ndim > 1 else indices.size


def _matrices(a: Array, b: Array, *_: Any) -> int:
    return int(a.size * max(b.shape[-1:] or (1,)) + b.size * max(a.shape[-2:-1] or (1,)))


# How many numbers come out, at most. What is not here gives no more than goes in, or is not folded.
_GROWS: dict[str, Callable[..., int]] = {
    **dict.fromkeys(
        ("Add", "Sub", "Mul", "Div", "Pow", "Mod", "And", "Or", "Xor", "Equal", "Greater", "Less", "GreaterOrEqual",
         "LessOrEqual", "Where", "Min", "Max", "Sum", "Mean", "PRelu"), _broadcast),
    "ConstantOfShape": lambda shape: _product(shape.ravel()),
    "Expand": lambda x, shape: _broadcast(x, np.broadcast_to(x.dtype.type(0), ())) * _product(shape.ravel()),
    "Gather": _gathered, "MatMul": _matrices, "Gemm": _matrices,
    "Tile": lambda x, repeats: x.size * _product(repeats.ravel()),
    "Range": lambda start, limit, delta: (
        int(abs(float(limit.ravel()[0]) - float(start.ravel()[0])) / max(abs(float(delta.ravel()[0])), 1e-300))
    ),
}  # fmt: skip
_KEEPS = {
    "Abs", "Neg", "Sqrt", "Exp", "Log", "Floor", "Ceil", "Sign", "Reciprocal", "Tanh", "Sigmoid", "Relu", "Not",
    "Identity", "Cast", "CastLike", "Clip", "Shape", "Size", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose",
    "Concat", "Split", "Slice", "GatherElements", "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd",
    "Constant", "NonZero", "CumSum", "ScatterElements", "ScatterND", "DequantizeLinear", "Trilu", "Round",
}  # fmt: skip


class Folding:
    """How much of one file has been folded, and may still be."""

    def __init__(self, size: int) -> None:
        self._left = _ROOM + _TIMES * size

    def compute(self, node: Node, compute: Callable[..., Any], inputs: list[Any]) -> Any:
        """What the node gives, an array or a tuple of arrays that are read-only; None: it is left to the run."""
        name = node.operator
        if node.domain or not (name in _GROWS or name in _KEEPS):
            return None
        try:
            with np.errstate(all="ignore"):
                numbers = _GROWS[name](*inputs) if name in _GROWS else _sum(*inputs) * (4 if name == "NonZero" else 1)
                if 8 * numbers > self._left:
                    return None
                found = compute(*inputs)
        except Exception:  # it may be in a branch that never runs, and says what is wrong where it does
            return None
        arrays = [np.asarray(one) for one in (found if isinstance(found, tuple) else (found,))]
        for array in arrays:
            self._left -= 0 if name == "Constant" else array.nbytes
            array.setflags(write=False)
        return tuple(arrays) if isinstance(found, tuple) else arrays[0]


# ---- zeros of some shape ---------------------------------------------------------------------------------------------

_MOVES = {"Expand", "Slice", "Gather", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Tile", "Cast",
          "Split", "Concat", "Flatten"}  # fmt: skip
_ALL = {"Concat"}  # whose inputs must all be zeros


def is_zero(node: Node, call: Call) -> bool:
    """Whether all outputs are zeros, whatever their shape: initial states that a file makes for the batch at hand."""
    if node.domain:
        return False
    if node.operator == "ConstantOfShape":
        value = node.attributes.get("value")
        return value is None or (isinstance(value, np.ndarray) and not value.any())
    if node.operator not in _MOVES:
        return False
    count = len(node.inputs) if node.operator in _ALL else 1
    return all(call.zeros[at] or ((array := call.constant(at)) is not None and not array.any()) for at in range(count))
