"""What a model's file means: the structure as strict JSON, one tensor per parameter. `load` rebuilds by allow-list."""

from __future__ import annotations

import inspect
import json
import math
import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .. import _checks
from .._arrays import Array
from ..layers.containers import DEEPEST, Container
from ..layers.freezing import frozen_names
from ..layers.layer import Layer
from ..layers.parameters import outside
from ..layers.registry import built_in_class, registered_class, registered_name
from ..losses.objects import LossObject
from ..losses.saved import read_loss, read_metrics, saved_loss, saved_metrics
from .marks import KeyCounts, Unmarking, marked
from .plain import checked, checked_as_is
from .streams import kind_of, place_of
from .strict_json import ModelFileError, check_size, parse
from .tensors import Contents, Tensor, write
from .tensors import check as check_contents

if TYPE_CHECKING:
    from ..models.trainable import Trainable

_FORMAT, _VERSION = "pylstm model", 1
_CUSTOM_VERSION = 2  # of files whose model is a registered class, in place of layers one after another
_MODEL = "Sequential"  # what a file holds, and the one class with metadata
_LAYERS = 2**14  # in a file: the description of one takes few bytes, and the layer itself a thousand
_NAMES = 2**18  # of parameters, counted again for each container around them
_TRAINING = "training/"  # before the names of a checkpoint's own tensors


def save(
    model: Trainable,
    path: str | os.PathLike[str] | BinaryIO,
    training: tuple[dict[str, Any], dict[str, Array]] | None = None,
    format: str | None = None,  # noqa: A002 - the argument's name
) -> None:
    """Write model, and `training` (numbers and arrays of a checkpoint), to a path or file object."""
    place = place_of(path, format, writing=True)
    write(place, *_contents(model, training))


def check(model: Trainable, path: str | os.PathLike[str], training: tuple[dict[str, Any], dict[str, Array]]) -> None:
    """Raises what `save` would raise, but for what the file system has to say. Writes nothing."""
    check_contents(kind_of(_checks.path("path", path)), *_contents(model, training))


def _contents(
    model: Trainable, training: tuple[dict[str, Any], dict[str, Array]] | None
) -> tuple[str, dict[str, Array]]:
    structure = describe(model)
    arrays = outside().run(lambda: dict(model.params))  # in a run of the model, too: of a signal handler
    if training is not None:
        numbers, extra = training
        structure["training"] = checked(numbers, "training")
        arrays.update({_TRAINING + name: array for name, array in extra.items()})
    text = json.dumps(structure, ensure_ascii=False, allow_nan=False)
    check_size(text)
    return text, arrays


def describe(model: Trainable) -> dict[str, Any]:
    """The structure of a model's file. Raises TypeError or ValueError for a model that cannot be saved."""
    metrics = model._metrics
    budget = _Budget(_LAYERS, _NAMES, 0)
    spec = _spec(model, budget, 0)
    own = "layers" in spec
    return {
        "format": _FORMAT,
        "version": _VERSION if own else _CUSTOM_VERSION,
        **({"layers": spec["layers"]} if own else {"model": spec}),
        **({"frozen": frozen} if (frozen := frozen_names(model)) else {}),
        "dropout": model._dropout_state(),
        "loss": saved_loss(model._loss),
        **({} if (own_loss := lost_loss(model)) is None else {"own_loss": own_loss}),
        "metrics": None if metrics is None else saved_metrics(metrics),
        **_metadata_form(model.metadata, "metadata", budget.counts),
    }


def lost_loss(model: Trainable) -> str | None:
    """How the loss is called that the model was trained with and that no file holds: "" where it has no name that says
    anything. None: it is held, or there is none."""
    loss = model._loss
    if loss is None:
        return model._own_loss
    if saved_loss(loss) is not None:
        return None
    inner = loss.func if isinstance(loss, partial) else loss
    name = str(getattr(inner, "__name__", type(inner).__name__))
    name = name if name.isidentifier() and len(name) <= 100 else ""
    return f"functools.partial({name}, ...)" if isinstance(loss, partial) else name


def without_functions(model: Trainable, attributes: dict[str, Any]) -> None:
    """Takes functions out of what a pickle of the model holds: they may be local ones, which do not pickle."""
    if _is_function(attributes.get("_loss")):
        attributes["_own_loss"], attributes["_loss"] = lost_loss(model), saved_loss(attributes["_loss"])
    if any(map(_is_function, attributes.get("_metrics") or ())):
        attributes["_metrics"] = [metric for metric in attributes["_metrics"] if not _is_function(metric)]


