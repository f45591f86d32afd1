"""What a model's file says of it: the structure as strict JSON, and one tensor per parameter."""

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
from ..layers.containers import Container
from ..layers.freezing import frozen_names
from ..layers.layer import Layer
from ..layers.parameters import outside
from ..layers.registry import built_in_class, registered_name
from ..losses.objects import LossObject
from ..losses.saved import saved_loss, saved_metrics
from .marks import KeyCounts, marked
from .plain import checked, checked_as_is
from .streams import kind_of, place_of
from .strict_json import check_size
from .structure import CUSTOM_VERSION, FORMAT, LAYERS, NAMES, TRAINING, VERSION, Budget
from .tensors import check as check_contents
from .tensors import write

if TYPE_CHECKING:
    from ..models.trainable import Trainable


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
        arrays.update({TRAINING + name: array for name, array in extra.items()})
    text = json.dumps(structure, ensure_ascii=False, allow_nan=False)
    check_size(text)
    return text, arrays


def describe(model: Trainable) -> dict[str, Any]:
    """The structure of a model's file. Raises TypeError or ValueError for a model that cannot be saved."""
    metrics = model._metrics
    budget = Budget(LAYERS, NAMES, 0)
    spec = _spec(model, budget, 0)
    own = "layers" in spec
    return {
        "format": FORMAT,
        "version": VERSION if own else CUSTOM_VERSION,
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


def _spec(layer: Layer, budget: Budget, depth: int) -> dict[str, Any]:
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
    if not known and (how := getattr(layer, "_saved_by", None)) is not None:
        raise TypeError(how)
    if not known:
        what = f"{type(layer).__qualname__} is not a layer of pylstm: only those can be saved"
        if isinstance(layer, Container):
            what += f" (a file would lose what the class adds: make a {type(layer).__mro__[1].__name__} of its .layers)"
        raise TypeError(
            f"{what}; make it known with @pylstm.register before the class, use pickle, or save state_dict()"
        )
    config = {
        key: str(value) if key == "dtype" else value
        for key, value in layer._config().items()
        if key not in layer._config_defaults or value != layer._config_defaults[key]
    }
    return {"class": name, "config": checked(config, f"the arguments of {name}")}


def _inner_metadata(layer: Layer, budget: Budget, depth: int) -> dict[str, Any]:
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
