"""Convolutions and pooling over any number of axes, as products of windows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .... import _core
from ...._arrays import Array
from ....layers.convolution import Conv1d
from .products import product
from .registry import Call, Compute, operator
from .shapes import checked_size


class Windows:
    """How windows go over the last axes of an array: the attributes that convolutions and pooling have in common."""

    def __init__(self, call: Call, kernel: list[int] | None = None) -> None:
        self.call = call
        self.auto = call.choice("auto_pad", "NOTSET", ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"))
        self.kernel = call.integers("kernel_shape", kernel)
        self.strides, self.dilations = call.integers("strides", None), call.integers("dilations", None)
        self.pads = call.integers("pads", None)
        for name in ("kernel", "strides", "dilations"):
            if any(one < 1 for one in getattr(self, name) or []):
                raise call.error(f"its {name} must be above 0")

    def of(self, axes: int, kernel: Any) -> tuple[list[int], list[int], list[int]]:
        """kernel, strides, dilations for so many axes."""
        kernel = list(self.kernel or kernel)
        strides, dilations = self.strides or [1] * axes, self.dilations or [1] * axes
        if not len(kernel) == len(strides) == len(dilations) == axes or len(self.pads or [0] * 2 * axes) != 2 * axes:
            raise ValueError(f"its attributes are for {len(kernel)} axes, and x has {axes} besides batch and channels")
        return kernel, strides, dilations

    def around(self, sizes: tuple[int, ...], reach: list[int], strides: list[int]) -> list[tuple[int, int]]:
        """How many numbers are added before and behind each axis."""
        if self.auto == "VALID":
            return [(0, 0)] * len(sizes)
        if self.auto == "NOTSET":
            pads = self.pads or [0] * 2 * len(sizes)
            if min(pads, default=0) < 0:
                raise ValueError("its pads are negative")
            return list(zip(pads[: len(sizes)], pads[len(sizes) :], strict=True))
        found = []
        for size, width, stride in zip(sizes, reach, strides, strict=True):
            total = max((-(-size // stride) - 1) * stride + width - size, 0)
            before = total // 2 if self.auto == "SAME_UPPER" else total - total // 2
            found.append((before, total - before))
        return found

    def cut(self, x: Array, kernel: Any, fill: Any, more: bool = False) -> Array:
        """x (N, C, sizes..) as (N, C, places.., kernel..); more: a last window that is cut off counts, too."""
        axes = x.ndim - 2
        kernel, strides, dilations = self.of(axes, kernel)
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        around = self.around(x.shape[2:], reach, strides)
        if more:
            around = [
                (a, b + _missing(size + a + b, width, stride, size + a))
                for (a, b), size, width, stride in zip(around, x.shape[2:], reach, strides, strict=True)
            ]
        sizes = [size + a + b for size, (a, b) in zip(x.shape[2:], around, strict=True)]
        checked_size([*x.shape[:2], *sizes], x.size)
        if any(a or b for a, b in around):
            x = np.pad(x, [(0, 0), (0, 0), *around], constant_values=fill)
        if any(size < width for size, width in zip(x.shape[2:], reach, strict=True)):
            raise ValueError(f"windows of {reach} do not fit into {x.shape[2:]}")
        windows = sliding_window_view(x, reach, axis=tuple(range(2, x.ndim)))
        places = tuple(slice(None, None, stride) for stride in strides)
        inside = tuple(slice(None, None, dilation) for dilation in dilations)
        return windows[(slice(None), slice(None), *places, *inside)]


def _missing(size: int, width: int, stride: int, own: int) -> int:
    """How many numbers a last window lacks that begins within what is x's own."""
    left = (size - width) % stride
    if size < width or not left:
        return 0
    begins = (size - width) // stride * stride + stride
    return stride - left if begins < own else 0


