"""Layers and models of ours as ONNX files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ... import _checks
from ...layers.attention import Attention
from ...layers.composite import Composite
from ...layers.containers import Columns, Container
from ...layers.embedding import Embedding
from ...layers.layer import Layer
from ..atomic import replacing
from . import writing
from .emitting import OPSET, Emitter, Name
from .layer_nodes import recurrent_layers, write_layer

MOST_BYTES = 2**31 - 2**16  # of a protocol buffer


def to_onnx(
    model: Layer,
    path: str | os.PathLike[str],
    x: ArrayLike | tuple[ArrayLike, ...] | None = None,
    *,
    lengths: bool = False,
    states: bool = False,
    fixed_sizes: bool = False,
    dtype: DTypeLike = np.float32,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a layer or model as an ONNX file, for onnxruntime, OpenVINO and whatever else reads such files.

    A file computes what a call of the model does: dropout does nothing. Inputs and outputs are of `dtype`, symbols
    int64. Sizes of batches and steps are left open. Needs NumPy alone; files are of opset 17. `pylstm.from_onnx` reads
    them back, and computes the bits of a model of that dtype, but for a projection (`proj_size`), which ONNX does not
    have: it is multiplied into the weights, whose sums are others then.

    The inputs are called "x" (of a model several: "x0", "x1" ..), "lengths", and with states "h" and for an LSTM "c",
    behind the place of the layer where there are several recurrent layers ("1.h"); the outputs "y" ("y0" ..) and
    "h_out", "c_out".

    Args:
        model: a layer, `Sequential`, or `Model` whose run does the same for all inputs: it is run a few times, and
            what it does with values is written down. Of an `Attention` the inputs are (query, keys).
        path: of the file; it is written whole or not at all.
        x: an example of the input, of several a tuple of them. A `Model` needs one, and so does what has one in it. Of
            others it says whether vectors (N, F) or sequences (N, T, F) go in, where the layers take both; without it
            sequences where a layer is for them.
        lengths: whether the sequences' lengths (N,) are an input, too.
        states: whether the states of the recurrent layers are inputs and outputs, so that a long sequence can go
            through in pieces.
        fixed_sizes: whether batches and steps are those of the example for good. OpenVINO needs that for the final
            states of sequences with lengths, and a `Model` whose run goes through the steps in a loop.
        dtype: float32, to which the weights of a float64 model are rounded; or float64, in which other programs
            compute some operators only: onnxruntime neither recurrent nodes nor convolutions.
        metadata: name -> text, to be kept in the file; None: that of the model.

    Raises:
        ValueError: a layer that is not written, or a run that depends on sizes; it says which.
        TypeError: a wrong argument.
        OSError: the file cannot be written; then there is none, or the old one.

    >>> pylstm.to_onnx(pylstm.LSTM(3, 4, batch_first=True), "lstm.onnx", states=True)  # doctest: +SKIP
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a layer or a model of pylstm's, got {_checks.kind(model)}")
    place = _checks.path("path", path)
    lengths, states = _checks.flag("lengths", lengths), _checks.flag("states", states)
    if _checks.flag("fixed_sizes", fixed_sizes) and x is None:
        raise ValueError("fixed_sizes=True needs an example of that size: to_onnx(model, path, x)")
    graph = Emitter(_checks.real_dtype("dtype", dtype))
    texts = _texts(model, metadata)
    if _is_run(model):
        from .run_graphs import write_run

        written = write_run(graph.dtype, model, x, lengths, states, fixed_sizes)
    else:
        written = _write_layers(graph, model, x, lengths, states, fixed_sizes)
    data = writing.model(written, OPSET, texts)
    if len(data) > MOST_BYTES:
        raise ValueError(f"the model would take {len(data)} bytes, and an ONNX file can have {MOST_BYTES}")
    with replacing(place) as file:
        file.write(data)


def _is_run(model: Layer) -> bool:
    """Whether a model has plain Python in it, and is not layers one after another."""
    if isinstance(model, Container):
        return any(_is_run(layer) for layer in model.layers)
    return isinstance(model, (Composite, Attention))


def _texts(model: Layer, metadata: Any) -> dict[str, str]:
    if metadata is None:
        return {str(key): str(text) for key, text in (getattr(model, "metadata", None) or {}).items()}
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a dict of texts, got {_checks.kind(metadata)}")
    for key, text in metadata.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(f"metadata must be a dict of texts, got {key!r}: {_checks.kind(text)}")
    return dict(metadata)


def _write_layers(graph: Emitter, model: Any, x: Any, lengths: bool, states: bool, fixed: bool) -> writing.GraphBytes:
    symbols = _takes_symbols(model)
    axes, width = _form(model, x, symbols)
    batch: Any = "N"
    if fixed:
        axes = list(np.asarray(x).shape[: len(axes)])
        batch = axes[1] if model.returns_state and not model.batch_first else axes[0]
    graph.new("x")
    inputs = [writing.value("x", np.int64 if symbols else graph.dtype, [*axes, *([] if width is None else [width])])]
    start = Name("x", len(axes) + (width is not None), width)
    lens = None
    if lengths:
        if start.ndim < (2 if symbols and not isinstance(model, Columns) else 3):
            raise ValueError("lengths is for sequences, and vectors go into this model")
        graph.new(lens := "lengths")
        inputs.append(writing.value("lengths", np.int64, [batch]))
    layers = recurrent_layers(model)
    begins: dict[int, Any] = {}
    if states:
        if not layers:
            raise ValueError(f"states=True is for models with recurrent layers, and {model!r} has none")
        for place, layer in _places(model, layers):
            names = []
            for letter, size in zip(layer._state_names, layer._state_sizes, strict=True):
                graph.new(name := f"{place}{letter}")
                names.append(name)
                inputs.append(writing.value(name, graph.dtype, [layer.num_layers * layer.num_directions, batch, size]))
            begins[id(layer)] = names
    for name in ("y", "h_out", "c_out"):
        graph.new(name)
    given = begins.get(id(model)) if model.returns_state else begins
    y, after = write_layer(graph, model, start, lens, given or None)
    graph.end(y.name, "y", _out_axes(model, y, axes))
    if states:
        found = {id(model): after} if model.returns_state else after
        for place, layer in _places(model, layers):
            for letter, size, name in zip(layer._state_names, layer._state_sizes, found[id(layer)], strict=True):
                shape = [layer.num_layers * layer.num_directions, batch, size]
                graph.end(name, f"{place}{letter}_out", shape)
    return graph.finished(inputs, type(model).__name__)


def _out_axes(model: Layer, y: Name, axes: list[Any]) -> list[Any]:
    names = list(axes[: y.ndim - 1])
    if any(type(layer).__name__ == "Conv1d" for layer in _leaves(model)):
        names = [axis if at != 1 else "T_out" for at, axis in enumerate(names)]
    return [*names, y.width]


def _leaves(layer: Layer) -> list[Layer]:
    return [one for inner in layer.layers for one in _leaves(inner)] if isinstance(layer, Container) else [layer]


def _places(model: Layer, layers: list[Any]) -> list[tuple[str, Any]]:
    """What stands before the names of the recurrent layers' states."""
    if len(layers) < 2:
        return [("", layer) for layer in layers]
    found: list[tuple[str, Any]] = []

    def walk(layer: Any, place: str) -> None:
        if isinstance(layer, Container):
            for at, inner in enumerate(layer.layers):
                walk(inner, f"{place}{at}.")
        elif layer.returns_state:
            found.append((place, layer))

    walk(model, "")
    return found


