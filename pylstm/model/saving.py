"""What a model's file means: the structure as strict JSON, one tensor per parameter. `load` rebuilds by allow-list."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import _checks, layers
from .._arrays import Array
from .._recurrent import Recurrent
from . import basic, containers, pooling
from .containers import AnyLayer, Container
from .files import Contents, ModelFileError, Tensor, opened, strict_json, write
from .layer import Layer
from .losses import BY_NAME
from .sequential import Sequential

_FORMAT, _VERSION = "pylstm model", 1
_DEPTH = 16  # of containers in containers
_TRAINING = "training/"  # before the names of a checkpoint's own tensors

_PLAIN: dict[str, type[Layer] | type[Recurrent[Any]]] = {
    kind.__name__: kind
    for kind in (
        basic.Embedding, basic.Linear, basic.Dropout, basic.Activation, pooling.LastStep, pooling.MeanOverTime,
        pooling.MaxOverTime, layers.LSTM, layers.GRU, layers.RNN,
    )
}  # fmt: skip
_CONTAINERS: dict[str, type[Container]] = {
    kind.__name__: kind for kind in (Sequential, containers.Residual, containers.Columns)
}


def save(
    model: Sequential, path: str | os.PathLike[str], training: tuple[dict[str, Any], dict[str, Array]] | None = None
) -> None:
    """Write model, and `training` (numbers and arrays of a checkpoint), to `path`."""
    loss = model._loss if isinstance(model._loss, str) else getattr(model._loss, "__name__", None)
    metrics = model._metrics
    structure: dict[str, Any] = {
        "format": _FORMAT,
        "version": _VERSION,
        "layers": [_spec(layer) for layer in model.layers],
        "dropout": model._dropout_state(),
        "loss": loss if loss in BY_NAME else None,
        "metrics": [m for m in metrics if isinstance(m, str)] if metrics is not None else None,
        "metadata": model.metadata,
    }
    arrays = dict(model.params)
    if training is not None:
        numbers, extra = training
        structure["training"] = numbers
        arrays.update({_TRAINING + name: array for name, array in extra.items()})
    try:
        text = json.dumps(structure, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"metadata must be of JSON's types (dict, list, str, int, finite float): {error}") from error
    write(Path(path), text, arrays)


def _spec(layer: AnyLayer) -> dict[str, Any]:
    name = type(layer).__name__
    if isinstance(layer, Container) and type(layer) is _CONTAINERS.get(name):
        return {"class": name, "layers": [_spec(inner) for inner in layer.layers]}
    if type(layer) is not _PLAIN.get(name):
        raise TypeError(f"{type(layer).__qualname__} is not a layer of pylstm: only those can be saved; use pickle, "
                        "or save state_dict()")  # fmt: skip
    config = {key: str(value) if key == "dtype" else value for key, value in layer._config().items()}
    return {"class": name, "config": config}


def load(path: str | os.PathLike[str]) -> Sequential:
    """Read a model that `Sequential.save` or `ModelCheckpoint` wrote.

    Raises ModelFileError (a ValueError) saying what is wrong with a file that is damaged or is not such a model, and
    OSError where it cannot be read. Never executes anything, and reads no tensor before all have been checked.
    """
    with opened(Path(path)) as contents:
        return read_model(contents)[0]


def read_model(contents: Contents) -> tuple[Sequential, dict[str, Any] | None, dict[str, Array]]:
    """The model of a file and, of a checkpoint, the numbers and arrays of its training."""
    structure = strict_json(contents.text)
    _expect(isinstance(structure, dict) and structure.get("format") == _FORMAT, "it is not a model of pylstm")
    version = structure.get("version")
    _expect(version == _VERSION, f"it has version {version!r} of the format, and this pylstm knows {_VERSION}")
    _keys("the structure", structure, {"format", "version", "layers", "dropout", "loss", "metrics", "metadata"},
          {"training"})  # fmt: skip
    names = list(contents.tensors)
    model = _container("Sequential", structure["layers"], len(names), 0)
    assert isinstance(model, Sequential)
    training = structure.get("training")
    extra = [name for name in names if name.startswith(_TRAINING)] if training is not None else []
    _check_tensors(model, {name: contents.tensors[name] for name in names if name not in extra})

    _expect(structure["loss"] is None or structure["loss"] in tuple(BY_NAME), "unknown loss")
    _expect(structure["metrics"] in (None, [], ["accuracy"]), "unknown metrics")
    _expect(isinstance(structure["metadata"], dict), "metadata is malformed")
    _expect(training is None or isinstance(training, dict), "training is malformed")
    model._set_params({name: contents.read(name) for name in model._param_shapes})
    _set_dropout(model, structure["dropout"])
    model._loss, model._metrics, model.metadata = structure["loss"], structure["metrics"], structure["metadata"]
    return model, training, {name[len(_TRAINING) :]: contents.read(name) for name in extra}


def _set_dropout(model: Sequential, state: Any) -> None:
    good = isinstance(state, list) and all(type(n) is int and 0 <= n < 2**64 for n in state)
    _expect(good and len(state) == len(model._dropout_state()), "the state of dropout is malformed")
    model._set_dropout_state(state)


def _container(name: str, specs: Any, tensors: int, depth: int) -> Container:
    _expect(isinstance(specs, list) and len(specs) > 0, f"the layers of {name} are malformed")
    _expect(depth < _DEPTH, "layers are nested too deeply")
    inner = [_layer(spec, tensors, depth + 1) for spec in specs]
    container = _CONTAINERS[name].__new__(_CONTAINERS[name])
    try:
        container._configure(inner)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"the layers do not fit: {error}") from error
    return container


def _layer(spec: Any, tensors: int, depth: int) -> AnyLayer:
    """A layer as its constructor would make it, but without parameters: nothing is allocated yet."""
    _expect(isinstance(spec, dict) and isinstance(spec.get("class"), str), "the description of a layer is malformed")
    name = spec["class"]
    if name in _CONTAINERS:
        _keys(name, spec, {"class", "layers"})
        return _container(name, spec["layers"], tensors, depth)
    _expect(name in _PLAIN, f"unknown layer {name[:80]!r}")
    _keys(name, spec, {"class", "config"})
    kind, config = _PLAIN[name], spec["config"]
    _expect(isinstance(config, dict), f"the arguments of {name} are malformed")
    _keys(f"the arguments of {name}", config, set(kind._config_names))
    if "dtype" in config:
        _expect(config["dtype"] in ("float32", "float64"), f"{name} has an unknown dtype")
    layers_claimed = config.get("num_layers", 0)
    if type(layers_claimed) is int and layers_claimed > tensors:  # a description of 10^9 layers fits in few bytes
        raise ModelFileError(f"{name} claims {layers_claimed} layers, and the file has {tensors} tensors")
    layer: Any = kind.__new__(kind)
    try:
        layer._configure(**config)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{name}: {error}") from error
    if isinstance(layer, Recurrent):
        layer._dropout_seed = layer._dropout_calls = 0  # set for the whole model later
    return layer  # type: ignore[no-any-return]


def _check_tensors(model: Sequential, tensors: Mapping[str, Tensor]) -> None:
    shapes, dtype = model._param_shapes, str(model.dtype)
    if missing := [name for name in shapes if name not in tensors]:
        raise ModelFileError("missing tensors: " + ", ".join(missing[:10]))
    if unknown := [name for name in tensors if name not in shapes]:
        raise ModelFileError("unknown tensors: " + ", ".join(name[:80] for name in unknown[:10]))
    for name, shape in shapes.items():
        if tensors[name] != (dtype, shape):
            found = tensors[name]
            raise ModelFileError(f"{name} must be {dtype} of shape {shape}, got {found.dtype} of shape {found.shape}")


def _keys(what: str, value: Mapping[str, Any], needed: set[str], allowed: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    if missing := sorted(needed - value.keys()):
        raise ModelFileError(f"{what} lacks {', '.join(missing)}")
    if unknown := sorted(value.keys() - needed - allowed):
        raise ModelFileError(f"{what} has unknown keys: {', '.join(name[:80] for name in unknown[:10])}")


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise ModelFileError(message)


# ---- numbers and arrays of checkpoints -------------------------------------------------------------------------------


def to_json(value: Any) -> Any:
    """Numbers of a state for JSON, which knows no infinities: they become words that `float` reads."""
    if isinstance(value, Mapping):
        return {str(name): to_json(own) for name, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(own) for own in value]
    if isinstance(value, (np.generic, float)) and not isinstance(value, np.bool_):
        number = value.item() if isinstance(value, np.generic) else value
        return number if isinstance(number, int) or math.isfinite(number) else str(number)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise TypeError(f"a state must hold numbers, strings and arrays, got {_checks.kind(value)}")
