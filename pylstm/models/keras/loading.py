"""Models of Keras as ours, without Keras."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any, BinaryIO, TypeVar

from ... import _checks
from ...files.keras.config import GraphConfig, Ref, generation_of, graph_config
from ...files.keras.containers import KerasFile, opened
from ...files.keras.weights import Listed, listed
from ...files.strict_json import ModelFileError
from ...layers.layer import Layer
from ..sequential import Sequential
from .building import Source, graph_of
from .graph import Graph, refs_of
from .keras_model import KerasModel
from .matching import into
from .operations import MaskOperation

Given = TypeVar("Given", bound=Layer)


def from_keras(
    path: str | os.PathLike[str] | BinaryIO,
    model: Any = None,
    mapping: Mapping[str, str] | None = None,
) -> Any:
    """A model of Keras, with its weights; or its weights for a model that is there.

    Keras is not needed, and nothing of a file is executed. Models of Keras 1, 2 and 3 are read, Sequential and
    Functional ones, also with models in them.

    A chain of layers that the library has becomes a `Sequential`; everything else (several inputs or outputs, masks,
    merged directions, states that are handed on ..) a `KerasModel`, which computes the graph of the file. Both train
    on, and `to_keras` writes them.

    What comes out is what Keras predicts, and training is that of Keras. A chain with `stateful` layers,
    BatchNormalization, noise or `recurrent_dropout` is a `KerasModel`; for what only a `Sequential` can do, `stream`
    and `save`, make one of the same layers and give it the weights.

    Args:
        path: of a .keras file, or of an .h5 file with a whole model; or such a file that is open for bytes. With a
            model also .weights.h5, and .h5 of weights alone.
        model: a layer or model that the weights are for. Layers of the file are ours in their order where the shapes of
            their weights fit. That of a GRU with the gates' two biases is `recurrent_bias=True`, else it is False.
        mapping: {our name of a layer: the file's}, where that does not say enough, e.g. {"0": "embedding_2"}; what is
            left over in the file is left aside then. A recurrent layer of several layers has them as "lstm.0" ..

    Returns:
        The model. Its `metadata` has "keras_version", "name", "layers" (names and classes), and "input_axes", the
        number of axes of the first input.

    Raises:
        ModelFileError: (a ValueError) the file is damaged, or holds what is not read: it says what, and what to do.
        ValueError: weights that do not fit the model.
        TypeError: a wrong argument.
        OSError: the file cannot be read.
    """
    if model is not None and not isinstance(model, Layer):
        raise TypeError(f"model must be a layer or a model of pylstm's, got {_checks.kind(model)}")
    with opened(path) as file:
        if model is not None:
            if isinstance(model, KerasModel) and mapping is None:
                _refill(file, model)
            else:
                into(file, model, mapping)
            return model
        if mapping is not None:
            raise ValueError("mapping is for a model that is given: from_keras(path, model, mapping)")
        return _model(file)


def _model(file: KerasFile) -> Any:
    if file.config is None:
        raise ModelFileError(
            "it has weights and no config: make the model, and give it, from_keras(path, model); or, in Keras, "
            'model.save("model.keras")'
        )
    graph = _graph(file, file.config, generation_of(file.version, file.config))
    config, chain = graph.config, _chain(graph)
    made: Any = None
    if chain is not None:
        with contextlib.suppress(ValueError):  # of layers alone that do not say which sizes they take
            made = Sequential(chain)
    if made is None:
        made = KerasModel(graph, file.config, file.legacy)
    made.metadata = {
        "keras_version": file.version,
        "name": config.name,
        "layers": [(name, layer.kind) for name, layer in config.layers.items()],
        "input_axes": _axes(config),
    }
    return made


def _axes(config: GraphConfig) -> int | None:
    """Of the first input, where the file says how many it has."""
    first = config.layers[next(refs_of(config.inputs)).layer]
    shape = first.get("batch_shape") or first.get("batch_input_shape")
    return len(shape) if isinstance(shape, list) else None


def _refill(file: KerasFile, model: KerasModel) -> None:
    """The weights of the file for the graph of the model."""
    graph = _graph(file, model._source, model._graph.config.generation)
    model.load_state_dict(KerasModel(graph, model._source, model._legacy).state_dict())


def _graph(file: KerasFile, given: Any, generation: int) -> Graph:
    try:
        config = graph_config(given, generation)
        source = Source((lambda layer: _listed(file, layer)) if file.legacy else None, file.root)
        return graph_of(config, source, _dtype(config))
    except RecursionError:
        raise ModelFileError("its config is nested too deeply") from None
    except ModelFileError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise ModelFileError(f"its config or weights are damaged: {str(error)[:300]}") from error


def _listed(file: KerasFile, layer: Any) -> Any:
    if layer.kind == "InputLayer" and file.root.group(layer.name) is None:
        return Listed(layer.name, [])
    return listed(file.root, layer.name)


def _dtype(config: GraphConfig) -> str:
    found = {layer.dtype() for layer in config.layers.values() if layer.kind != "InputLayer"}
    return "float64" if found == {"float64"} else "float32"


def _chain(graph: Graph) -> list[Layer] | None:
    """The layers one after the other, where the graph is a chain of such as we have, and nothing is masked."""
    config = graph.config
    if not isinstance(config.inputs, Ref) or not isinstance(config.outputs, Ref):
        return None
    found: list[Layer] = []
    before: Any = None
    for name, number, call in graph.order:
        step = graph.steps[name]
        if isinstance(step, MaskOperation):
            return None
        if number or len(config.layers[name].calls) != 1 or call.kwargs or (call.args != [before] and before):
            return None
        own = _chain(step) if isinstance(step, Graph) else step.chain()
        if own is None:
            return None
        found += own
        before = Ref(name, 0, 0)
    if before != config.outputs or not found:
        return None
    return found