def _takes_symbols(layer: Layer) -> bool:
    while isinstance(layer, Container) and not isinstance(layer, Columns):
        layer = layer.layers[0]
    return isinstance(layer, (Embedding, Columns))


def _form(model: Layer, x: Any, symbols: bool) -> tuple[list[Any], int | None]:
    """Names of the input's first axes, and how many numbers the last one has; None: symbols without such an axis."""
    known = model.input_shape()
    width = known[-1] if known is not None else None
    columns = symbols and width is not None and isinstance(_first(model), Columns)
    if symbols and not columns:
        width = None
    if x is not None:
        array = np.asarray(x)
        if not symbols and array.ndim and width is None:
            width = array.shape[-1]
        axes = array.ndim - (0 if symbols and not columns else 1)
        if axes not in (1, 2):
            raise ValueError(f"x has shape {array.shape}, and must be vectors or sequences with the batch first")
    else:
        if width is None and not symbols:
            raise ValueError("how many features go in is not known: give an example, to_onnx(model, path, x)")
        axes = 2 if symbols or any(_for_sequences(layer) for layer in _leaves(model)) else 1
    time_first = model.returns_state and not model.batch_first
    return (["T", "N"] if time_first else ["N", "T"])[:axes] if axes == 2 else ["N"], width


def _first(layer: Layer) -> Layer:
    while isinstance(layer, Container) and not isinstance(layer, Columns):
        layer = layer.layers[0]
    return layer


def _for_sequences(layer: Layer) -> bool:
    return layer.returns_state or not layer.keeps_time or type(layer).__name__ == "Conv1d"
