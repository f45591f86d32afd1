"""Layers that look at the last axis only, and so work per sequence and per step alike: by the shape of x."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _arrays, _checks, _core
from .._arrays import Array, real_array
from .._calls import Calls
from .._parameters import Params as ParamsView
from ..reference.cells import d_sigmoid, d_tanh, sigmoid
from .layer import Backward, Layer, Params, Shape, float_array, gradient_like, seed_number, sizes
from .rows import sum_rows

SeedLike = int | np.random.SeedSequence | None


def _generator(seed: SeedLike) -> np.random.Generator:
    if isinstance(seed, np.random.SeedSequence):
        return np.random.default_rng(seed)
    return np.random.default_rng(_checks.seed_value("seed", seed))


class Embedding(Layer):
    """A vector for every symbol: y[...] = weight[x[...]], as torch.nn.Embedding.

    weight (num, dim) starts as normal numbers with standard deviation `std`; the row `padding_idx`, which stands for
    "nothing here", is zero and gets no gradient. x: integers in 0..num-1 of any shape; y: (*x.shape, dim).

    The gradient is a `RowGradient`: the rows that x names. `params["weight"]` is a read-only view of the table, which
    training writes to in place: take `state_dict()` for a copy.

    Raises TypeError for x that is not of integers, IndexError for numbers out of range.
    """

    _config_names = ("num", "dim", "padding_idx", "dtype")
    num: int
    dim: int
    padding_idx: int | None

    def __init__(
        self,
        num: int,
        dim: int,
        padding_idx: int | None = None,
        *,
        std: float = 1.0,
        dtype: DTypeLike = np.float32,
        seed: SeedLike = None,
    ) -> None:
        self._configure(num=num, dim=dim, padding_idx=padding_idx, dtype=dtype)
        _checks.parameter_bytes(self, self._param_shapes, self.dtype)
        self._std = _checks.non_negative("std", std)
        self._draw(_generator(seed))

    def _configure(self, *, num: int, dim: int, padding_idx: int | None, dtype: DTypeLike) -> None:
        self.num, self.dim = _checks.size("num", num), _checks.size("dim", dim)
        if padding_idx is not None:
            padding_idx = _checks.integer("padding_idx", padding_idx, -self.num, self.num - 1) % self.num
        self.padding_idx = padding_idx
        self.dtype = _checks.real_dtype("dtype", dtype)
        self._param_shapes = {"weight": (self.num, self.dim)}
        self._std = 1.0

    def _draw(self, rng: np.random.Generator) -> None:
        # drawn in float32 for both dtypes: layers that differ in dtype only start from the same values
        weight = rng.standard_normal((self.num, self.dim), dtype=np.float32) * np.float32(self._std)
        if self.padding_idx is not None:
            weight[self.padding_idx] = 0
        self._set_params({"weight": weight.astype(self.dtype, copy=False)})

    def _reseed(self, seed: np.random.SeedSequence) -> None:
        self._draw(_generator(seed))

    def _prepared(self, arrays: Mapping[str, Array]) -> Callable[[], None]:
        room = _arrays.room(self._param_shapes["weight"], self.dtype)
        room[...] = arrays["weight"]
        table = room.view()  # stays writeable; nobody else gets at a view that is
        params = ParamsView({"weight": _arrays.sealed(room)})

        def put() -> None:
            self._table, self._params = table, params

        return put

    def _begin_update(self, names: list[str]) -> dict[str, Array]:
        return dict.fromkeys(names, self._table)  # in place: nothing is derived from the table, backward needs none

    def _end_update(self, arrays: dict[str, Array]) -> None:
        pass

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:  # noqa: ARG002
        return self._table.take(self._take_ids(x), axis=0, mode="clip")  # checked already: "clip" skips a second check

    def forward(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,  # noqa: ARG002
        need_dx: bool = True,  # noqa: ARG002
    ) -> tuple[Array, Backward]:
        ids = self._take_ids(x).copy()  # callers refill their buffers
        y = self._table.take(ids, axis=0, mode="clip")
        form = y.shape, y.dtype

        def backward(dy: ArrayLike) -> tuple[Array | None, Params]:
            d, own = gradient_like(dy, form), ids
            if d.ndim == 3 and not d.flags.c_contiguous:  # of a recurrent layer, which runs time-major: spare a copy
                d, own = d.swapaxes(0, 1), ids.swapaxes(0, 1)
            rows = d.reshape(-1, self.dim)
            return None, {"weight": sum_rows(own, rows, (self.num, self.dim), skip=self.padding_idx)}

        return y, backward

    def _take_ids(self, x: ArrayLike) -> NDArray[Any]:
        ids = _arrays.array_of("x", x, "a plain array of integers")
        if ids.size == 0 and not isinstance(x, np.ndarray):
            ids = ids.astype(np.int64)  # the list [] has no dtype of its own
        if ids.dtype.kind not in "iu":
            raise TypeError(f"x must hold integers, the rows of the embedding, got dtype {ids.dtype}")
        if ids.size:
            low, high = int(ids.min()), int(ids.max())
            if low < 0 or high >= self.num:
                wrong = low if low < 0 else high
                raise IndexError(f"x holds {wrong}, but the rows of {self!r} are 0..{self.num - 1}")
        return ids if ids.dtype.isnative else ids.astype(ids.dtype.newbyteorder("="))

    def output_shape(self, shape: Shape) -> Shape:
        return (*sizes(shape), self.dim)

    def input_shape(self) -> Shape:
        return (None, None)


class Linear(Layer):
    """y = x weightᵀ + bias on the last axis, as torch.nn.Linear: per sequence or per step, as x has it.

    weight (out_features, in_features) and bias (out_features,) start uniform within ±1/sqrt(in_features).
    x: (..., in_features), y: (..., out_features).
    """

    _config_names = ("in_features", "out_features", "bias", "dtype")
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
        self._reseed_from(_generator(seed))

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
        self._reseed_from(_generator(seed))

    def _apply(self, x: ArrayLike) -> tuple[Array, Array]:
        array = real_array("x", x, self.dtype)
        if array.ndim == 0 or array.shape[-1] != self.in_features:
            raise ValueError(f"x must have shape (..., {self.in_features}), got {array.shape}")
        params = self._params._arrays
        y = _core.linear(array.reshape(-1, self.in_features), params["weight"], params.get("bias"), None)
        return array, y.reshape(*array.shape[:-1], self.out_features)

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:  # noqa: ARG002
        return self._apply(x)[1]

    def forward(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,  # noqa: ARG002
        need_dx: bool = True,
    ) -> tuple[Array, Backward]:
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

    def output_shape(self, shape: Shape) -> Shape:
        shape = sizes(shape)
        if shape and shape[-1] not in (None, self.in_features):
            raise ValueError(f"{self!r} cannot follow an output of {shape[-1]} features")
        return (*shape[:-1], self.out_features)

    def input_shape(self) -> Shape:
        return (None, self.in_features)


class Dropout(Layer):
    """In training, zeroes each element with probability p and grows the rest by 1/(1-p) (Srivastava et al. 2014).

    Active in `forward` only. `same_for_all_steps=True` drops a feature of a sequence in all its steps (Gal & Ghahramani
    2016). Masks follow from `seed`, the number of calls so far and an element's place: no hidden order of drawing.
    """

    _config_names = ("p", "same_for_all_steps")
    p: float
    same_for_all_steps: bool

    def __init__(self, p: float = 0.5, *, same_for_all_steps: bool = False, seed: SeedLike = None) -> None:
        self._configure(p=p, same_for_all_steps=same_for_all_steps)
        self._seed, self._calls = int(_generator(seed).integers(0, 2**64, dtype=np.uint64)), 0

    def _configure(self, *, p: float, same_for_all_steps: bool) -> None:
        super().__init__()
        self.p = _checks.probability("p", p)
        self.same_for_all_steps = _checks.flag("same_for_all_steps", same_for_all_steps)
        self._seed, self._calls = 0, 0

    @property
    def _calls(self) -> int:
        """How many masks were drawn from the seed."""
        return self._counter.present

    @_calls.setter
    def _calls(self, number: int) -> None:
        self._counter = Calls(number, bits=64)

    def _reseed(self, seed: np.random.SeedSequence) -> None:
        self._seed, self._calls = seed_number(seed), 0

    _seed_dropout = _reseed

    def _dropout_state(self) -> list[int]:
        return [self._seed, self._calls]

    def _set_dropout_state(self, state: list[int]) -> None:
        self._seed, self._calls = state

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:  # noqa: ARG002
        return float_array("x", x).view()

    def _factors(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """0 or 1/(1-p) for each element."""
        if self.same_for_all_steps and len(shape) >= 2:
            shape = (*shape[:-2], 1, shape[-1])
        call = self._counter.next()  # threads that share a layer must not share a mask
        if self.p >= 1.0:
            return np.zeros(shape, dtype)
        # Philox4x64 (Salmon et al. 2011) is counter-based: the key is the seed, the call number the counter's top word.
        # Raw words, since only those are the same in every version of NumPy.
        bits = np.random.Philox(key=self._seed, counter=np.array([0, 0, 0, call], np.uint64))
        count = math.prod(shape)
        words = np.asarray(bits.random_raw((count + 3) // 4), dtype="<u8").view("<u2")[:count]
        keep = words >= np.uint16(min(round(self.p * 2**16), 2**16 - 1))
        return np.asarray(keep.reshape(shape) * dtype.type(1.0 / (1.0 - self.p)), dtype)

    def forward(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,  # noqa: ARG002
        need_dx: bool = True,
    ) -> tuple[Array, Backward]:
        array = float_array("x", x)
        factors = None if self.p == 0.0 else self._factors(array.shape, array.dtype)
        y = array.view() if factors is None else array * factors
        form = y.shape, y.dtype

        def backward(dy: ArrayLike) -> tuple[Array | None, Params]:
            d = gradient_like(dy, form)
            return (None if not need_dx else d if factors is None else d * factors), {}

        return y, backward

    def _without_dropout(self) -> Layer:
        return Dropout(0.0, seed=0)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state["attributes"]["_calls"] = state["attributes"].pop("_counter").present
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        attributes = dict(state["attributes"])
        self._calls = attributes.pop("_calls")
        super().__setstate__({**state, "attributes": attributes})


class Activation(Layer):
    """relu, tanh, sigmoid, or softmax over the last axis. x and y: any shape; y of `forward` is read-only.

    The losses take logits: a model trained with `fit` ends before its sigmoid or softmax.
    """

    _config_names = ("function",)
    function: str

    def __init__(self, function: str) -> None:
        self._configure(function=function)

    def _configure(self, *, function: str) -> None:
        super().__init__()
        self.function = _checks.choice("function", function, ("relu", "tanh", "sigmoid", "softmax"))

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:  # noqa: ARG002
        return activate(self.function, float_array("x", x))

    def forward(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,  # noqa: ARG002
        need_dx: bool = True,
    ) -> tuple[Array, Backward]:
        array = float_array("x", x)
        # read again by backward: in a view of its own, of memory that nobody can write to
        y = activate(self.function, array, _arrays.room_like(array))
        output, form = _arrays.sealed(y), (y.shape, y.dtype)

        def backward(dy: ArrayLike) -> tuple[Array | None, Params]:
            if not need_dx:
                return None, {}
            d = gradient_like(dy, form)
            if self.function == "softmax":
                return y * (d - (d * y).sum(axis=-1, keepdims=True)), {}
            if self.function == "relu":
                return np.where(y > 0, d, d.dtype.type(0)), {}
            return d * (d_tanh(y) if self.function == "tanh" else d_sigmoid(y)), {}

        return output, backward


def activate(function: str, x: Array, out: Array | None = None) -> Array:
    """The activations by name; into `out`, if that is given."""
    if function == "relu":
        return np.asarray(np.maximum(x, x.dtype.type(0), out=out))
    if function == "tanh":
        return np.asarray(np.tanh(x, out=out))
    if function == "sigmoid":
        if out is None:
            return sigmoid(x)
        e = np.exp(-np.abs(x))  # the same arithmetic
        np.divide(1, 1 + e, out=out)
        np.divide(e, 1 + e, out=out, where=~(x >= 0))
        return out
    if x.ndim == 0:
        raise ValueError("x must have a last axis for softmax, got a single number")
    e = np.exp(x - x.max(axis=-1, keepdims=True)) if x.size else x
    return np.asarray(np.divide(e, e.sum(axis=-1, keepdims=True), out=out))
