"""Linear: y = x weightᵀ + bias on the last axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _checks, _core
from .._active import ACTIVE, refuse_in_training
from .._arrays import Array, real_array
from .layer import VJP, Backward, Layer, Outputs, Params, SeedLike, Shape, generator, gradient_like, sizes
from .registry import built_in
from .steps import Apart, Steps


class LinearOutputs:
    """The outputs of a `Linear` that nobody has computed, by what they are made of: for a loss that computes them some
    rows at a time.

    Attributes:
        x: (.., in), of the layer's dtype.
        weight: (out, in).
        bias: (out,), or None.
        need_dx: whether anybody wants the gradient to x.
    """

    __slots__ = ("bias", "need_dx", "weight", "x")

    def __init__(self, x: Array, weight: Array, bias: Array | None, need_dx: bool = True) -> None:
        self.x, self.weight, self.bias, self.need_dx = x, weight, bias, need_dx

    def __len__(self) -> int:
        return len(self.x)

    @property
    def ndim(self) -> int:
        """Axes of the outputs."""
        return self.x.ndim

    def compute(self) -> Array:
        """(.., out)."""
        return _product(self.x, self.weight, self.bias)

    def of_steps(self, lengths: NDArray[np.int64]) -> Array:
        """(sum of lengths, out): of x (N, T, in), sequence by sequence, the outputs of the steps that count."""
        counts = np.arange(self.x.shape[1]) < lengths[:, None]
        return _product(self.x[counts], self.weight, self.bias)

    def backward(self, d: Array) -> tuple[Array | None, Params]:
        """From the gradient to the outputs those to x and to the parameters."""
        return _gradients(self.x, self.weight, d, self.need_dx, self.bias is not None)


def _product(x: Array, weight: Array, bias: Array | None) -> Array:
    size, width = weight.shape
    y = _core.linear(x.reshape(-1, width), weight, bias, None)
    return y.reshape(*x.shape[:-1], size)


def _gradients(x: Array, weight: Array, d: Array, need_dx: bool, need_bias: bool) -> tuple[Array | None, Params]:
    size, width = weight.shape
    rows = x.reshape(-1, width)
    d_rows, d_weight, d_bias = _core.linear_backward(rows, weight, d.reshape(-1, size), need_dx, need_bias, None)
    dparams: Params = {"weight": d_weight}
    if d_bias is not None:
        dparams["bias"] = d_bias
    return (None if d_rows is None else d_rows.reshape(x.shape)), dparams


def _gradient_to_x(weight: Array, d: Array) -> Array:
    size, width = weight.shape
    return _core.matmul(d.reshape(-1, size), weight, False, None).reshape(*d.shape[:-1], width)


class LinearSteps(Apart):
    """Of a `Linear`, with its packed weights."""

    def __init__(self, layer: Linear, num_threads: int | None) -> None:
        self._layer, self._num_threads = layer, num_threads

    def step(self, x: Any) -> Any:
        layer = self._layer
        pack = layer._pack
        if pack is None or pack[0] is not layer._params:
            pack = layer._packed()
        y = pack[1].step(x, self._num_threads)
        return layer(x) if y is None else y

    def __call__(self, x: Any) -> Any:
        return self._layer(x)


@built_in
class Linear(Layer):
    """y = x weightᵀ + bias on the last axis, as torch.nn.Linear: per sequence or per step, as x has it.

    x: (..., in_features), y: (..., out_features), of the layer's dtype. weight (out_features, in_features) and bias
    (out_features,) start uniform within ±1/sqrt(in_features).

    Args:
        in_features: numbers in.
        out_features: numbers out.
        bias: whether there is one.
        dtype: float32 or float64.
        seed: the initial values follow from it.

    Raises TypeError or ValueError for a wrong argument, naming it.
    """

    _config_names = _fixed = ("in_features", "out_features", "bias", "dtype")
    steps_apart = True
    _asks = True
    _outputs_own = True
    in_features: int
    out_features: int
    bias: bool
    _pack: tuple[object, _core.PackedLinear] | None = None  # the parameters and what was packed from them

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        seed: SeedLike = None,
    ) -> None:
        self._configure(in_features=in_features, out_features=out_features, bias=bias, dtype=dtype)
        _checks.parameter_bytes(self, self._param_shapes, self.dtype)
        self._reseed_from(generator(seed))

    def _configure(self, *, in_features: int, out_features: int, bias: bool, dtype: DTypeLike) -> None:
        self.in_features = _checks.size("in_features", in_features)
        self.out_features = _checks.size("out_features", out_features)
        self.bias = _checks.flag("bias", bias)
        self.dtype = _checks.real_dtype("dtype", dtype)
        self._param_shapes = {"weight": (self.out_features, self.in_features)}
        if self.bias:
            self._param_shapes["bias"] = (self.out_features,)

    def _reseed_from(self, rng: np.random.Generator) -> None:
        bound = 1.0 / math.sqrt(self.in_features)
        self._set_params({
            name: rng.uniform(-bound, bound, shape).astype(self.dtype) for name, shape in self._param_shapes.items()
        })  # fmt: skip

    def _reseed(self, seed: np.random.SeedSequence) -> None:
        self._reseed_from(generator(seed))

    def _checked(self, x: ArrayLike) -> Array:
        array = real_array("x", x, self.dtype)
        if array.ndim == 0 or array.shape[-1] != self.in_features:
            raise ValueError(f"x must have shape (..., {self.in_features}), got {array.shape}")
        return array

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        if (run := ACTIVE.get()) is not None:
            return run.call(self, (x,), {"lengths": lengths})  # type: ignore[no-any-return]
        params = self._params._arrays
        return _product(self._checked(x), params["weight"], params.get("bias"))

    def forward(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,  # noqa: ARG002
        need_dx: bool = True,
    ) -> tuple[Array, Backward]:
        if ACTIVE.get() is not None:
            refuse_in_training(self, "forward")
        array, params = self._checked(x), self._params._arrays
        weight, bias = params["weight"], params.get("bias")
        y = _product(array, weight, bias)
        if not self._trainable:
            form = y.shape, y.dtype
            return y, lambda dy: (_gradient_to_x(weight, gradient_like(dy, form)) if need_dx else None, {})
        array, form = array.view(), (y.shape, y.dtype)  # read again by backward, and users may set the shape of theirs
        return y, lambda dy: _gradients(array, weight, gradient_like(dy, form), need_dx, bias is not None)

    # ---- in a stream ---------------------------------------------------------------------------------------------

    def _parameters_changed(self) -> None:
        self._pack = None

    def _packed(self) -> tuple[object, _core.PackedLinear]:
        params = self._params  # two threads may both pack: the same result
        self._pack = pack = params, _core.PackedLinear(params._arrays["weight"], params._arrays.get("bias"))
        return pack

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state["attributes"].pop("_pack", None)
        return state

    def _steps(self, batch_size: int, num_threads: int | None) -> Steps:
        if self._runs({"__call__": Linear.__call__}):
            return LinearSteps(self, num_threads)
        return super()._steps(batch_size, num_threads)

    # ---- outputs that nobody has computed ----------------------------------------------------------------------------

    def _can_defer(self) -> bool:
        return self._runs(_WRITTEN)

    def _deferred(
        self,
        x: ArrayLike,
        lengths: Any = None,  # noqa: ARG002
        need_dx: bool = True,
    ) -> LinearOutputs:
        params = self._params._arrays
        return LinearOutputs(self._checked(x).view(), params["weight"], params.get("bias"), need_dx)

    def _deferred_vjp(
        self,
        x: ArrayLike,
        *,
        lengths: Any = None,
        need_dx: bool = True,
    ) -> tuple[Outputs, VJP]:
        def backward(found: tuple[Array, Params], into: Any = None) -> tuple[Outputs, Params]:  # noqa: ARG001
            return (found[0],), found[1]

        return (self._deferred(x, lengths, need_dx),), backward

    def output_shape(self, shape: Shape) -> Shape:
        shape = sizes(shape)
        if shape and shape[-1] not in (None, self.in_features):
            raise ValueError(f"{self!r} cannot follow an output of {shape[-1]} features")
        return (*shape[:-1], self.out_features)

    def input_shape(self) -> Shape:
        return (None, self.in_features)


_WRITTEN: dict[str, Any] = {"__call__": Linear.__call__, "forward": Linear.forward, "vjp": Linear.vjp}
