"""Conv1d: a convolution over time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _checks
from .._active import ACTIVE, refuse_in_training
from .._arrays import Array, length_array, real_array
from .convolution_steps import ConvolutionSteps
from .layer import Backward, Layer, Params, SeedLike, Shape, generator, gradient_like, sizes
from .registry import built_in
from .steps import Steps
from .windows_of_steps import Windows, window_count


@built_in
class Conv1d(Layer):
    """y[t] = bias + sum over k of weight[:, :, k] x[t * stride + k * dilation - padding], as torch.nn.Conv1d computes
    it, with time on the second axis: x (N, T, in_size), y (N, T', out_size), or (T, in_size) for one sequence.

    weight (out_size, in_size, kernel_size) and bias (out_size,) start uniform within ±1/sqrt(in_size * kernel_size).
    With `lengths` what stands past a length counts as zeros, and so each sequence of a padded batch gives what it gives
    alone, to the bit: (length + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1 steps, 0 of length 0, and
    zeros behind them.

    A causal layer sees no step that is later than its own: dilation * (kernel_size - 1) zeros stand before the first
    one and none behind, and with a stride of 1 there are as many steps after it as before. Such a layer can stream.

    Args:
        in_size: numbers of a step of x.
        out_size: numbers of a step of y.
        kernel_size: steps that one step of y sees.
        stride: steps from one window to the next.
        padding: zeros before and behind every sequence; 0 where it is causal.
        dilation: from one step of a window to the next.
        causal: whether a step sees none that comes later.
        bias: whether there is one.
        dtype: float32 or float64.
        seed: the initial values follow from it.

    Raises TypeError or ValueError for a wrong argument, naming it.

    >>> import numpy as np, pylstm
    >>> front = pylstm.Conv1d(40, 64, 3, causal=True, seed=0)
    >>> front(np.ones((2, 100, 40))).shape, front.output_lengths([100, 7])
    ((2, 100, 64), array([100,   7]))
    """

    _config_names = (
        "in_size", "out_size", "kernel_size", "stride", "padding", "dilation", "causal", "bias", "dtype",
    )  # fmt: skip
    _fixed = _config_names  # windows are cut by them, and memory read
    _asks = True
    _outputs_own = True
    in_size: int
    out_size: int
    kernel_size: int
    stride: int
    padding: int
    dilation: int
    causal: bool
    bias: bool

    def __init__(
        self,
        in_size: int,
        out_size: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        causal: bool = False,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        seed: SeedLike = None,
    ) -> None:
        self._configure(
            in_size=in_size, out_size=out_size, kernel_size=kernel_size, stride=stride, padding=padding,
            dilation=dilation, causal=causal, bias=bias, dtype=dtype,
        )  # fmt: skip
        _checks.parameter_bytes(self, self._param_shapes, self.dtype)
        self._reseed_from(generator(seed))

    def _configure(
        self,
        *,
        in_size: int,
        out_size: int,
        kernel_size: int,
        stride: int,
        padding: int,
        dilation: int,
        causal: bool,
        bias: bool,
        dtype: DTypeLike,
    ) -> None:
        self.in_size = _checks.size("in_size", in_size)
        self.out_size = _checks.size("out_size", out_size)
        self.kernel_size = _checks.size("kernel_size", kernel_size)
        self.stride = _checks.size("stride", stride)
        self.padding = _checks.size("padding", padding, minimum=0)
        self.dilation = _checks.size("dilation", dilation)
        self.causal = _checks.flag("causal", causal)
        self.bias = _checks.flag("bias", bias)
        self.dtype = _checks.real_dtype("dtype", dtype)
        if self.causal and self.padding:
            raise ValueError(f"padding must be 0 where causal is True, which pads before the sequence, got {padding}")
        self._span = self.dilation * (self.kernel_size - 1)  # steps that a window reaches back
        self._left, self._right = (self._span, 0) if self.causal else (self.padding, self.padding)
        if self._span + 2 * self.padding + self.stride > 2**48:
            raise ValueError("kernel_size, dilation, padding and stride must reach over less than 2**48 steps")
        self._param_shapes = {"weight": (self.out_size, self.in_size, self.kernel_size)}
        if self.bias:
            self._param_shapes["bias"] = (self.out_size,)

    def _reseed_from(self, rng: np.random.Generator) -> None:
        bound = 1.0 / math.sqrt(self.in_size * self.kernel_size)
        self._set_params({
            name: rng.uniform(-bound, bound, shape).astype(self.dtype) for name, shape in self._param_shapes.items()
        })  # fmt: skip

    def _reseed(self, seed: np.random.SeedSequence) -> None:
        self._reseed_from(generator(seed))

    # ---- calls -------------------------------------------------------------------------------------------------------

    def _flat_weight(self) -> Array:
        """(out, kernel * in), as windows lie in memory."""
        weight = self._params._arrays["weight"]
        return np.ascontiguousarray(weight.swapaxes(1, 2)).reshape(self.out_size, -1)

    def _windows(self, x: ArrayLike, lengths: ArrayLike | None) -> tuple[Windows, NDArray[np.bool_] | None, bool]:
        """The windows, which of them count (N, T', 1), None: all, and whether x is one sequence."""
        array = real_array("x", x, self.dtype)
        if array.ndim not in (2, 3) or array.shape[-1] != self.in_size:
            one = self.in_size
            raise ValueError(f"x must have shape (N, T, {one}), or (T, {one}) for one sequence, got {array.shape}")
        if array.ndim == 2:
            if lengths is not None:
                raise ValueError("lengths is for a batch: x of shape (T, in_size) is one sequence, cut it instead")
            return self._cut(array[None], None), None, True
        if lengths is None:
            return self._cut(array, None), None, False
        steps = array.shape[1]
        counts = length_array(lengths, steps, len(array))
        if (counts == steps).all():
            return self._cut(array, None), None, False
        windows = self._cut(array, _inside(counts, steps))
        return windows, _inside(self._counts(counts), windows.count), False

    def _cut(self, x: Array, inside: NDArray[np.bool_] | None) -> Windows:
        return Windows(x, inside, self.kernel_size, self.stride, self.dilation, self._left, self._right)

    def _run(self, x: ArrayLike, lengths: ArrayLike | None) -> tuple[Array, Windows, Any, bool]:
        windows, counts, one = self._windows(x, lengths)
        y = windows.product(self._flat_weight(), self._params._arrays.get("bias"))
        y = np.ascontiguousarray(y) if counts is None else np.where(counts, y, self.dtype.type(0))
        return (y[0] if one else y), windows, counts, one

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        if (run := ACTIVE.get()) is not None:
            return run.call(self, (x,), {"lengths": lengths})  # type: ignore[no-any-return]
        return self._run(x, lengths)[0]

    def forward(
        self, x: ArrayLike, *, lengths: ArrayLike | None = None, need_dx: bool = True
    ) -> tuple[Array, Backward]:
        if ACTIVE.get() is not None:
            refuse_in_training(self, "forward")
        weight, trained = self._flat_weight(), self._trainable
        y, windows, counts, one = self._run(x, lengths)
        form = y.shape, y.dtype

        def backward(dy: ArrayLike) -> tuple[Array | None, Params]:
            d = gradient_like(dy, form)
            d = d[None] if one else d
            if counts is not None:
                d = np.where(counts, d, d.dtype.type(0))
            dx, found = windows.backward(weight, d, need_dx, trained, self.bias)
            d_params: Params = dict(zip(("weight", "bias"), found, strict=False))
            if trained:
                d_weight = found[0].reshape(self.out_size, self.kernel_size, self.in_size)
                d_params["weight"] = np.ascontiguousarray(d_weight.swapaxes(1, 2))
            return (dx[0] if one and dx is not None else dx), d_params

        return y, backward

    # ---- shapes ------------------------------------------------------------------------------------------------------

    def _counts(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        reach = lengths + (self._left + self._right - self._span - 1)
        return np.where(lengths > 0, np.maximum(reach // self.stride + 1, 0), 0)

    def output_lengths(self, lengths: Any) -> Any:
        """The lengths of y, as the class says; None of None."""
        if lengths is None:
            return None
        array = np.asarray(lengths)
        return self._counts(array.astype(np.int64)) if array.dtype.kind in "iu" or not array.size else lengths

    def output_shape(self, shape: Shape) -> Shape:
        shape = sizes(shape)
        if len(shape) not in (2, 3) or shape[-1] not in (None, self.in_size):
            raise ValueError(f"{self!r} needs a sequence (N, T, {self.in_size}) before it, not {shape}")
        steps = shape[-2]
        if steps is not None:
            steps = window_count(steps, self.kernel_size, self.stride, self.dilation, self._left + self._right)
        return (*shape[:-2], steps, self.out_size)

    def input_shape(self) -> Shape:
        return (None, None, self.in_size)

    def _check_carry(self, option: str) -> None:
        if self._span or self.stride > 1 or self.padding:
            raise ValueError(f"{option} cannot carry a state through {self!r}: every piece would begin with zeros")

    def _runs_alike(self) -> bool:
        return True

    # ---- in a stream -------------------------------------------------------------------------------------------------

    def _steps(self, batch_size: int, num_threads: int | None) -> Steps:
        if not self._runs({"__call__": Conv1d.__call__}):
            return super()._steps(batch_size, num_threads)
        if self.stride > 1 or (self._span and not self.causal) or self.padding:
            raise ValueError(
                f"{self!r} cannot stream: a step in would not be a step out that depends on nothing later. One with "
                "causal=True and a stride of 1 can"
            )
        return ConvolutionSteps(self, batch_size, num_threads)


def _inside(lengths: NDArray[np.int64], steps: int) -> NDArray[np.bool_]:
    """(N, T, 1): which steps belong to a sequence."""
    return np.asarray(np.arange(steps) < lengths[:, None])[:, :, None]
