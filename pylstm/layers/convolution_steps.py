"""What a causal convolution gives a stream: the steps that its windows reach back to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .._arrays import Array, real_array, shaped
from .windows_of_steps import Windows

if TYPE_CHECKING:
    from .convolution import Conv1d


class ConvolutionSteps:
    """Of a `Conv1d`, with its packed weights: the state is the last dilation * (kernel_size - 1) steps of x."""

    def __init__(self, layer: Conv1d, batch_size: int, num_threads: int | None) -> None:
        self._layer, self._batch, self._num_threads = layer, batch_size, num_threads
        self._has_state = layer._span > 0
        self._of: object = None  # the parameters that were packed
        self.reset()

    def reset(self) -> None:
        self._last = np.zeros((self._batch, self._layer._span, self._layer.in_size), self._layer.dtype)

    def step(self, x: Any) -> Any:
        """(N, F) -> (N, out), or (F,) -> (out,) if N is 1."""
        layer = self._layer
        array = real_array("x", x, layer.dtype)
        if array.shape != (self._batch, layer.in_size) and (self._batch > 1 or array.shape != (layer.in_size,)):
            one = f" or ({layer.in_size},)" if self._batch == 1 else ""
            raise ValueError(f"x must have shape ({self._batch}, {layer.in_size}){one}, got {array.shape}")
        if self._of is not layer._params:
            params = layer._params
            self._weight, self._bias = layer._flat_weight(), params._arrays.get("bias")
            self._packed = _core.PackedLinear(self._weight, self._bias)
            self._of = params
        steps = np.concatenate([self._last, array.reshape(self._batch, 1, -1)], axis=1)
        window = np.ascontiguousarray(steps[:, :: layer.dilation]).reshape(self._batch, -1)
        y = self._packed.step(window, self._num_threads)
        if y is None:
            y = _core.linear(window, self._weight, self._bias, self._num_threads)
        self._last = steps[:, 1:]  # last: where anything failed, nothing has changed
        return y[0] if array.ndim == 1 else y

    def __call__(self, x: Any) -> Any:
        """(N, T, F) -> (N, T, out), or (T, F) -> (T, out) if N is 1."""
        layer = self._layer
        array = real_array("x", x, layer.dtype)
        batch = array.shape[0] if array.ndim == 3 else 1
        if array.ndim not in (2, 3) or batch != self._batch or array.shape[-1] != layer.in_size:
            one = f" or (T, {layer.in_size})" if self._batch == 1 else ""
            raise ValueError(f"x must have shape ({self._batch}, T, {layer.in_size}){one}, got {array.shape}")
        steps = np.concatenate([self._last, array.reshape(self._batch, -1, layer.in_size)], axis=1)
        span = layer._span
        windows = Windows(steps, None, layer.kernel_size, 1, layer.dilation, 0, 0)
        y = np.ascontiguousarray(windows.product(layer._flat_weight(), layer._params._arrays.get("bias")))
        self._last = steps[:, steps.shape[1] - span :].copy()
        return y[0] if array.ndim == 2 else y

    def is_finite(self) -> NDArray[np.bool_]:
        return np.asarray(np.isfinite(self._last).all(axis=(1, 2)))

    @property
    def state(self) -> Array | None:
        return self._last.copy() if self._has_state else None

    @state.setter
    def state(self, value: Any) -> None:
        if value is None:
            raise TypeError("state must not be None; reset() returns to zero")
        self._last = shaped("state", value, self._layer.dtype, self._last.shape).copy()
