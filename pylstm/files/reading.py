"""A model of what its file says: by allow-list, everything checked before a tensor is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import _checks
from .._arrays import Array
from ..layers.containers import DEEPEST, Container
from ..layers.layer import Layer
from ..layers.registry import built_in_class, registered_class
from ..losses.saved import read_loss, read_metrics
from .marks import Unmarking
from .strict_json import ModelFileError, parse
from .structure import CUSTOM_VERSION, FORMAT, LAYERS, MODEL, NAMES, TRAINING, VERSION, Budget
from .tensors import Contents, Tensor

if TYPE_CHECKING:
    from ..models.trainable import Trainable


def read_model(contents: Contents, *, training: bool) -> tuple[Trainable, dict[str, Any] | None, dict[str, Array]]:
    """The model of a file and, of a checkpoint and if wanted, the numbers and arrays of its training."""
    structure = parse(contents.text)
    _expect(isinstance(structure, dict) and structure.get("format") == FORMAT, "it is not a model of pylstm")
    version = structure.get("version")
    known = type(version) is int and version in (VERSION, CUSTOM_VERSION)
    versions = f"{VERSION} and {CUSTOM_VERSION}"
    _expect(known, f"it has version {version!r:.80} of the format, and this pylstm knows {versions}")
    what = "layers" if version == VERSION else "model"
    _keys("the structure", structure, {"format", "version", what, "dropout", "loss", "metrics", "metadata"},
          {"training", "marked", "frozen", "own_loss"})  # fmt: skip
    names = list(contents.tensors)
    numbers = structure.get("training")
    extra = [name for name in names if name.startswith(TRAINING)] if numbers is not None else []
    budget = Budget(LAYERS, NAMES, len(names) - len(extra))
    model: Any
    if version == VERSION:
        budget.take_layer()
        model = _container(MODEL, structure["layers"], budget, 0)
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
    return model, numbers, {name[len(TRAINING) :]: contents.read(name) for name in extra if training}


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


def _container(name: str, specs: Any, budget: Budget, depth: int) -> Container:
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


def _layer(spec: Any, budget: Budget, depth: int) -> Layer:
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
        _keys(name, spec, {"class", "layers"}, {"metadata", "marked"} if name == MODEL else set())
        container: Any = _container(name, spec["layers"], budget, depth)
        if name == MODEL:
            container.metadata = _metadata(spec, budget.unmarking)
        return container  # type: ignore[no-any-return]
    if hasattr(kind, "_from_parts"):
        return _of_parts(kind, spec, budget, depth)
    _keys(name, spec, {"class", "config"})
    config = spec["config"]
    _expect(isinstance(config, dict), f"the arguments of {name} are malformed")
    later = set(kind._config_defaults)
    _keys(f"the arguments of {name}", config, set(kind._config_names) - later, later)
    if "dtype" in config:
        _expect(config["dtype"] in ("float32", "float64"), f"{name} has an unknown dtype")
    budget.take_tensors(name, kind._claims(config))
    layer: Any = kind.__new__(kind)
    try:
        layer._configure(**config)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{name}: {str(error)[:300]}") from error
    return layer  # type: ignore[no-any-return]


def _of_parts(kind: Any, spec: dict[str, Any], budget: Budget, depth: int) -> Layer:
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


def _registered(kind: Any, spec: dict[str, Any], budget: Budget) -> Layer:
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


def _metadata(spec: Mapping[str, Any], unmarking: Unmarking) -> dict[str, Any]:
    found = spec.get("metadata", {})
    if "marked" in spec:
        _expect(spec["marked"] is True, "metadata is malformed")
        found = unmarking.of(found)
    if not isinstance(found, dict):
        raise ModelFileError("metadata is malformed")
    return found


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