def convolution_layer(call: Call, windows: Windows) -> Conv1d | None:
    """The layer of ours for a convolution over one axis, where there is one: weights that are known, and as many zeros
    before as behind, or none behind and so many before that no step sees a later one."""
    weight, bias = call.constant(1), call.constant(2)
    if weight is None or weight.ndim != 3 or weight.dtype.char not in "fd" or not weight.size:
        return None
    if (len(call.node.inputs) > 2 and (bias is None or bias.shape != weight.shape[:1])) or windows.auto != "NOTSET":
        return None
    strides, dilations, pads = windows.strides or [1], windows.dilations or [1], windows.pads or [0, 0]
    if len(strides) != 1 or len(dilations) != 1 or len(pads) != 2:
        return None  # which is said when it runs
    (stride,), (dilation,), (left, right) = strides, dilations, pads
    causal = left != right
    if (windows.kernel or [weight.shape[2]]) != [weight.shape[2]] or min(left, right) < 0:
        return None
    if causal and (right or left != dilation * (weight.shape[2] - 1)):
        return None
    if max(left, stride, dilation) > 2**31:
        return None
    layer = Conv1d(
        weight.shape[1], weight.shape[0], weight.shape[2], stride, 0 if causal else left, dilation, causal,
        bias is not None, dtype=weight.dtype, seed=0,
    )  # fmt: skip
    layer.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return layer


_FEW = 64  # rows that weights are packed for: those of a stream's step


