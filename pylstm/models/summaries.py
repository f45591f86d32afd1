"""The tables that `summary` returns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..layers.layer import Layer, Shape

if TYPE_CHECKING:
    from .encoder_decoder import EncoderDecoder

Row = tuple[str, str, str]  # a layer, the shape of its output, how many parameters
_WIDEST = 60


def drawn(rows: Iterable[Row], model: Any) -> str:
    """A table of these rows, with the totals."""
    rows = [("Layer", "Output shape", "Parameters"), *rows]
    width = min(_WIDEST, max(len(row[0]) for row in rows))
    middle = max(len(row[1]) for row in rows)
    last = max(len(row[2]) for row in rows)
    lines = []
    for name, shape_text, number in rows:
        pieces = [name[at : at + width] for at in range(0, len(name), width)]
        lines.append(f"{pieces[0]:{width}}  {shape_text:{middle}}  {number:>{last}}")
        lines += pieces[1:]
    rule = "-" * (width + middle + last + 4)
    size = model.num_parameters * model.dtype.itemsize
    lines = [lines[0], rule, *lines[1:], rule]
    trainable = sum(math.prod(shape) for shape in model._trained_shapes().values())
    lines.append(f"Total: {model.num_parameters:,} parameters, {size / 2**20:.2f} MiB ({model.dtype})")
    lines.append(f"Trainable: {trainable:,}, frozen: {model.num_parameters - trainable:,}")
    return "\n".join(lines)


def row_of(layer: Layer, shape: Shape | None, indent: str = "") -> Row:
    frozen = " (frozen)" if layer._param_shapes and not layer.trainable else ""
    text = "" if shape is None else "(" + ", ".join(map(str, shape)) + ")"
    return indent + repr(layer) + frozen, text, f"{layer.num_parameters:,}"


def table(model: EncoderDecoder, sources: Shape) -> str:
    """Of an `EncoderDecoder`, whose encoder takes sources of this shape."""
    return drawn(_rows(model, sources), model)


def _rows(model: EncoderDecoder, sources: Shape) -> Iterator[Row]:
    parts = model.parts
    yield "encoder", "", ""
    yield from _chain(model.encoder, sources)
    if model.bridge:
        yield "bridge", "", ""
        for name, layer in model.bridge.items():
            text, _, number = row_of(layer, None)
            yield f"  {name}: {text}", f"(None, {layer.out_features})", number
    yield "decoder", "", ""
    shared = None if model._shares() is None else model.decoder[0]
    middle = parts.middle[0].input_size  # type: ignore[attr-defined]
    yield from _chain(parts.before, (None, None), shared)
    yield from _chain(parts.middle, (None, None, middle))
    if model.attention is not None and model.combine is not None:
        yield row_of(model.attention, (None, None, model.attention.key_size), "  ")
        yield row_of(model.combine, (None, None, parts.width), "  ")
    yield from _chain(parts.after, (None, None, parts.width))
    if parts.head is not None:
        yield row_of(parts.head, (None, None, parts.classes), "  ")
    else:
        yield "  the decoder's Embedding", f"(None, None, {parts.classes})", "0"


def _chain(layers: Sequence[Layer], shape: Shape, shared: Layer | None = None) -> Iterator[Row]:
    for layer in layers:
        shape = layer.output_shape(shape)
        if layer is shared:
            yield "  the encoder's Embedding", "(" + ", ".join(map(str, shape)) + ")", "0"
        else:
            yield row_of(layer, shape, "  ")