def _is_function(thing: object) -> bool:
    return callable(thing) and not isinstance(thing, LossObject)


def metadata_of(value: object, name: str) -> dict[str, Any]:
    """A deep copy of a model's metadata, as it will be read again."""
    return _copied(value, name, KeyCounts())[0]


def _copied(value: object, name: str, counts: KeyCounts) -> tuple[dict[str, Any], bool]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict, got {_checks.kind(value)}")
    return checked_as_is(dict(value), name, counts)


def _metadata_form(value: object, name: str, counts: KeyCounts) -> dict[str, Any]:
    """What a file says about metadata: JSON that means itself, or, where JSON knows no such things, marked."""
    copy, odd = _copied(value, name, counts)
    return {"metadata": marked(copy), "marked": True} if odd else {"metadata": copy}


def _metadata(spec: Mapping[str, Any], unmarking: Unmarking) -> dict[str, Any]:
    found = spec.get("metadata", {})
    if "marked" in spec:
        _expect(spec["marked"] is True, "metadata is malformed")
        found = unmarking.of(found)
    if not isinstance(found, dict):
        raise ModelFileError("metadata is malformed")
    return found


class _Budget:
    """What a file may still declare: layers, names of parameters over all containers, tensors that it holds."""

    def __init__(self, layers: int, names: int, tensors: int) -> None:
        self.layers, self.names, self.tensors, self.all_tensors = layers, names, tensors, tensors
        self.unmarking, self.counts = Unmarking(), KeyCounts()

    def take_layer(self) -> None:
        self.layers -= 1
        if self.layers < 0:
            raise ValueError(f"a file holds at most {_LAYERS} layers, the containers among them")

    def take_names(self, count: int) -> None:
        self.names -= count  # each container has a list of all names below it
        if self.names < 0:
            raise ValueError(f"there are more than {_NAMES} names of parameters in containers in containers")

    def take_tensors(self, name: str, count: int) -> None:
        """Of a recurrent layer, whose few bytes can declare any number of tensors. Called before there is anything."""
        self.tensors -= count
        if self.tensors < 0:
            raise ModelFileError(f"{name} claims {count} tensors, and the file has {self.all_tensors} for all layers")


def _spec(layer: Layer, budget: _Budget, depth: int) -> dict[str, Any]:
    name = type(layer).__name__
    budget.take_layer()
    known = built_in_class(name) is type(layer)
    if known and isinstance(layer, Container):
        budget.take_names(len(layer._param_shapes))
        spec: dict[str, Any] = {"class": name, "layers": [_spec(inner, budget, depth + 1) for inner in layer.layers]}
        return spec | _inner_metadata(layer, budget, depth)
    if known and hasattr(layer, "_file_parts"):
        budget.take_names(len(layer._param_shapes))
        parts = {
            part: [_spec(inner, budget, depth + 1) for inner in layers] for part, layers in layer._file_parts().items()
        }
        config = checked(layer._config(), f"the arguments of {name}")
        return {"class": name, "parts": parts, "config": config} | _inner_metadata(layer, budget, depth)
    if (registered := registered_name(type(layer))) is not None:
        budget.take_names(len(layer._param_shapes))
        return {"class": registered, "config": _own_config(layer)} | _inner_metadata(layer, budget, depth)
    if not known:
        what = f"{type(layer).__qualname__} is not a layer of pylstm: only those can be saved"
        if isinstance(layer, Container):
            what += f" (a file would lose what the class adds: make a {type(layer).__mro__[1].__name__} of its .layers)"
        raise TypeError(
            f"{what}; make it known with @pylstm.register before the class, use pickle, or save state_dict()"
        )
    config = {key: str(value) if key == "dtype" else value for key, value in layer._config().items()}
    return {"class": name, "config": checked(config, f"the arguments of {name}")}


def _inner_metadata(layer: Layer, budget: _Budget, depth: int) -> dict[str, Any]:
    """Of a model in another one."""
    metadata = getattr(layer, "metadata", None)
    if not depth or not metadata:
        return {}
    return _metadata_form(metadata, f"metadata of an inner {type(layer).__name__}", budget.counts)


def _own_config(layer: Layer) -> dict[str, Any]:
    """The arguments of a registered class, from which it can be made again."""
    kind = type(layer)
    config: dict[str, Any] = checked(dict(layer.get_config()), f"the arguments of {kind.__name__}")
    if kind.from_config.__func__ is Layer.from_config.__func__:  # type: ignore[attr-defined]
        try:
            inspect.signature(kind).bind(**config)
        except TypeError as error:
            raise TypeError(
                f"{kind.__name__} cannot be made of what its get_config gives: {error}; write from_config(cls, config)"
            ) from None
    return config


