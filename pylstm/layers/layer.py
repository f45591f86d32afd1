"""What every layer of a model obeys.

    y = layer(x, lengths=lengths)                       inference: dropout does nothing, nothing is kept
    y, backward = layer.forward(x, lengths=lengths)     training
    dx, dparams = backward(dy)                          as often as wanted; gradients are returned, never accumulated

x and y have the batch first: (N, T, F) for sequences, (N, F) for one vector each; a layer that looks at the last axis
only takes any shape. `lengths` (N,) says how many of the T steps belong to a sequence; layers to which that does not
matter ignore it, and layers with `keeps_time = False` give one vector per sequence, after which there are no lengths.
`dx` is None where there is none (integer input, or `need_dx=False`). `dparams` has the keys of `layer.params`; its
values are arrays, or a `RowGradient` for an embedding.
"""

from __future__ import annotations

import abc
import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._active import ACTIVE
from .._arrays import Array, real_array
from .parameters import ParameterSet
from .parameters import Params as ParamsView
from .row_gradient import RowGradient

Gradient = Array | RowGradient
Params = dict[str, Gradient]
Backward = Callable[[ArrayLike], tuple[Array | None, Params]]
Shape = tuple[int | None, ...]  # None: any size (batch, time)
Form = tuple[tuple[int, ...], np.dtype[Any]]  # of an output, noted at once: users may set its shape in place


def _asking(inner: Callable[..., Any]) -> Callable[..., Any]:
    """`__call__` that asks first whether a model's run is under way, of which the call is a part then."""

    @functools.wraps(inner)
    def __call__(self: Layer, *args: Any, **kwargs: Any) -> Any:
        run = ACTIVE.get()
        if run is None or self._inline:
            return inner(self, *args, **kwargs)
        return run.call(self, args, kwargs)

    return __call__


class Layer(ParameterSet, abc.ABC):
    """Base of the layers of a model; see the module's text for what they promise.

    A layer of your own derives from it, sets `_param_shapes`, `dtype` and `_params` (through `_set_params`) and writes
    `__call__` and `forward`. Such a model trains, pickles and copies; saving takes the library's own layers only.
    """

    keeps_time: bool = True
    _config_names: ClassVar[tuple[str, ...]] = ()  # the constructor's arguments but for the seed; saved with a model
    _params: ParamsView = ParamsView({})
    _inline: ClassVar[bool] = False  # whether `__call__` is made of calls of layers, which a run sees one by one
    _holds_layers: ClassVar[bool] = False  # in its attributes

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__call__" in vars(cls):
            cls.__call__ = _asking(cls.__call__)  # type: ignore[method-assign]

    def __init__(self) -> None:
        self.dtype = np.dtype(np.float32)
        self._param_shapes = {}

    @abc.abstractmethod
    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """Inference."""

    @abc.abstractmethod
    def forward(
        self, x: ArrayLike, *, lengths: ArrayLike | None = None, need_dx: bool = True
    ) -> tuple[Array, Backward]:
        """Training: the output, and `backward(dy) -> (dx, dparams)`."""

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of y for x of `shape`, in which None stands for any size. Raises ValueError if x does not fit."""
        return sizes(shape)

    def input_shape(self) -> Shape | None:
        """The shape of x as far as the layer itself knows it, None if it does not."""
        return None

    def _forward_from(
        self,
        x: ArrayLike,
        lengths: ArrayLike | None,
        need_dx: bool,
        state: Any,  # noqa: ARG002
    ) -> tuple[Array, Backward, Any]:
        """`forward` that goes on from `state` (None: from the start) and returns the state after x, too."""
        return *self.forward(x, lengths=lengths, need_dx=need_dx), None

    def _without_dropout(self) -> Layer:
        """The same layer, sharing its parameters, whose `forward` drops nothing."""
        return self

    # ---- randomness ----------------------------------------------------------------------------------------------

    def _reseed(self, seed: np.random.SeedSequence) -> None:
        """Draw the parameters and the dropout seed anew."""

    def _seed_dropout(self, seed: np.random.SeedSequence) -> None:
        """Start the masks of dropout from this seed."""

    def _dropout_state(self) -> list[int]:
        """What decides the next masks: numbers that `_set_dropout_state` takes."""
        return []

    def _set_dropout_state(self, state: list[int]) -> None:
        """Go on from `_dropout_state`."""

    # ---- the object ----------------------------------------------------------------------------------------------

    def _config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._config_names}

    def __repr__(self) -> str:
        parts: list[str] = []
        arguments = inspect.signature(type(self).__init__).parameters
        for name, value in self._config().items():
            default = arguments[name].default
            if default is inspect.Parameter.empty or not parts:
                parts.append(repr(value))
            elif value != default:
                parts.append(f"{name}={value if name == 'dtype' else repr(value)}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __getstate__(self) -> dict[str, Any]:
        # the parameters' memory does not pickle: it is made anew
        state = {name: value for name, value in self.__dict__.items() if name not in ("_params", "_table")}
        return {"attributes": state, "params": dict(self._params)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["attributes"])
        if state["params"]:
            self._set_params(state["params"])


def sizes(shape: object) -> Shape:
    """`shape` as a tuple of sizes, in which None stands for any."""
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"shape must be a tuple of sizes, got {_checks.kind(shape)}")
    return tuple(None if n is None else _checks.integer("every size in shape", n, minimum=0) for n in shape)


def gradient_like(dy: ArrayLike, form: Form) -> Array:
    """`dy` as an array of the shape and dtype of the output."""
    shape, dtype = form
    array = real_array("dy", dy, dtype)
    if array.shape != shape:
        raise ValueError(f"dy must have the shape of the output, {shape}, got {array.shape}")
    return array


def seed_number(seed: np.random.SeedSequence) -> int:
    """A 64-bit seed for generators that want one number."""
    return int(seed.generate_state(1, np.uint64)[0])


SeedLike = int | np.random.SeedSequence | None


def generator(seed: SeedLike) -> np.random.Generator:
    """Of the random numbers that a layer starts from."""
    if isinstance(seed, np.random.SeedSequence):
        return np.random.default_rng(seed)
    return np.random.default_rng(_checks.seed_value("seed", seed))
