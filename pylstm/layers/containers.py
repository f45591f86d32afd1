"""Layers made of layers."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._active import ACTIVE, refuse_in_training
from .._arrays import Array, array_of, float_array
from ..graph.functions import concatenate
from ..graph.recording import Chain
from ..graph.sweep import Sums, sweep, trained
from ..graph.values import Place, Value, new_value
from .composite import Composite
from .layer import VJP, Backward, Layer, Outputs, Params, Shape, gradient_like, sizes, with_tuples
from .members import Members
from .registry import built_in
from .repeated_rows import joined
from .steps import ChainSteps
from .table_rows import FEWEST_SYMBOLS, TableRows

DEEPEST = 32  # containers in containers: every one takes some of Python's stack


def refuse_shared(layers: Iterable[tuple[str, Layer]]) -> None:
    """Raises ValueError if an object with parameters, or one that drops, stands at two of these places or inside them.

    Each place would have parameters, an optimizer's state and masks of its own for what is one object.
    """
    seen: dict[int, str] = {}
    for place, layer in layers:
        for inner, leaf in _leaves(place, layer):
            if (leaf._param_shapes or leaf._dropout_state()) and id(leaf) in seen:
                raise ValueError(
                    f"{seen[id(leaf)]} and {inner} are the same {type(leaf).__name__} object: use copy.deepcopy(layer) "
                    "for one of them, or write a model that shares weights as plain Python"
                )
            seen[id(leaf)] = inner


def _leaves(place: str, layer: Layer) -> Iterator[tuple[str, Layer]]:
    if isinstance(layer, Container):
        for i, inner in enumerate(layer.layers):
            yield from _leaves(f"{place}.layers[{i}]", inner)
    else:
        yield from _inside(place, layer, set())


def _inside(place: str, thing: Any, seen: set[int]) -> Iterator[tuple[str, Layer]]:
    """A layer, and those that a model has in its attributes, once each: a model may share them."""
    if not isinstance(thing, (Layer, Mapping, list, tuple)) or id(thing) in seen:
        return
    seen.add(id(thing))
    inner: list[tuple[str, Any]] = []
    if isinstance(thing, Layer):
        if isinstance(thing, Container):
            inner = [(f"{place}.layers[{i}]", layer) for i, layer in enumerate(thing.layers)]
        else:
            yield place, thing
            inner = [(f"{place}.{name}", item) for name, item in vars(thing).items()] if thing._holds_layers else []
    elif isinstance(thing, Mapping):
        inner = [(f"{place}[{key!r}]", item) for key, item in thing.items()]
    else:
        inner = [(f"{place}[{i}]", item) for i, item in enumerate(thing)]
    for name, item in inner:
        yield from _inside(name, item, seen)


# (layer, x, state, lengths, whether y may be a `TableRows`) -> (y, state after it)
Call = Callable[[Layer, Any, Any, Any, bool], tuple[Any, Any]]


def inferred(layer: Any, x: Any, state: Any, lengths: Any, as_rows: bool = False) -> tuple[Any, None]:  # noqa: ARG001
    """A `Call` for inference, in which nobody asks for states."""
    if as_rows and ACTIVE.get() is None:
        return layer._as_table_rows(x)[0], None
    y: Any = layer(x, lengths=lengths)
    return (y[0] if layer.returns_state else y), None


def carried(layer: Any, x: Any, state: Any, lengths: Any, as_rows: bool = False) -> tuple[Any, Any]:
    """A `Call` for inference in which states go on."""
    if as_rows:
        return layer._as_table_rows(x)[0], None
    return layer._carried(x, state, lengths)  # type: ignore[no-any-return]


def output_of(layer: Layer, x: ArrayLike, lengths: ArrayLike | None) -> Array:
    """Inference: what a layer hands on to the next one, without its state."""
    y: Array = inferred(layer, x, None, lengths)[0]
    return y


@functools.lru_cache(maxsize=64)
def _prefixes(count: int) -> tuple[str, ...]:
    return tuple([f"{i}." for i in range(count)])


class Container(Members, Composite):
    """Layers in a list. Parameters have the layer's place before their name: `0.weight`, `1.weight_ih_l0`."""

    _depth: int = 1
    _inline = True
    _passes_gradients: ClassVar[bool] = True  # to x

    _own_forward: ClassVar[bool] = False  # whether the class is somebody's who wrote `forward` alone to train it

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._own_forward = cls.forward is not Container.forward and cls.vjp is Container.vjp

    def __init__(self, layers: Iterable[Layer], *others: NoReturn) -> None:
        self._refuse_others(layers, others)
        self._configure(layers)

    def _refuse_others(self, layers: Any, others: tuple[Any, ...]) -> None:
        """Raises TypeError for layers that are given one by one, as `torch.nn.Sequential` takes them."""
        if others:
            given = ", ".join(_checks.kind(one).removeprefix("a ").removeprefix("an ") for one in (layers, *others[:3]))
            given += ", .." * (len(others) > 3)
            raise TypeError(f"layers must be given in one list: {type(self).__name__}([..]), got {given} one by one")

    def _configure(self, layers: Iterable[Layer]) -> None:
        if isinstance(layers, (Layer, str, Mapping)) or not isinstance(layers, Iterable):
            raise TypeError(f"layers must be a list of layers, got {_checks.kind(layers)}")
        self.layers: tuple[Layer, ...] = tuple(itertools.islice(layers, _checks.MOST_LAYERS + 1))
        if len(self.layers) > _checks.MOST_LAYERS:
            raise ValueError(f"layers must hold at most {_checks.MOST_LAYERS} layers")
        for layer in self.layers:
            if not isinstance(layer, Layer):
                raise TypeError(f"layers must be layers of pylstm, got {_checks.kind(layer)}")
            if not layer.batch_first:
                raise ValueError(f"layers of a model have the batch first: make {layer!r} with batch_first=True")
            if not layer._says_time():
                raise ValueError(
                    f"{type(layer).__name__} does not say whether it gives one output per step: set keeps_time = True "
                    "or False in the class"
                )
        if not self.layers:
            raise ValueError("layers must hold at least one layer")
        refuse_shared((f"layers[{i}]", layer) for i, layer in enumerate(self.layers))
        self._hands_on_rows = [
            layer._gives_table_rows() and after._takes_table_rows() for layer, after in itertools.pairwise(self.layers)
        ] + [False]
        self._depth = 1 + max((layer._depth for layer in self.layers if isinstance(layer, Container)), default=0)
        if self._depth > DEEPEST:
            raise ValueError(f"layers may hold layers that hold layers {DEEPEST} deep, and these go deeper")
        self._param_shapes = {
            f"{i}.{name}": shape for i, layer in enumerate(self.layers) for name, shape in layer._param_shapes.items()
        }
        dtypes = {str(layer.dtype): layer.dtype for layer in self.layers if layer._param_shapes}
        if len(dtypes) > 1:
            raise ValueError(f"the layers of a model must have one dtype, got {' and '.join(sorted(dtypes))}")
        self.dtype = next(iter(dtypes.values()), np.dtype(np.float32))
        self.keeps_time = all(layer.keeps_time for layer in self.layers)

    def _parts(self) -> list[tuple[str, Layer]]:
        return list(zip(_prefixes(len(self.layers)), self.layers, strict=True))

    def _run(self, call: Call, x: Any, state: Any, lengths: Any) -> tuple[Any, Any]:
        """What the container computes, inference and training alike: its output, and its layers' states after it."""
        states = []
        begin = (None,) * len(self.layers) if state is None else state
        for layer, before, as_rows in zip(self.layers, begin, self._hands_on_rows, strict=True):
            x, after = call(layer, x, before, lengths, as_rows)
            states.append(after)
            if lengths is not None:
                lengths = layer.output_lengths(lengths)
        return x, states

    def _input(self, x: Any, run: Any) -> Any:  # noqa: ARG002
        """`x` as `_run` takes it, in a model's run or in none: checked and converted where no layer does that."""
        return x

    def _output(self, y: Any) -> Array:
        return np.asarray(y)

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """Inference on one batch.

        Args:
            x: (N, T) integers for an embedding, else (N, T, F) or (N, F), or one sequence without N.
            lengths: (N,) integers in 0..T, or None.

        Returns:
            The last layer's output.

        Raises TypeError or ValueError, naming the argument.
        """
        y: Any = self._run(inferred, self._input(x, ACTIVE.get()), None, lengths)[0]
        return y if isinstance(y, Value) else self._output(y)  # type: ignore[return-value]

    def forward(
        self, x: ArrayLike, *, lengths: ArrayLike | None = None, need_dx: bool = True
    ) -> tuple[Array, Backward]:
        trained = self._trained_vjp if type(self).vjp is Container.vjp else self.vjp  # that of a subclass
        (y, _), run_back = trained(x, lengths=lengths, need_dx=need_dx)

        def backward(dy: ArrayLike) -> tuple[Array | None, Params]:
            d_inputs, d_params = run_back(dy)
            return d_inputs[0], d_params

        return y, backward

    def vjp(
        self, x: ArrayLike, state: Any = None, *, lengths: ArrayLike | None = None, need_dx: bool = True
    ) -> tuple[Outputs, VJP]:
        """As of any layer with a state: a container's is the list of its layers' states, None where there is none."""
        if not self._own_forward:
            return self._trained_vjp(x, state, lengths=lengths, need_dx=need_dx)
        if state is not None:
            raise TypeError(f"{type(self).__name__}.forward takes no state: write a vjp, which does")
        (y,), backward = with_tuples(*self.forward(x, lengths=lengths, need_dx=need_dx))
        return (y, None), backward

    def _trained_vjp(
        self, x: ArrayLike, state: Any = None, *, lengths: ArrayLike | None = None, need_dx: bool = True
    ) -> tuple[Outputs, VJP]:
        return self._chain_vjp(Chain(), x, state, lengths, need_dx)

    def _chain_vjp(self, chain: Chain, x: ArrayLike, state: Any, lengths: Any, need_dx: bool) -> tuple[Outputs, VJP]:
        if ACTIVE.get() is not None:
            refuse_in_training(self, "forward")
        if state is not None:
            self._check_states("state", state)
        first = Place() if need_dx and self._passes_gradients else None
        value, after = self._run(chain.step, new_value(self._input(x, None), chain, first), state, lengths)
        y = self._output(value._data) if chain.deferring is None else value._data
        last, nodes, states, parts = value._slot, chain.tape, chain.states, trained(self._parts())
        # a last layer that is given dy checks it
        form = None if type(last) is Place or chain.deferring is not None else (y.shape, y.dtype)

        def backward(dy: ArrayLike, d_state: Any = None) -> tuple[Outputs, Params]:
            sums = Sums()
            sums.set(last, dy if form is None else gradient_like(dy, form))
            if d_state is not None:
                self._check_states("d_state", d_state)
                for slot, d_after in zip(states, d_state, strict=True):
                    sums.set(slot, d_after)
            sweep(nodes, sums, keep=True)
            dx = None if first is None else sums.take(first)
            d_before = None if after is None else [None if slot is None else sums.take(slot) for slot in states]
            return (dx, d_before), sums.gathered(parts)

        return (y, after), backward

    def _check_states(self, name: str, given: Any) -> None:
        if not isinstance(given, (list, tuple)):
            raise TypeError(f"{name} must be a list of states, one per layer, got {_checks.kind(given)}")
        if len(given) != len(self.layers):
            raise ValueError(f"{name} must hold {len(self.layers)} states, one per layer, got {len(given)}")

    def output_lengths(self, lengths: Any) -> Any:
        for layer in self.layers:
            lengths = layer.output_lengths(lengths)
        return lengths

    def _steps(self, batch_size: int, num_threads: int | None) -> ChainSteps:
        if not self._runs({"__call__": Container.__call__}):
            raise ValueError(f"{type(self).__name__} cannot stream: it has a __call__ of its own")
        return ChainSteps(self, batch_size, num_threads, one_after_another=type(self)._run is Container._run)

    def _carried(self, x: Any, state: Any, lengths: Any) -> tuple[Any, Any]:
        if not self._runs({"__call__": Container.__call__}):
            return super()._carried(x, state, lengths)
        y, after = self._run(carried, self._input(x, None), state, lengths)
        return self._output(y), after

    def _check_carry(self, option: str) -> None:
        own_call = not self._runs({"__call__": Container.__call__})  # which inference with states would pass by
        if self._own_forward or (own_call and option == "stateful"):
            self._refuse_states(option)
        for layer in self.layers:
            layer._check_carry(option)

    def _refuse_states(self, option: str) -> None:
        """Raises ValueError, naming the option, for layers with a state, which nobody carries on."""
        for place, layer in _leaves(type(self).__name__, self):
            if layer.returns_state:
                raise ValueError(f"{option} cannot carry a state through {place}, {layer!r}")

    def output_shape(self, shape: Shape) -> Shape:
        shape = sizes(shape)
        for layer in self.layers:
            shape = layer.output_shape(shape)
        return shape

    def input_shape(self) -> Shape | None:
        return self.layers[0].input_shape()

    def _says_shape(self) -> bool:
        return super()._says_shape() and all(layer._says_shape() for layer in self.layers)

    def _check_values(self, name: str, x: Array) -> None:
        if self._runs({"__call__": Container.__call__}):
            self.layers[0]._check_values(name, x)

    def __repr__(self) -> str:
        return f"{type(self).__name__}([{', '.join(map(repr, self.layers))}])"


