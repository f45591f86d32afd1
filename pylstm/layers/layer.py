"""What every layer of a model obeys, the recurrent ones included.

    outputs = layer(*inputs, lengths=lengths)                       inference: dropout does nothing, nothing is kept
    outputs, backward = layer.vjp(*inputs, lengths=lengths)         training; vjp: vector-Jacobian product
    d_inputs, d_params = backward(*d_outputs)                       as often as wanted; nothing is accumulated anywhere

`outputs` of `vjp` is a tuple, of one array as a rule; `d_outputs` are the gradients to them, and `d_inputs` is a tuple
of those to the inputs, None where there is none (integer input; the first input after `need_dx=False`). `d_params` has
the keys of `layer.params`; its values are arrays, or a `RowGradient` for an embedding.

`backward(*d_outputs, into=sums)`: `sums` holds what an earlier `backward` of the layer gave. A layer that can adds to
its arrays in place, and leaves what it added out of `d_params`: so gradients of many calls take the memory of one.

What has a state takes it as the second input and gives it as the second output (None: zero, or not wanted): a recurrent
layer (`returns_state`: its call does so, too), and a container for all of its layers together.

Users mostly call `forward`, in which a layer of one input and one output has no tuples around them:

    y, backward = layer.forward(x, lengths=lengths)
    dx, dparams = backward(dy)

and a recurrent layer three results and gradients by name (`output, state, backward`; `Gradients`).

x and y have the batch first: (N, T, F) for sequences, (N, F) for one vector each; a layer that looks at the last axis
only takes any shape. `lengths` (N,) says how many of the T steps belong to a sequence; layers to which that does not
matter ignore it, and layers with `keeps_time = False` give one vector per sequence, after which there are no lengths
(`output_lengths`).
"""

from __future__ import annotations

import abc
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._active import ACTIVE, refuse_in_training
from .._arrays import Array, real_array
from .._names import of_library
from .described import Described
from .parameters import Params as ParamsView
from .row_gradient import RowGradient
from .steps import Apart, Steps

Gradient = Array | RowGradient
Params = dict[str, Gradient]
Backward = Callable[[ArrayLike], tuple[Array | None, Params]]  # of `forward`, one input and one output
Outputs = tuple[Any, ...]
VJP = Callable[..., tuple[Outputs, Params]]
Shape = tuple[int | None, ...]  # None: any size (batch, time)
Form = tuple[tuple[int, ...], np.dtype[Any]]  # of an output, noted at once: users may set its shape in place


def _asking(inner: Callable[..., Any]) -> Callable[..., Any]:
    """`__call__` that asks first whether a model's run is under way, of which the call is a part then."""

    @functools.wraps(inner)
    def __call__(self: Layer, *args: Any, **kwargs: Any) -> Any:
        run = ACTIVE.get()
        if run is None:
            return inner(self, *args, **kwargs)
        return run.call_by_name(self, args, kwargs) if kwargs else run.call(self, args, kwargs)

    return __call__


def _refusing(inner: Callable[..., Any], name: str) -> Callable[..., Any]:
    """`forward` or `vjp` that is refused where its gradients would be lost."""

    @functools.wraps(inner)
    def method(self: Layer, *args: Any, **kwargs: Any) -> Any:
        if ACTIVE.get() is not None:
            refuse_in_training(self, name)
        return inner(self, *args, **kwargs)

    return method


