"""Linear: y = x weightᵀ + bias on the last axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import _checks, _core
from .._active import ACTIVE, refuse_in_training
from .._arrays import Array, real_array
from .layer import VJP, Backward, Layer, Outputs, Params, SeedLike, Shape, generator, gradient_like, sizes
from .registry import built_in


class LinearOutputs:
    """The outputs of a `Linear` that nobody has computed, by what they are made of: for a loss that computes them some
    rows at a time.

    Attributes:
        x: (.., in), of the layer's dtype.
        weight: (out, in).
        bias: (out,), or None.
    """

    __slots__ = ("bias", "weight", "x")

    def __init__(self, x: Array, weight: Array, bias: Array | None) -> None:
        self.x, self.weight, self.bias = x, weight, bias

    def __len__(self) -> int:
        return len(self.x)

    def compute(self) -> Array:
        """(.., out)."""
        y = _core.linear(self.x.reshape(-1, self.x.shape[-1]), self.weight, self.bias, None)
        return y.reshape(*self.x.shape[:-1], len(self.weight))


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

    _config_names = ("in_features", "out_features", "bias", "dtype")
    _asks = True
    _outputs_own = True
    in_features: int
    out_features: int
    bias: bool

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

    def _input(self, x: ArrayLike) -> Array:
        array = real_array("x", x, self.dtype)
        if array.ndim == 0 or array.shape[-1] != self.in_features:
            raise ValueError(f"x must have shape (..., {self.in_features}), got {array.shape}")
        return array

    def _apply(self, x: ArrayLike) -> tuple[Array, Array]:
        array, params = self._input(x), self._params._arrays
        return array, LinearOutputs(array, params["weight"], params.get("bias")).compute()

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        if (run := ACTIVE.get()) is not None:
            return run.call(self, (x,), {"lengths": lengths})  # type: ignore[no-any-return]
        return self._apply(x)[1]

    def forward(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,  # noqa: ARG002
        need_dx: bool = True,
    ) -> tuple[Array, Backward]:
        if ACTIVE.get() is not None:
            refuse_in_training(self, "forward")
        array, y = self._apply(x)
        weight, form = self._params._arrays["weight"], (y.shape, y.dtype)
        array = array.view()  # read again by backward, and users may set the shape of theirs

        def backward(dy: ArrayLike) -> tuple[Array | None, Params]:
            d = gradient_like(dy, form).reshape(-1, self.out_features)
            rows = array.reshape(-1, self.in_features)
            d_rows, d_weight, d_bias = _core.linear_backward(rows, weight, d, need_dx, self.bias, None)
            dparams: Params = {"weight": d_weight}
            if d_bias is not None:
                dparams["bias"] = d_bias
            return (None if d_rows is None else d_rows.reshape(array.shape)), dparams

        return y, backward

    def _can_defer(self) -> bool:
        own = type(self)  # that of a subclass may compute something else
        return own.__call__ is Linear.__call__ and own.forward is Linear.forward and own.vjp is Layer.vjp

    def _deferred(self, x: ArrayLike, lengths: Any) -> LinearOutputs:  # noqa: ARG002
        params = self._params._arrays
        return LinearOutputs(self._input(x).view(), params["weight"], params.get("bias"))

    def _deferred_vjp(
        self,
        x: ArrayLike,
        *,
        lengths: Any = None,
        need_dx: bool = True,  # noqa: ARG002
    ) -> tuple[Outputs, VJP]:
        def backward(found: tuple[Array, Params], into: Any = None) -> tuple[Outputs, Params]:  # noqa: ARG001
            return (found[0],), found[1]

        return (self._deferred(x, lengths),), backward

    def output_shape(self, shape: Shape) -> Shape:
        shape = sizes(shape)
        if shape and shape[-1] not in (None, self.in_features):
            raise ValueError(f"{self!r} cannot follow an output of {shape[-1]} features")
        return (*shape[:-1], self.out_features)

    def input_shape(self) -> Shape:
        return (None, self.in_features)