@built_in
class Residual(Container):
    """y = x + f(x), with f the given layers one after another (He et al. 2016).

    Args:
        layers: a layer or a list of layers, which must keep the shape: ValueError otherwise.
    """

    def __init__(self, layers: Layer | Iterable[Layer], *others: NoReturn) -> None:
        self._refuse_others(layers, others)
        self._configure([layers] if isinstance(layers, Layer) else layers)

    def _configure(self, layers: Iterable[Layer]) -> None:
        super()._configure(layers)
        if not self.keeps_time:
            raise ValueError("the layers of Residual must keep the shape, and one of them pools over time")

    def _input(self, x: Any, run: Any) -> Any:
        if run is None:
            return float_array("x", x, self.dtype)
        return x if isinstance(x, Value) else run.constant(float_array("x", x, self.dtype), "x")

    def _run(self, call: Call, x: Any, state: Any, lengths: Any) -> tuple[Any, Any]:
        f, after = super()._run(call, x, state, lengths)
        if f.shape != x.shape:
            raise ValueError(f"the layers of Residual must keep the shape, and made {f.shape} of {x.shape}")
        return x + f, after

    def _output(self, y: Any) -> Array:
        return np.asarray(y, self.dtype if self._param_shapes else None)  # that of the layers, whatever x has

    def _without_dropout(self) -> Layer:
        return Residual([layer._without_dropout() for layer in self.layers])

    def output_shape(self, shape: Shape) -> Shape:
        after = super().output_shape(shape)
        if len(after) != len(shape) or any(None not in (a, b) and a != b for a, b in zip(after, shape, strict=True)):
            raise ValueError(f"the layers of Residual must keep the shape, and make {after} of {shape}")
        return after