class Layer(Described, abc.ABC):
    """Base of all layers::

        y = layer(x, lengths=lengths)                     inference: dropout does nothing, nothing is kept
        y, backward = layer.forward(x, lengths=lengths)   training
        dx, dparams = backward(dy)                        as often as wanted; gradients are returned, never accumulated

    x and y have the batch first: (N, T, F) for sequences, (N, F) for one vector each; a layer that looks at the last
    axis only takes any shape. `lengths` (N,) says how many of the T steps belong to a sequence; layers to which that
    does not matter ignore it. `dx` is None where there is none (integer input, or `need_dx=False`). `dparams` has the
    keys of `layer.params`; its values are arrays, or a `RowGradient` for an embedding.

    A layer of your own derives from it, sets `_param_shapes`, `dtype` and `_params` (through `_set_params`) and writes
    `__call__` and `forward`, for several inputs and outputs with tuples in place of x, y and their gradients. Such a
    model trains, pickles and copies; files take it if its class is registered (`pylstm.register`).

    Attributes:
        dtype: of the parameters, float32 or float64.
        keeps_time: False for layers that give one vector per sequence, after which there are no lengths; None for a
            model of somebody's that does not say.
        batch_first: False for recurrent layers whose x and y are (T, N, F); a chain takes no such layer.
        returns_state: whether a call gives (output, state), of which a chain takes the output.
        steps_apart: whether the output at a step depends on x at this step alone, so that a stream may call the layer
            with one step, (N, F) or (F,).
    """

    keeps_time: bool | None = True
    batch_first: bool = True
    returns_state: ClassVar[bool] = False
    steps_apart: ClassVar[bool] = False
    _params: ParamsView = ParamsView({})
    _asks: ClassVar[bool] = False  # whether the class' own methods ask for a model's run themselves
    _inline: ClassVar[bool] = False  # whether calls are made of calls of other layers, which a run sees one by one
    _holds_layers: ClassVar[bool] = False  # in its attributes
    # Whether what the class' own `forward` gives is read-only, or read by nobody else: a model's run hands it out as it
    # is. Asked of the very class: a subclass may have another forward.
    _outputs_own: ClassVar[bool] = False
    # Whether inference hands on x itself: a stream leaves such a layer out. Asked of the very class.
    _hands_on_x: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls._inline or vars(cls).get("_asks", False):
            return
        if "__call__" in vars(cls):
            cls.__call__ = _asking(cls.__call__)  # type: ignore[method-assign]
        for name in ("forward", "vjp"):
            if inspect.isfunction(own := vars(cls).get(name)):
                setattr(cls, name, _refusing(own, name))

    def __init__(self) -> None:
        self.dtype = np.dtype(np.float32)
        self._param_shapes = {}

    @abc.abstractmethod
    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Inference.

        Args:
            inputs: as the layer says: x, (N, T, F) or (N, F).
            options: lengths, (N,) integers in 0..T, or None: all T steps of all sequences.

        Returns:
            The output, of the layer's dtype, or a tuple of several.

        Raises TypeError or ValueError, naming the argument.
        """

    @abc.abstractmethod
    def forward(self, *inputs: Any, **options: Any) -> tuple[Any, ...]:
        """Training.

        Args:
            inputs: as in a call.
            options: as in a call; need_dx=False leaves out the gradient to x.

        Returns:
            The tuple (y, backward). `backward(dy)` takes the gradient of the loss to y, shaped like it, which it
            must not write to (it may be somebody else's, too), and returns (dx, dparams): the gradient to x or None,
            and name -> gradient of every parameter; none of them where the layer is frozen (`trainable`).

        Raises TypeError or ValueError, naming the argument.
        """

    def vjp(self, *inputs: Any, **options: Any) -> tuple[Outputs, VJP]:
        """Training in the form that is the same for all layers, recurrent ones included: a vector-Jacobian product.

        Args:
            inputs: as in a call. What has a state takes it as the second input; None is zero.
            options: lengths; need_dx=False leaves out the gradient to the first input.

        Returns:
            The tuple (outputs, backward). The outputs are a tuple, of one array as a rule; what has a state gives it as
            the second. `backward(*d_outputs)` takes the gradients to them and returns (d_inputs, d_params): a tuple of
            the gradients to the inputs, None where there is none, and name -> gradient of every parameter.
            `backward(*d_outputs, into=sums)` may add to the arrays in `sums`, what an earlier `backward` of the layer
            gave, and leaves out of d_params what it has added.

        Raises TypeError or ValueError, naming the argument.
        """
        return with_tuples(*self.forward(*inputs, **options))

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of y for x of `shape`, in which None stands for any size. Raises ValueError if x does not fit."""
        return sizes(shape)

    def output_lengths(self, lengths: Any) -> Any:
        """The lengths of y, from those of x; None: y has no steps, or all of them count."""
        return lengths if self.keeps_time else None

    def _says_time(self) -> bool:
        """Whether the lengths of outputs are known."""
        return self.keeps_time is not None or type(self).output_lengths is not Layer.output_lengths

    def _says_shape(self) -> bool:
        """Whether `output_shape` is known to be that of what a call gives: the last class that has a call of its own
        says so, too, or is the library's."""
        own = next(one for one in type(self).__mro__ if "output_shape" in vars(one) or "__call__" in vars(one))
        return "output_shape" in vars(own) or of_library(own)

    def _check_values(self, name: str, x: Array) -> None:
        """Raises TypeError, ValueError or IndexError for values that a call would refuse, x being what counts of some
        inputs, steps of several one after another maybe."""

    def _steps(self, batch_size: int, num_threads: int | None) -> Steps:  # noqa: ARG002
        """For a stream of a chain. Raises ValueError for a layer that cannot go step by step."""
        classes = type(self).__mro__
        says, calls = (
            next(i for i, one in enumerate(classes) if what in vars(one)) for what in ("steps_apart", "__call__")
        )
        if self.returns_state or not (self.steps_apart and says <= calls):  # what a subclass calls may need more steps
            raise ValueError(
                f"{self!r} cannot stream: it needs other steps than the one that arrives. (A layer of your own that "
                "does not: set steps_apart = True in its class.)"
            )
        return Apart(self)

    def input_shape(self) -> Shape | None:
        """The shape of x as far as the layer itself knows it, None if it does not."""
        return None

    def _check_carry(self, option: str) -> None:
        """Raises ValueError, naming the option, if a state cannot be carried through from piece to piece of x."""

    def _carried(self, x: Any, state: Any, lengths: Any) -> tuple[Any, Any]:
        """Inference in which states go on: the output, and the state after it, None of a layer that has none."""
        if self.returns_state:
            return self(x, state, lengths=lengths)  # type: ignore[no-any-return]
        return self(x, lengths=lengths), None

    def _gives_probabilities(self) -> bool:
        """Whether the outputs have been through a sigmoid or a softmax last."""
        return False

    def _in_line(self) -> list[Layer]:
        """The layer, or of a chain those that x goes through one after the other."""
        return [self]

    def _without_dropout(self) -> Layer:
        """The same layer, sharing its parameters, whose `forward` drops nothing."""
        return self

    # ---- rows of a table that nobody has looked up -------------------------------------------------------------------

    def _gives_table_rows(self) -> bool:
        """Whether the output can be had as a `TableRows`, from `_as_table_rows`."""
        return False

    def _as_table_rows(self, x: Any) -> Any:
        """The output, in inference and in training, as a `TableRows`, and its backward, which takes the gradient to the
        table, a `RowGradient`. Where too little of it repeats it may be an array, and so is the gradient."""
        raise NotImplementedError

    def _one_table(self) -> tuple[object, Array] | None:
        """The table whose rows these are, if it is one for all calls, and its edition, which is another object whenever
        the table has changed. None while it changes."""
        return None

    def _takes_table_rows(self) -> bool:
        """Whether x may be a `TableRows`, to which the gradient is a `RowGradient` then."""
        return False

    # ---- outputs that nobody has computed ----------------------------------------------------------------------------

    def _can_defer(self) -> bool:
        """Whether the layer can hand out what its outputs are made of in place of them, for a loss that computes them
        itself."""
        return False

    def _runs(self, written: Mapping[str, Any]) -> bool:
        """Whether calls of these methods, name -> function, end up in what the library wrote: neither in a subclass's
        own nor in what somebody put in their place, in the class or in this one object."""
        own, here = type(self), vars(self)
        for name, method in written.items():  # noqa: SIM110 - in half the time of all(..)
            if name in here or getattr(own, name) is not method:
                return False
        return True

    def _takes_ends(self) -> bool:
        """Whether the gradient to the output may come as an `EndsGradient`."""
        return False

    def _gives_ends(self) -> bool:
        """Whether a chain may call `_forward_to_ends` for `forward`, behind a layer that takes an `EndsGradient`."""
        return False

    def _forward_to_ends(self, x: Any, *, lengths: Any, need_dx: bool) -> tuple[Any, Callable[..., Any]]:
        """`forward`, whose `backward` may give an `EndsGradient`."""
        raise NotImplementedError

    def _deferred(self, x: Any, lengths: Any) -> Any:
        """Inference, if the layer can defer."""
        raise NotImplementedError

    def _deferred_vjp(self, *inputs: Any, **options: Any) -> tuple[Outputs, VJP]:
        """`vjp`, if the layer can defer: its `backward` takes the gradients (d_input, d_params) that the loss gave."""
        raise NotImplementedError

    @classmethod
    def _claims(cls, config: Mapping[str, Any]) -> int:  # noqa: ARG003
        """How many tensors the arguments ask for, where that is any number: files are checked by it before a layer is
        made. The arguments are a file's, of any type."""
        return 0

    # ---- randomness ----------------------------------------------------------------------------------------------

    _call_bits: ClassVar[int] = 64  # in which calls with dropout are counted

    def _reseed(self, seed: np.random.SeedSequence) -> None:
        """Draw the parameters and the dropout seed anew."""

    def _reseed_fresh(self, seed: np.random.SeedSequence) -> None:
        """`_reseed`, but what was trained or loaded stays as it is; masks of dropout follow the seed."""
        if self._learned:
            self._seed_dropout(seed)
        else:
            self._reseed(seed)

    def _drawn_layers(self) -> list[Layer]:
        """The layers that have parameters of their own."""
        return [self] if self._param_shapes else []

    def _seed_dropout(self, seed: np.random.SeedSequence) -> None:
        """Start the masks of dropout from this seed."""

    def _dropout_state(self) -> list[int]:
        """What decides the next masks: seed and number of calls, for each layer that drops. `_set_dropout_state` takes
        it."""
        return []

    def _set_dropout_state(self, state: list[int]) -> None:
        """Go on from `_dropout_state`."""

    def _beside(self) -> Any:
        """What a forward pass in training changes beside the masks of dropout, and an update that fails takes back:
        moving means. `_set_beside` takes it."""
        return None

    def _set_beside(self, state: Any) -> None:
        """As it was when `_beside` gave this."""

    def _random_layers(self) -> list[Layer]:
        """The layers whose states those of `_dropout_state` are, one after another."""
        return [self] if self._dropout_state() else []

    def _owners(self) -> list[tuple[str, Layer]]:
        """(prefix, layer) of those in it that have parameters of their own; a prefix ends in a dot."""
        return [("", self)] if self._param_shapes else []

    def _runs_alike(self) -> bool:
        """Whether a call gives what `forward` gives, so that it may stand in where nobody asks for gradients."""
        return False


def with_tuples(found: Any, run_back: Callable[..., Any]) -> tuple[Outputs, VJP]:
    """What a layer's `forward` gave, as its `vjp` gives it."""

    def backward(*d_outputs: Any, into: Params | None = None) -> tuple[Outputs, Params]:  # noqa: ARG001
        d_inputs, d_params = run_back(*d_outputs)
        return (d_inputs if isinstance(d_inputs, tuple) else (d_inputs,)), d_params

    return (found if isinstance(found, tuple) else (found,)), backward


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