def read_model(contents: Contents, *, training: bool) -> tuple[Trainable, dict[str, Any] | None, dict[str, Array]]:
    """The model of a file and, of a checkpoint and if wanted, the numbers and arrays of its training."""
    structure = parse(contents.text)
    _expect(isinstance(structure, dict) and structure.get("format") == _FORMAT, "it is not a model of pylstm")
    version = structure.get("version")
    known = type(version) is int and version in (_VERSION, _CUSTOM_VERSION)
    versions = f"{_VERSION} and {_CUSTOM_VERSION}"
    _expect(known, f"it has version {version!r:.80} of the format, and this pylstm knows {versions}")
    what = "layers" if version == _VERSION else "model"
    _keys("the structure", structure, {"format", "version", what, "dropout", "loss", "metrics", "metadata"},
          {"training", "marked", "frozen", "own_loss"})  # fmt: skip
    names = list(contents.tensors)
    numbers = structure.get("training")
    extra = [name for name in names if name.startswith(_TRAINING)] if numbers is not None else []
    budget = _Budget(_LAYERS, _NAMES, len(names) - len(extra))
    model: Any
    if version == _VERSION:
        budget.take_layer()
        model = _container(_MODEL, structure["layers"], budget, 0)
    else:
        model = _layer(structure["model"], budget, 0)
        _expect(hasattr(model, "fit"), f"a {type(model).__name__} is no model")
    own = set(extra)
    _check_tensors(model, {name: contents.tensors[name] for name in names if name not in own})

    loss, metrics = _known("loss", read_loss, structure), _known("metrics", read_metrics, structure)
    own_loss = structure.get("own_loss")
    _expect(own_loss is None or (isinstance(own_loss, str) and len(own_loss) < 200 and own_loss.isprintable()),
            "the name of the loss is malformed")  # fmt: skip
    metadata = _metadata(structure, budget.unmarking)
    _expect(numbers is None or isinstance(numbers, dict), "training is malformed")
    _set_dropout(model, structure["dropout"])
    _set_frozen(model, structure.get("frozen", []))
    model._loss, model._metrics, model.metadata = loss, metrics, metadata
    model._own_loss = own_loss
    model._set_params({name: contents.read(name) for name in model._param_shapes})
    model._set_learned()
    return model, numbers, {name[len(_TRAINING) :]: contents.read(name) for name in extra if training}


def _known(what: str, read: Any, structure: dict[str, Any]) -> Any:
    try:
        return read(structure[what])
    except (TypeError, ValueError, KeyError) as error:
        raise ModelFileError(f"unknown {what}: {str(error)[:300]}") from error


def _set_dropout(model: Trainable, state: Any) -> None:
    parts = model._random_layers()
    counts = [len(part._dropout_state()) for part in parts]
    good = isinstance(state, list) and len(state) == sum(counts)
    _expect(good and all(type(n) is int and 0 <= n < 2**64 for n in state), "the state of dropout is malformed")
    for part, count in zip(parts, counts, strict=True):
        own, state = state[:count], state[count:]
        _expect(own[-1] < 2**part._call_bits, "the state of dropout is malformed")
        part._set_dropout_state(own)


def _set_frozen(model: Trainable, names: Any) -> None:
    owners = {prefix[:-1]: layer for prefix, layer in model._owners()}
    good = isinstance(names, list) and all(isinstance(name, str) and name in owners for name in names)
    _expect(good and len(set(names)) == len(names), "the names of the frozen layers are malformed")
    for name in names:
        owners[name]._set_trainable(False)


def _container(name: str, specs: Any, budget: _Budget, depth: int) -> Container:
    _expect(isinstance(specs, list) and len(specs) > 0, f"the layers of {name} are malformed")
    _expect(depth < DEEPEST, "layers are nested too deeply")
    inner = [_layer(spec, budget, depth + 1) for spec in specs]
    kind: Any = built_in_class(name)
    container: Container = kind.__new__(kind)
    budget.take_names(sum(len(layer._param_shapes) for layer in inner))
    try:
        container._configure(inner)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"the layers do not fit: {str(error)[:300]}") from error
    return container


