"""The products of a convolution over time: windows of steps, without copies where they lie in memory as they are."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from .. import _core
from .._arrays import Array


class Windows:
    """Of steps x (N, T, F), `left` zeros before them and `right` behind: every `stride` steps a window of `kernel`
    steps, `dilation` apart.

    Attributes:
        count: how many windows a sequence has.
    """

    def __init__(
        self,
        x: Array,
        inside: NDArray[np.bool_] | None,
        kernel: int,
        stride: int,
        dilation: int,
        left: int,
        right: int,
    ) -> None:
        """inside: (N, T, 1), the steps that count; the others are zeros, too. None: all of them."""
        batch, steps, width = x.shape
        self._form = x.shape, x.dtype
        self._inside, self._kernel, self._stride, self._dilation, self._left = inside, kernel, stride, dilation, left
        self.count = window_count(steps, kernel, stride, dilation, left + right)
        total = -(-(left + steps + right) // stride) * stride
        # A row of the products is a window: with its steps side by side it is the memory itself, of which the next row
        # begins `stride` steps later, also across the ends of sequences (rows that nobody reads).
        self._apart = total // stride if dilation == 1 else self.count  # rows of a sequence
        more = kernel - 1 if dilation == 1 else 0
        memory = np.zeros(((batch * total + more) * width,), x.dtype)
        padded = memory[: batch * total * width].reshape(batch, total, width)
        if inside is None:
            padded[:, left : left + steps] = x
        else:
            np.copyto(padded[:, left : left + steps], x, where=inside)
        item = x.itemsize
        if dilation == 1:
            shape, strides = (batch * self._apart, kernel * width), (stride * width * item, item)
            self.rows = as_strided(memory, shape, strides, writeable=False)
        else:
            far = dilation * width * item
            shape4, strides4 = (batch, self.count, kernel, width), (padded.strides[0], stride * width * item, far, item)
            windows = as_strided(padded, shape4, strides4, writeable=False)
            self.rows = np.ascontiguousarray(windows).reshape(batch * self.count, kernel * width)

    def product(self, weight: Array, bias: Array | None) -> Array:
        """weight (out, kernel * F), bias (out,) -> (N, count, out)."""
        y = _core.linear(self.rows, weight, bias, None)
        return y.reshape(self._form[0][0], self._apart, len(weight))[:, : self.count]

    def backward(
        self, weight: Array, d: Array, need_dx: bool, need_params: bool, has_bias: bool
    ) -> tuple[Array | None, tuple[Array, ...]]:
        """From the gradient d (N, count, out) to the products those to x, and to weight and, if there is one, bias."""
        batch, _, width = self._form[0]
        d_params: list[Array | None] = []
        if need_params:
            rows = d
            if self._apart != self.count:
                rows = np.zeros((batch, self._apart, d.shape[2]), d.dtype)
                rows[:, : self.count] = d
            d_rows = rows.reshape(-1, d.shape[2])
            _, *d_params = _core.linear_backward(self.rows, weight, d_rows, False, has_bias, None)
        dx = self._gradient_to_x(weight.reshape(len(weight), self._kernel, width), d) if need_dx else None
        return dx, tuple([one for one in d_params if one is not None])

    def _gradient_to_x(self, weight: Array, d: Array) -> Array:
        """A product for each place in a window, added where its steps come from."""
        (batch, steps, width), dtype = self._form
        reach = (self.count - 1) * self._stride + 1
        span = self._dilation * (self._kernel - 1)
        total = max(self._left + steps, reach + span if self.count else 0)
        padded = np.zeros((batch, total, width), dtype)
        if self.count:
            rows = np.ascontiguousarray(d).reshape(-1, d.shape[2])
            for k in range(self._kernel):
                part = _core.matmul(rows, np.ascontiguousarray(weight[:, k]), False, None)
                begin = k * self._dilation
                padded[:, begin : begin + reach : self._stride] += part.reshape(batch, self.count, width)
        dx = padded[:, self._left : self._left + steps]
        return dx.copy() if self._inside is None else np.where(self._inside, dx, dtype.type(0))


def window_count(steps: int, kernel: int, stride: int, dilation: int, padding: int) -> int:
    """How many windows there are of so many steps; of none there are none, whatever the padding."""
    return max(0, (steps + padding - dilation * (kernel - 1) - 1) // stride + 1) if steps else 0
