"""Layers made of layers, and the recurrent layers in the contract of `layer`."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._active import ACTIVE
from .._arrays import Array, array_of, float_array
from .._interrupts import Uninterrupted
from ..graph.values import Value
from .layer import Backward, Layer, Params, Shape, gradient_like, seed_number, sizes
from .parameters import Params as ParamsView
from .recurrent import Recurrent
from .registry import built_in

AnyLayer = Layer | Recurrent[Any]


class Recurrence(Layer):
    """An LSTM, GRU or RNN with `batch_first=True` as a layer of a model: output only, the state starts at zero."""

    _inline = True

    def __init__(self, layer: Recurrent[Any]) -> None:
        self.layer = layer
        self.dtype = layer.dtype
        self._param_shapes = layer._param_shapes

    @property
    def params(self) -> Mapping[str, Array]:
        return self.layer.params

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        return self.layer(x, lengths=lengths)[0]

    def forward(
        self, x: ArrayLike, *, lengths: ArrayLike | None = None, need_dx: bool = True
    ) -> tuple[Array, Backward]:
        return self._forward_from(x, lengths, need_dx, None)[:2]

    def _forward_from(
        self, x: ArrayLike, lengths: ArrayLike | None, need_dx: bool, state: Any
    ) -> tuple[Array, Backward, Any]:
        y, new_state, run_back = self.layer.forward(x, state, lengths=lengths, need_dx=need_dx)

        def backward(dy: ArrayLike) -> tuple[Array | None, Params]:
            grads = run_back(dy)
            return grads.x, dict(grads.params)

        return y, backward, new_state

    def output_shape(self, shape: Shape) -> Shape:
        layer, shape = self.layer, sizes(shape)
        if len(shape) != 3 or shape[2] not in (None, layer.input_size):
            raise ValueError(f"{layer!r} takes (N, T, {layer.input_size}) and cannot follow an output of shape {shape}")
        return (*shape[:2], layer.num_directions * layer.output_size)

    def input_shape(self) -> Shape:
        return (None, None, self.layer.input_size)

    def _prepared(self, arrays: Mapping[str, Array]) -> Callable[[], None]:
        return self.layer._prepared(arrays)

    def _begin_update(self, names: list[str]) -> dict[str, Array]:
        return self.layer._begin_update(names)

    def _end_update(self, arrays: dict[str, Array]) -> None:
        self.layer._end_update(arrays)

    def _without_dropout(self) -> Layer:
        if self.layer.dropout == 0.0:
            return self
        twin = copy.copy(self.layer)
        twin.__dict__["dropout"] = 0.0  # past the guard of fixed attributes: nobody has seen the twin yet
        return Recurrence(twin)

    def _reseed(self, seed: np.random.SeedSequence) -> None:
        self.layer._draw(seed_number(seed))

    def _seed_dropout(self, seed: np.random.SeedSequence) -> None:
        self._set_dropout_state([seed_number(seed), 0])

    def _dropout_state(self) -> list[int]:
        return [self.layer._dropout_seed, self.layer._dropout_calls]

    def _set_dropout_state(self, state: list[int]) -> None:
        self.layer._dropout_seed, self.layer._dropout_calls = state

    def __repr__(self) -> str:
        return repr(self.layer)


def as_layer(layer: AnyLayer) -> Layer:
    """A recurrent layer in the contract of `Layer`; any other layer as it is."""
    return Recurrence(layer) if isinstance(layer, Recurrent) else layer


DEEPEST = 32  # containers in containers: every one takes some of Python's stack


def refuse_shared(layers: Iterable[tuple[str, AnyLayer]]) -> None:
    """Raises ValueError if an object with parameters, or one that drops, stands at two of these places or inside them.

    Each place would have parameters, an optimizer's state and masks of its own for what is one object.
    """
    seen: dict[int, str] = {}
    for place, layer in layers:
        for inner, leaf in _leaves(place, layer):
            if (isinstance(leaf, Recurrent) or leaf._param_shapes or leaf._dropout_state()) and id(leaf) in seen:
                raise ValueError(
                    f"{seen[id(leaf)]} and {inner} are the same {type(leaf).__name__} object: use copy.deepcopy(layer) "
                    "for one of them, or write a model that shares weights as plain Python"
                )
            seen[id(leaf)] = inner


def _leaves(place: str, layer: AnyLayer) -> Iterator[tuple[str, AnyLayer]]:
    if isinstance(layer, Container):
        for i, inner in enumerate(layer.layers):
            yield from _leaves(f"{place}.layers[{i}]", inner)
    else:
        yield place, layer.layer if isinstance(layer, Recurrence) else layer


class Container(Layer):
    """Layers in a list. Parameters have the layer's place before their name: `0.weight`, `1.weight_ih_l0`."""

    _depth: int = 1
    _inline = True

    def __init__(self, layers: Iterable[AnyLayer]) -> None:
        self._configure(layers)

    def _configure(self, layers: Iterable[AnyLayer]) -> None:
        if isinstance(layers, (Layer, Recurrent, str, Mapping)) or not isinstance(layers, Iterable):
            raise TypeError(f"layers must be a list of layers, got {_checks.kind(layers)}")
        self.layers: tuple[AnyLayer, ...] = tuple(itertools.islice(layers, _checks.MOST_LAYERS + 1))
        if len(self.layers) > _checks.MOST_LAYERS:
            raise ValueError(f"layers must hold at most {_checks.MOST_LAYERS} layers")
        for layer in self.layers:
            if not isinstance(layer, (Layer, Recurrent)):
                raise TypeError(f"layers must be layers of pylstm, got {_checks.kind(layer)}")
            if isinstance(layer, Recurrent) and not layer.batch_first:
                raise ValueError(f"layers of a model have the batch first: make {layer!r} with batch_first=True")
        if not self.layers:
            raise ValueError("layers must hold at least one layer")
        refuse_shared((f"layers[{i}]", layer) for i, layer in enumerate(self.layers))
        self._parts = tuple(as_layer(layer) for layer in self.layers)
        self._depth = 1 + max((part._depth for part in self._parts if isinstance(part, Container)), default=0)
        if self._depth > DEEPEST:
            raise ValueError(f"layers may hold layers that hold layers {DEEPEST} deep, and these go deeper")
        self._param_shapes = {
            f"{i}.{name}": shape for i, part in enumerate(self._parts) for name, shape in part._param_shapes.items()
        }
        dtypes = {str(part.dtype): part.dtype for part in self._parts if part._param_shapes}
        if len(dtypes) > 1:
            raise ValueError(f"the layers of a model must have one dtype, got {' and '.join(sorted(dtypes))}")
        self.dtype = next(iter(dtypes.values()), np.dtype(np.float32))
        self.keeps_time = all(part.keeps_time for part in self._parts)

    @property
    def params(self) -> Mapping[str, Array]:
        """Name -> array, both read-only: replace values with `load_state_dict`. Every look-up gives a new view."""
        return ParamsView({
            f"{i}.{name}": value for i, part in enumerate(self._parts) for name, value in part.params.items()
        })  # fmt: skip

    def _split(self, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One mapping per layer, under the layer's own names."""
        split: list[dict[str, Any]] = [{} for _ in self._parts]
        for name, value in values.items():
            index, _, own = name.partition(".")
            split[int(index)][own] = value
        return split

    def _prepared(self, arrays: Mapping[str, Array]) -> Callable[[], None]:
        puts = [part._prepared(own) for part, own in zip(self._parts, self._split(arrays), strict=True) if own]

        def put() -> None:
            with Uninterrupted():
                for one in puts:
                    one()

        return put

    def _begin_update(self, names: list[str]) -> dict[str, Array]:
        arrays: dict[str, Array] = {}
        for i, own in enumerate(self._split(dict.fromkeys(names))):
            if own:
                begun = self._parts[i]._begin_update(list(own))
                arrays.update({f"{i}.{name}": value for name, value in begun.items()})
        return arrays

    def _end_update(self, arrays: dict[str, Array]) -> None:
        for part, own in zip(self._parts, self._split(arrays), strict=True):
            if own:
                part._end_update(own)

    def _reseed(self, seed: np.random.SeedSequence) -> None:
        for part, own in zip(self._parts, seed.spawn(len(self._parts)), strict=True):
            part._reseed(own)

    def _seed_dropout(self, seed: np.random.SeedSequence) -> None:
        for part, own in zip(self._parts, seed.spawn(len(self._parts)), strict=True):
            part._seed_dropout(own)

    def _dropout_state(self) -> list[int]:
        return [number for part in self._parts for number in part._dropout_state()]

    def _set_dropout_state(self, state: list[int]) -> None:
        if len(state) != len(self._dropout_state()):
            raise ValueError("the state of dropout is of another model")
        for part in self._parts:
            count = len(part._dropout_state())
            part._set_dropout_state(state[:count])
            state = state[count:]

    def forward(
        self, x: ArrayLike, *, lengths: ArrayLike | None = None, need_dx: bool = True
    ) -> tuple[Array, Backward]:
        return self._forward_from(x, lengths, need_dx, None)[:2]

    def _chain(self, x: Any, lengths: ArrayLike | None) -> Any:
        for part in self._parts:
            x = part(x, lengths=lengths)
            lengths = lengths if part.keeps_time else None
        return x if isinstance(x, Value) else np.asarray(x)

    def _chain_from(
        self, x: ArrayLike, lengths: ArrayLike | None, need_dx: bool, state: Any
    ) -> tuple[Array, Backward, Any]:
        backs: list[Backward] = []
        states: list[Any] = []
        for i, part in enumerate(self._parts):
            own = None if state is None else state[i]
            x, back, after = part._forward_from(x, lengths, need_dx or i > 0, own)
            backs.append(back)
            states.append(after)
            lengths = lengths if part.keeps_time else None

        def backward(dy: ArrayLike) -> tuple[Array | None, Params]:
            dparams: Params = {}
            d: Any = dy
            for i in reversed(range(len(backs))):
                d, own = backs[i](d)
                dparams.update({f"{i}.{name}": value for name, value in own.items()})
            return d, {name: dparams[name] for name in self._param_shapes}

        return np.asarray(x), backward, states

    def output_shape(self, shape: Shape) -> Shape:
        shape = sizes(shape)
        for part in self._parts:
            shape = part.output_shape(shape)
        return shape

    def input_shape(self) -> Shape | None:
        return self._parts[0].input_shape()

    def __repr__(self) -> str:
        return f"{type(self).__name__}([{', '.join(map(repr, self.layers))}])"


@built_in
class Residual(Container):
    """y = x + f(x), with f the given layers one after another (He et al. 2016). f must keep the shape."""

    def __init__(self, layers: AnyLayer | Iterable[AnyLayer]) -> None:
        self._configure([layers] if isinstance(layers, (Layer, Recurrent)) else layers)

    def _configure(self, layers: Iterable[AnyLayer]) -> None:
        super()._configure(layers)
        if not self.keeps_time:
            raise ValueError("the layers of Residual must keep the shape, and one of them pools over time")

    def __call__(self, x: Any, *, lengths: ArrayLike | None = None) -> Array:
        if (run := ACTIVE.get()) is not None:
            x = run.taken(x, "x")
        else:
            x = float_array("x", x, self.dtype)
        y: Array = self._sum(x, self._chain(x, lengths))
        return y

    def _forward_from(
        self, x: ArrayLike, lengths: ArrayLike | None, need_dx: bool, state: Any
    ) -> tuple[Array, Backward, Any]:
        array = float_array("x", x, self.dtype)
        f, back, after = self._chain_from(array, lengths, need_dx, state)
        y = self._sum(array, f)
        form = y.shape, y.dtype

        def backward(dy: ArrayLike) -> tuple[Array | None, Params]:
            d = gradient_like(dy, form)
            dx, dparams = back(d)
            return (None if dx is None or not need_dx else dx + d), dparams

        return y, backward, after

    def _sum(self, x: Any, f: Any) -> Any:
        if f.shape != x.shape:
            raise ValueError(f"the layers of Residual must keep the shape, and made {f.shape} of {x.shape}")
        y = x + f
        return y if isinstance(y, Value) else np.asarray(y, f.dtype)

    def _without_dropout(self) -> Layer:
        return Residual([part._without_dropout() for part in self._parts])

    def output_shape(self, shape: Shape) -> Shape:
        after = super().output_shape(shape)
        if len(after) != len(shape) or any(None not in (a, b) and a != b for a, b in zip(after, shape, strict=True)):
            raise ValueError(f"the layers of Residual must keep the shape, and make {after} of {shape}")
        return after


@built_in
class Columns(Container):
    """Several features a step: layer k takes x[..., k], the outputs are joined on the last axis.

    x: integers (N, T, K) with K embeddings of any sizes; y: (N, T, sum of their dims).
    """

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        array = self._take(x)
        return np.concatenate([part(array[..., k], lengths=lengths) for k, part in enumerate(self._parts)], axis=-1)

    def _forward_from(
        self,
        x: ArrayLike,
        lengths: ArrayLike | None,
        need_dx: bool,  # noqa: ARG002
        state: Any,  # noqa: ARG002
    ) -> tuple[Array, Backward, Any]:
        array = self._take(x)
        runs = [part.forward(array[..., k], lengths=lengths) for k, part in enumerate(self._parts)]
        y = np.concatenate([out for out, _ in runs], axis=-1)
        form = y.shape, y.dtype
        edges = np.cumsum([0] + [out.shape[-1] for out, _ in runs]).tolist()

        def backward(dy: ArrayLike) -> tuple[Array | None, Params]:
            d = gradient_like(dy, form)
            dparams: Params = {}
            for k, (_, back) in enumerate(runs):
                own = back(d[..., edges[k] : edges[k + 1]])[1]
                dparams.update({f"{k}.{name}": value for name, value in own.items()})
            return None, dparams

        return y, backward, None

    def _take(self, x: Any) -> Any:
        array = x if isinstance(x, Value) else array_of("x", x)
        if array.ndim == 0 or array.shape[-1] != len(self._parts):
            raise ValueError(f"x must have shape (..., {len(self._parts)}), one column per layer, got {array.shape}")
        return array

    def output_shape(self, shape: Shape) -> Shape:
        shape = sizes(shape)
        if not shape or shape[-1] not in (None, len(self._parts)):
            raise ValueError(f"Columns of {len(self._parts)} layers cannot follow an output of shape {shape}")
        widths = [part.output_shape(shape[:-1])[-1] for part in self._parts]
        return (*shape[:-1], None if None in widths else sum(width for width in widths if width is not None))

    def input_shape(self) -> Shape:
        return (None, None, len(self._parts))