class ConvolutionNode:
    """A convolution.

    Attributes:
        layer: that of ours which computes it; None where there is none.
    """

    def __init__(self, call: Call) -> None:
        self._windows, self._groups = Windows(call), call.integer("group", 1)
        if self._groups < 1:
            raise call.error("its group must be above 0")
        self.layer = convolution_layer(call, self._windows) if self._groups == 1 else None
        self._ours = self.layer is not None and call.program is not None and call.program.ours
        weight = call.constant(1)
        if weight is not None and (weight.ndim < 3 or not weight.size or not self._fits(weight)):
            raise call.error(f"has the weight {weight.shape}, and kernel_shape={self._windows.kernel}")
        self._matrix: Array | None = None  # (outputs, numbers of a window), of a weight that is known
        if weight is not None and weight.ndim > 2 and weight.dtype.char in "fd" and self._groups == 1 and weight.size:
            self._matrix = np.ascontiguousarray(weight.reshape(len(weight), -1))
        self._packed: Any = None

    def __call__(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        layer, groups = self.layer, self._groups
        if self._ours and layer is not None and x.ndim == 3 and x.dtype == layer.dtype and x.shape[1] == layer.in_size:
            return layer(x.swapaxes(1, 2)).swapaxes(1, 2)
        if x.ndim < 3 or weight.ndim != x.ndim or x.shape[1] != weight.shape[1] * groups or len(weight) % groups:
            raise ValueError(f"x {x.shape} and weight {weight.shape} do not fit with {groups} groups")
        if not weight.size or not self._fits(weight):
            raise ValueError(f"weight {weight.shape} does not fit kernel_shape={self._windows.kernel}")
        cut = self._windows.cut(x, weight.shape[2:], 0)
        axes = x.ndim - 2
        batch, places = cut.shape[0], cut.shape[2 : 2 + axes]
        width = math.prod(weight.shape[1:])
        rows = np.moveaxis(cut, 1, 1 + axes).reshape(batch, math.prod(places), groups, width)
        if self._matrix is not None and self._is_linear(x, bias):
            y = _core.linear(rows.reshape(-1, width), self._matrix, bias, None)
            return y.reshape(batch, math.prod(places), len(weight)).swapaxes(1, 2).reshape(batch, len(weight), *places)
        outputs = weight.reshape(groups, len(weight) // groups, -1)
        parts = [product(rows[:, :, g], outputs[g].T) for g in range(groups)]
        y = parts[0] if groups == 1 else np.concatenate(parts, -1)
        if bias is not None:
            y = y + bias
        return y.swapaxes(1, 2).reshape(batch, len(weight), *places)

    def _fits(self, weight: Array) -> bool:
        return self._windows.kernel in (None, [], [*weight.shape[2:]])

    def _is_linear(self, x: Array, bias: Array | None) -> bool:
        matrix = self._matrix
        if matrix is None or x.dtype != matrix.dtype or not x.size:
            return False
        return bias is None or (bias.dtype == matrix.dtype and bias.shape == matrix.shape[:1])

    def ready_for(self, known: list[Array | None], x: Array) -> Compute | None:
        """Windows as a view of a padded copy, and weights packed once: the same bits."""
        weight, bias = known[1], known[2] if len(known) > 2 else None
        matrix = self._matrix
        if weight is None or matrix is None or self._ours or not self._is_linear(x, bias):
            return None
        if len(known) > 2 and bias is None:
            return None
        kernel, strides, dilations = self._windows.of(x.ndim - 2, weight.shape[2:])
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        around = self._windows.around(x.shape[2:], reach, strides)
        sizes = [size + a + b for size, (a, b) in zip(x.shape[2:], around, strict=True)]
        places = [(size - width) // stride + 1 for size, width, stride in zip(sizes, reach, strides, strict=True)]
        count = len(x) * math.prod(places)
        if count > _FEW:
            return None
        if self._packed is None:  # two threads may both pack: the same result
            self._packed = _core.PackedLinear(matrix, bias)
        packed, dtype = self._packed, x.dtype
        padded = (*x.shape[:2], *sizes) if any(a or b for a, b in around) else None
        inner = (
            slice(None),
            slice(None),
            *[slice(a, a + size) for size, (a, _) in zip(x.shape[2:], around, strict=True)],
        )
        steps = np.empty(padded or x.shape, dtype).strides
        shape = (len(x), *places, x.shape[1], *kernel)
        over = [step * stride for step, stride in zip(steps[2:], strides, strict=True)]
        along = [step * dilation for step, dilation in zip(steps[2:], dilations, strict=True)]
        view = (steps[0], *over, steps[1], *along)
        back = (0, x.ndim - 1, *range(1, x.ndim - 1))
        given, found = (count, matrix.shape[1]), (len(x), *places, len(matrix))

        def compute(x: Array, *_: Array | None) -> Array:
            if padded is None:
                room = np.ascontiguousarray(x)
            else:
                room = np.zeros(padded, dtype)
                room[inner] = x
            rows = np.ascontiguousarray(np.ndarray(shape, dtype, room, 0, view)).reshape(given)
            return packed.step(rows, None).reshape(found).transpose(back)  # type: ignore[no-any-return]

        return compute


operator("Conv", 2, 3)(ConvolutionNode)


@operator("ConvTranspose", 2, 3)
def _conv_transpose(call: Call) -> Compute:
    windows, groups = Windows(call), call.integer("group", 1)
    more, wanted = call.integers("output_padding", None), call.integers("output_shape", None)
    if groups < 1 or min(more or [0]) < 0:
        raise call.error("its group must be above 0, and its output_padding not below")
    if wanted is not None or windows.auto != "NOTSET":
        raise call.error("says its pads by output_shape or auto_pad, which is not computed: export it with pads")

    def compute(x: Array, weight: Array, bias: Array | None = None) -> Array:
        axes = x.ndim - 2
        if axes < 1 or weight.ndim != x.ndim or x.shape[1] != len(weight) or len(weight) % groups:
            raise ValueError(f"x {x.shape} and weight {weight.shape} do not fit with {groups} groups")
        kernel, strides, dilations = windows.of(axes, weight.shape[2:])
        around = windows.around(x.shape[2:], kernel, strides)
        behind = more or [0] * axes
        full = [(n - 1) * s + (k - 1) * d + 1 + m for n, s, k, d, m in
                zip(x.shape[2:], strides, kernel, dilations, behind, strict=True)]  # fmt: skip
        outputs = weight.shape[1]
        checked_size([len(x), outputs * groups, *full], x.size)
        y = np.zeros((len(x), groups, outputs, *full), x.dtype)
        rows = x.reshape(len(x), groups, len(weight) // groups, -1).swapaxes(2, 3)
        for g in range(groups):
            part = weight[g * len(weight) // groups : (g + 1) * len(weight) // groups]
            for place in np.ndindex(*kernel):
                spot = product(rows[:, g], part[(slice(None), slice(None), *place)]).swapaxes(1, 2)
                cut: Any = tuple(
                    slice(p * d, p * d + (n - 1) * s + 1, s)
                    for p, d, n, s in zip(place, dilations, x.shape[2:], strides, strict=True)
                )
                spots: Any = (slice(None), g, slice(None), *cut)
                y[spots] += spot.reshape(len(x), outputs, *x.shape[2:])
        y = y.reshape(len(x), groups * outputs, *full)
        y = y[(slice(None), slice(None), *[slice(a, n - b) for (a, b), n in zip(around, full, strict=True)])]
        return y if bias is None else y + bias.reshape(1, -1, *[1] * axes)

    return compute


def _lowest(x: Array) -> Any:
    return np.array(-np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min, x.dtype)


def _pooling(name: str, function: Callable[..., Any], fill: float) -> None:
    @operator(name, 1)
    def build(call: Call) -> Compute:
        windows, more = Windows(call), call.flag("ceil_mode", 0)
        counts_pads = call.flag("count_include_pad", 0) if name == "AveragePool" else True
        call.ignore("storage_order", "p")
        if windows.kernel is None or call.outputs > 1:
            raise call.error("must have a kernel_shape and one output")

        def compute(x: Array) -> Array:
            axes = tuple(range(-(x.ndim - 2), 0))
            cut = windows.cut(x, None, _lowest(x) if fill else x.dtype.type(0), more)
            if counts_pads and not (more and name == "AveragePool"):
                return np.asarray(function(cut, axis=axes), x.dtype)
            # pads do not count, and what stands behind them for a last window never does
            ones = np.ones((1, 1, *x.shape[2:]), x.dtype)
            if counts_pads:
                pads = windows.around(x.shape[2:], list(windows.kernel), windows.strides or [1] * len(axes))
                ones = np.pad(ones, [(0, 0), (0, 0), *pads], constant_values=1)
                counted = _counts(windows, ones, x, more)
            else:
                counted = windows.cut(ones, None, x.dtype.type(0), more).sum(axis=axes)
            return np.asarray(cut.sum(axis=axes) / counted, x.dtype)

        return compute


def _counts(windows: Windows, ones: Array, x: Array, more: bool) -> Array:
    """How many numbers of padded x each window has."""
    axes = tuple(range(-(x.ndim - 2), 0))
    whole = windows.cut(np.zeros((1, 1, *x.shape[2:]), x.dtype), None, x.dtype.type(0), more)
    kernel, strides, dilations = windows.of(x.ndim - 2, None)
    counts = np.ones((), x.dtype)
    for at, places in enumerate(whole.shape[2 : 2 + len(axes)]):
        starts = np.arange(places)[:, None] * strides[at] + np.arange(kernel[at]) * dilations[at]
        inside = (starts < ones.shape[2 + at]).sum(1).astype(x.dtype)
        counts = counts[..., None] * inside
    return counts


_pooling("MaxPool", np.max, -np.inf)
_pooling("AveragePool", np.mean, 0.0)


def _global(name: str, function: Callable[..., Any]) -> None:
    @operator(name, 1)
    def build(call: Call) -> Compute:  # noqa: ARG001
        return lambda x: function(x, axis=tuple(range(2, x.ndim)), keepdims=True)


_global("GlobalAveragePool", np.mean)
_global("GlobalMaxPool", np.max)
