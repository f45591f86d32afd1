"""Our models for Keras, without Keras."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from ... import _checks
from ...files.atomic import replacing
from ...files.keras.storing import ENDS, Layer, Part, h5_file, keras_file, weights_file
from ...layers.layer import Layer as OurLayer
from ..sequential import Sequential
from .describing import described
from .graph import Graph, can_be_whole
from .keras_model import KerasModel
from .names import Names

_VERSION = "3.0.0"  # the first whose files these are


def to_keras(model: OurLayer, path: str | os.PathLike[str]) -> None:
    """Write a model for Keras, which loads it and predicts the same.

    >>> pylstm.to_keras(pylstm.Sequential([pylstm.LSTM(3, 4, batch_first=True)]), "model.keras")
    >>> # in Keras: keras.models.load_model("model.keras").predict(x)

    A `Sequential` of layers that Keras has (Embedding, LSTM, GRU and RNN of any number of layers, Linear, Activation,
    Dropout, LayerNorm, Conv1d, LastStep, BothEnds, MaxOverTime, MeanOverTime) becomes one of Keras'; what `from_keras`
    read goes back with the config that it came with. Keras knows no `lengths`: in a `Sequential` all steps count, where
    no mask says otherwise. The two biases of a layer, of which Keras has one, are added up. Optimizers are not written.

    Args:
        model: a `Sequential`, a layer with batch_first=True, or a `KerasModel`.
        path: ends in .keras, in .h5, or in .weights.h5: the weights alone, for a model that Keras has. A `KerasModel`
            goes into the kind of file that it was read from, or into .weights.h5.

    Raises:
        ValueError: a layer that Keras does not have, naming it; another ending.
        TypeError: a wrong argument.
        OSError: the file cannot be written; then there is none, or the old one.
    """
    if not isinstance(model, OurLayer):
        raise TypeError(f"model must be a layer or a model of pylstm's, got {_checks.kind(model)}")
    place = _checks.path("path", path)
    end = next((one for one in ENDS if place.name.lower().endswith(one)), None)
    if end is None:
        raise ValueError(f"path must end in .keras, .h5 or .weights.h5, got {place.name!r}")
    version = _VERSION
    if isinstance(model, KerasModel):
        config, version = model._source, str(model.metadata.get("keras_version") or _VERSION)
        _check_kind(model, end)
        layers = list(_of_graph(model._graph))
    else:
        config, layers = described(model if isinstance(model, Sequential) else Sequential([model]))
    if end == ".weights.h5":
        data = weights_file(layers)
    else:
        data = keras_file(config, version, layers) if end == ".keras" else h5_file(config, version, layers)
    with replacing(place) as file:
        file.write(data)


def _check_kind(model: KerasModel, end: str) -> None:
    config = model._graph.config
    if end == ".weights.h5":
        return
    if not can_be_whole(config):
        raise ValueError(
            "this model is of Keras 1, or has layers for CuDNN, which today's Keras does not load: build it in Keras "
            "with today's layers, and give it a file that ends in .weights.h5"
        )
    if model._legacy != (end == ".h5"):
        kind = ".h5" if model._legacy else ".keras"
        raise ValueError(
            f"path must end in {kind}, as the file that this model came from, or in .weights.h5, got {end}: the config "
            "of another kind of file is another one. In Keras, load_model and save change the kind"
        )


def _of_graph(graph: Graph) -> Iterator[Layer]:
    names = Names()
    for name, step in graph.steps.items():
        config = graph.config.layers[name]
        if not config.is_layer:
            continue
        if config.kind == "InputLayer" and graph.config.kind == "Sequential":
            continue
        yield Layer(names.of(config.kind), name, _parts(step))


def _parts(step: Any) -> list[Part]:
    if isinstance(step, Graph):
        return [
            part._replace(way="/".join(one for one in ("layers", layer.group, part.way) if one))
            for layer in _of_graph(step)
            for part in layer.parts
        ]
    return [Part(way, list(arrays), step.states) for way, arrays in step.arrays()]