def _layer(spec: Any, budget: _Budget, depth: int) -> Layer:
    """A layer as its constructor would make it, but without parameters: nothing is allocated yet."""
    _expect(isinstance(spec, dict) and isinstance(spec.get("class"), str), "the description of a layer is malformed")
    budget.take_layer()
    name = spec["class"]
    kind: Any = built_in_class(name)
    if kind is None and (own := registered_class(name)) is not None:
        return _registered(own, spec, budget)
    if kind is None:
        raise ModelFileError(
            f"unknown layer {name[:80]!r}: if it is a class of your own, import the module that registers it "
            "(@pylstm.register) before you load"
        )
    if issubclass(kind, Container):
        _keys(name, spec, {"class", "layers"}, {"metadata", "marked"} if name == _MODEL else set())
        container: Any = _container(name, spec["layers"], budget, depth)
        if name == _MODEL:
            container.metadata = _metadata(spec, budget.unmarking)
        return container  # type: ignore[no-any-return]
    if hasattr(kind, "_from_parts"):
        return _of_parts(kind, spec, budget, depth)
    _keys(name, spec, {"class", "config"})
    config = spec["config"]
    _expect(isinstance(config, dict), f"the arguments of {name} are malformed")
    _keys(f"the arguments of {name}", config, set(kind._config_names))
    if "dtype" in config:
        _expect(config["dtype"] in ("float32", "float64"), f"{name} has an unknown dtype")
    budget.take_tensors(name, kind._claims(config))
    layer: Any = kind.__new__(kind)
    try:
        layer._configure(**config)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{name}: {str(error)[:300]}") from error
    return layer  # type: ignore[no-any-return]


def _of_parts(kind: Any, spec: dict[str, Any], budget: _Budget, depth: int) -> Layer:
    """A model of the library's that has several lists of layers."""
    name = spec["class"]
    _keys(name, spec, {"class", "parts", "config"}, {"metadata", "marked"} if depth else set())
    _expect(depth < DEEPEST, "layers are nested too deeply")
    parts, config = spec["parts"], spec["config"]
    _expect(isinstance(parts, dict) and isinstance(config, dict), f"the arguments of {name} are malformed")
    _keys(f"the parts of {name}", parts, set(kind._part_names))
    _keys(f"the arguments of {name}", config, set(kind._config_names))
    _expect(all(isinstance(one, list) for one in parts.values()), f"the layers of {name} are malformed")
    made = {part: [_layer(one, budget, depth + 1) for one in specs] for part, specs in parts.items()}
    try:
        model = kind._from_parts(made, config)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{name}: {str(error)[:300]}") from error
    budget.take_names(len(model._param_shapes))
    if depth:
        model.metadata = _metadata(spec, budget.unmarking)
    return model  # type: ignore[no-any-return]


def _registered(kind: Any, spec: dict[str, Any], budget: _Budget) -> Layer:
    """An object of a registered class, whose constructor is somebody's own: it may do anything with its arguments, and
    so may take memory for its parameters before it is known that the file has them."""
    name, config = spec["class"], spec.get("config")
    _keys(name, spec, {"class", "config"}, {"metadata", "marked"} if hasattr(kind, "metadata") else set())
    if not isinstance(config, dict):
        raise ModelFileError(f"the arguments of {name} are malformed")
    try:
        layer = kind.from_config(config)
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        text = f"{name} cannot be made of the arguments in the file: {type(error).__name__}: {str(error)[:300]}"
        raise ModelFileError(text) from error
    if type(layer) is not kind:
        raise ModelFileError(f"{name} cannot be made: its from_config gave {_checks.kind(layer)}")
    if "metadata" in spec:
        layer.metadata = _metadata(spec, budget.unmarking)
    budget.take_names(len(layer._param_shapes))
    return layer  # type: ignore[no-any-return]


def _check_tensors(model: Trainable, tensors: Mapping[str, Tensor]) -> None:
    shapes, dtypes = model._param_shapes, model._param_dtypes()
    if missing := [name for name in shapes if name not in tensors]:
        raise ModelFileError("missing tensors: " + ", ".join(name[:80] for name in missing[:10]))
    if unknown := [name for name in tensors if name not in shapes]:
        raise ModelFileError("unknown tensors: " + ", ".join(name[:80] for name in unknown[:10]))
    for name, shape in shapes.items():
        if tensors[name] != (str(dtypes[name]), shape):
            found, dtype = tensors[name], dtypes[name]
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
        return {name: to_json(own) for name, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(own) for own in value]
    if isinstance(value, np.generic) and value.dtype.kind in "iuf":
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    return value  # what is none of JSON's is refused where it is written, naming the place
