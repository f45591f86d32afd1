"""What an `EncoderDecoder` is made of, checked: which layers come where, and whether their sizes fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .. import _checks
from .._active import ACTIVE
from .._arrays import real_array
from ..layers.containers import Container, refuse_shared
from ..layers.embedding import Embedding
from ..layers.layer import Layer, Shape
from ..layers.linear import Linear, LinearOutputs
from .sequential import Sequential


def flat(name: str, layers: Any) -> tuple[Layer, ...]:
    """A chain of layers, those of a `Sequential` in it among them. Raises TypeError or ValueError."""
    if isinstance(layers, Sequential):
        layers = layers.layers
    elif isinstance(layers, Layer):
        layers = [layers]
    if isinstance(layers, (str, Mapping)) or not isinstance(layers, Iterable):
        raise TypeError(f"{name} must be a Sequential or a list of layers, got {_checks.kind(layers)}")
    found: list[Layer] = []
    for layer in layers:
        if not isinstance(layer, Layer):
            raise TypeError(f"{name} must hold layers of pylstm, got {_checks.kind(layer)}")
        found += flat(name, layer) if type(layer) is Sequential else [layer]
    for i, layer in enumerate(found):
        if not layer.batch_first:
            raise ValueError(f"layer {i} of {name} has time first: make {layer!r} with batch_first=True")
        if not layer.keeps_time:
            raise ValueError(f"layer {i} of {name}, {layer!r}, does not keep the steps, which a decoder looks at")
    if not any(layer.returns_state for layer in found):
        inside = " (one inside of another layer hands on no state)" if any(map(_holds_others, found)) else ""
        raise ValueError(f"{name} must have a recurrent layer{inside}: an LSTM, GRU or RNN")
    return tuple(found)


def _holds_others(layer: Layer) -> bool:
    return isinstance(layer, Container) or layer._holds_layers


def recurrent(layers: Iterable[Layer]) -> list[Any]:
    return [layer for layer in layers if layer.returns_state]


def output_width(name: str, layers: Iterable[Layer], shape: Shape, first: int = 0) -> int:
    """Numbers in the last axis of what a chain gives for an input of `shape`. Raises ValueError if sizes do not fit."""
    place = first
    try:
        for layer in layers:
            shape = layer.output_shape(shape)
            place += 1
    except ValueError as error:
        raise ValueError(f"layer {place} of {name} does not fit: {error}") from None
    if not shape or shape[-1] is None:
        raise ValueError(f"{name} must say how many numbers it gives for each step")
    return shape[-1]


class DecoderParts:
    """A decoder in its parts.

    Attributes:
        embedding: of the symbols.
        before: the layers up to the first recurrent one, the embedding among them.
        middle: from the first to the last recurrent one.
        after: between the last recurrent one and the head.
        head: the last `Linear`; None where the embedding is its weight, too.
        query: the width of what the recurrent layers give.
        width: of what the head, and the layers before it, take.
        classes: how many symbols there are logits of.
        names: of all layers of the model: what stands before those of their parameters, and the layer.
    """

    embedding: Embedding
    query: int
    width: int
    names: list[tuple[str, Layer]]

    def __init__(self, layers: tuple[Layer, ...], tied: bool) -> None:
        first = layers[0]
        if not isinstance(first, Embedding):
            raise ValueError(f"layer 0 of decoder must be an Embedding, which takes symbols, got {first!r}")
        self.embedding, self._layers = first, layers
        places = [i for i, layer in enumerate(layers) if layer.returns_state]
        self.before, self.middle = layers[: places[0]], layers[places[0] : places[-1] + 1]
        rest = layers[places[-1] + 1 :]
        self.head: Linear | None = None
        if not tied:
            if not rest or not isinstance(rest[-1], Linear):
                raise ValueError(
                    f"decoder must end in a Linear, the logits of its symbols, got {layers[-1]!r}; or say "
                    "tie_embeddings=True, and the embedding is that, too"
                )
            self.head, rest = rest[-1], rest[:-1]
        elif first.padding_idx is not None:
            raise ValueError("tie_embeddings needs an Embedding without padding_idx: every row of it is trained")
        self.after, self._rest = rest, len(layers) - len(rest) - (not tied)
        self.classes = first.num if self.head is None else self.head.out_features
        if self.classes > first.num:
            raise ValueError(
                f"decoder gives logits of {self.classes} symbols, and its Embedding has {first.num} of them to read"
            )
        for i, layer in enumerate(layers):
            if layer.returns_state:
                if layer.bidirectional:  # type: ignore[attr-defined]
                    raise ValueError(f"layer {i} of decoder must not be bidirectional: it writes from left to right")
            elif not layer.steps_apart:
                raise ValueError(
                    f"layer {i} of decoder, {layer!r}, may look at other steps than the one that is written: a decoder "
                    "has recurrent layers, and others whose class says steps_apart = True"
                )

    def fit_sizes(self, attended: bool, feeding: bool) -> None:
        """Raises ValueError if sizes do not fit. attended: whether a vector of an attention takes the place of what the
        recurrent layers give; feeding: whether they are given that of the step before."""
        at, first = len(self.before), recurrent(self.middle)[0]
        embedded = output_width("decoder", self.before, (None, None))
        self.query = output_width("decoder", self.middle, (None, None, first.input_size), at)
        target = self.embedding.dim if self.head is None else self.head.in_features
        wide = target  # what an attention makes is as wide as what comes behind it takes
        if self.after and (own := self.after[0].input_shape()) is not None and own[-1] is not None:
            wide = own[-1]
        self.width = wide if attended else self.query
        if first.input_size != embedded + (self.width if feeding else 0):
            more = f" and the {self.width} that are fed back" if feeding else ""
            raise ValueError(f"layer {at} of decoder takes {first.input_size} numbers, and gets {embedded}{more}")
        found = output_width("decoder", self.after, (None, None, self.width), self._rest)
        if found != target:
            what = "the Embedding that is its head" if self.head is None else repr(self.head)
            raise ValueError(f"decoder gives {found} numbers to {what}, which takes {target}")

    def logits(self, x: Any) -> Any:
        """The head. In a model's run it is the last call."""
        if self.head is not None:
            return self.head(x)
        run = ACTIVE.get()
        table = self.embedding._params._arrays["weight"]
        if run is not None:
            return run.multiply(self.embedding, table, x)
        return LinearOutputs(real_array("x", x, self.embedding.dtype), table, None).compute()


def check_apart(encoder: tuple[Layer, ...], decoder: tuple[Layer, ...], attention: Layer | None) -> None:
    """Raises ValueError for an object at two places; but the decoder's Embedding may be one of the encoder's."""
    shared = any(layer is decoder[0] for layer in encoder)
    named = [(f"encoder[{i}]", layer) for i, layer in enumerate(encoder)]
    named += [(f"decoder[{i}]", layer) for i, layer in enumerate(decoder) if i or not shared]
    refuse_shared([*named, *([] if attention is None else [("attention", attention)])])