@built_in
class Columns(Container):
    """Several features a step: layer k takes x[..., k], the outputs are joined on the last axis.

    x: integers (N, T, K) with K embeddings of any sizes; y: (N, T, sum of their dims). There is no gradient to x.

    Args:
        layers: K layers.
    """

    _passes_gradients = False

    def _input(self, x: Any, run: Any) -> Any:  # noqa: ARG002
        array = x if isinstance(x, Value) else array_of("x", x)
        if array.ndim == 0 or array.shape[-1] != len(self.layers):
            raise ValueError(f"x must have shape (..., {len(self.layers)}), one column per layer, got {array.shape}")
        return array

    def _run(self, call: Call, x: Any, state: Any, lengths: Any) -> tuple[Any, Any]:  # noqa: ARG002
        if isinstance(x, Value) and x._slot is None:
            x = x._data  # of which there is nothing to write down
        outputs = [call(layer, x[..., k], None, lengths, False)[0] for k, layer in enumerate(self.layers)]
        join = concatenate if isinstance(outputs[0], Value) else np.concatenate
        return join(outputs, axis=-1), None

    def _gives_table_rows(self) -> bool:
        return self._runs(_WRITTEN) and all(layer._gives_table_rows() for layer in self.layers)

    def _as_table_rows(self, x: Any) -> tuple[TableRows | Array, Backward]:
        x = self._input(x, None)
        if x.size < FEWEST_SYMBOLS:
            return self.forward(x)
        parts = [layer._as_table_rows(x[..., k]) for k, layer in enumerate(self.layers)]
        rows, split = joined([rows for rows, _ in parts])

        def backward(d: Any) -> tuple[None, Params]:
            d_parts = [back(one)[1] for one, (_, back) in zip(split(d), parts, strict=True)]
            return None, {
                prefix + name: value
                for prefix, own in zip(_prefixes(len(d_parts)), d_parts, strict=True)
                for name, value in own.items()
            }

        return rows, backward

    def _check_carry(self, option: str) -> None:
        self._refuse_states(option)
        for layer in self.layers:
            layer._check_carry(option)

    def _without_dropout(self) -> Layer:
        return Columns([layer._without_dropout() for layer in self.layers])

    def output_shape(self, shape: Shape) -> Shape:
        shape = sizes(shape)
        if not shape or shape[-1] not in (None, len(self.layers)):
            raise ValueError(f"Columns of {len(self.layers)} layers cannot follow an output of shape {shape}")
        widths = [layer.output_shape(shape[:-1])[-1] for layer in self.layers]
        return (*shape[:-1], None if None in widths else sum(width for width in widths if width is not None))

    def input_shape(self) -> Shape:
        return (None, None, len(self.layers))

    def _check_values(self, name: str, x: Array) -> None:
        if self._runs({"__call__": Container.__call__}):
            for k, layer in enumerate(self.layers):
                layer._check_values(name, x[..., k])


_WRITTEN: dict[str, Any] = {name: getattr(Columns, name) for name in ("__call__", "forward", "vjp", "_run", "_input")}
