"""What the config of a model says: layers, and what they are called with. Of all generations of Keras in one form.

Nothing of it is believed: every value is checked by who reads it (`Config.text`, `.number` ..).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..strict_json import ModelFileError
from .generations import modernised

_LAYERS = 2**14
_CALLS = 2**16
_DEPTH = 40
MODELS = ("Sequential", "Functional", "Model")


class Ref(NamedTuple):
    """A tensor: the output `tensor` of the call `call` of a layer."""

    layer: str
    call: int
    tensor: int


class Call(NamedTuple):
    """What a layer is called with: lists, dicts and values, in which tensors are `Ref`."""

    args: list[Any]
    kwargs: dict[str, Any]


class Config:
    """The config of a layer.

    Attributes:
        kind: the class' name.
        name: the layer's.
        calls: a list of `Call`.
        generation: of Keras: 1, 2 or 3.
        is_layer: whether it is a layer, and no operation.
    """

    def __init__(self, kind: str, values: Mapping[str, Any], name: str, generation: int, is_layer: bool = True) -> None:
        self.kind, self.values, self.name, self.generation = kind, values, name, generation
        self.calls: list[Call] = []
        self.is_layer = is_layer

    def __repr__(self) -> str:
        return f"the {self.kind[:80]} {self.name[:100]!r}"

    def wrong(self, what: str) -> ModelFileError:
        return ModelFileError(f"{self!r}: {what}")

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.values.get(key, default)
        if value is None:
            return default
        if value not in (True, False):
            raise self.wrong(f"{key} must be true or false, got {value!r:.80}")
        return bool(value)

    def size(self, key: str, default: int | None = None, minimum: int = 1, most: int = 2**24) -> int:
        value = self.values.get(key, default)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if type(value) is not int or not minimum <= value <= most:
            raise self.wrong(f"{key} must be a whole number in {minimum}..{most}, got {value!r:.80}")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.values.get(key, default)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.wrong(f"{key} must be a number, got {value!r:.80}")
        return float(value)

    def text(self, key: str, default: str | None) -> str | None:
        value = self.values.get(key, default)
        if value is not None and not isinstance(value, str):
            raise self.wrong(f"{key} must be a text, got {value!r:.80}")
        return value

    def inner(self, key: str) -> Config:
        """The config of a layer in this one."""
        return layer_config(self.values.get(key), self.generation)

    def dtype(self) -> str:
        """float32 or float64."""
        value = self.values.get("dtype")
        if isinstance(value, dict):
            inner = value.get("config")
            value = inner.get("name") if isinstance(inner, dict) else None
        return "float64" if value == "float64" else "float32"


class GraphConfig(NamedTuple):
    """Of a model."""

    name: str
    kind: str
    layers: dict[str, Config]
    inputs: Any  # a Ref, or a list or dict of them
    outputs: Any
    generation: int


def layer_config(given: Any, generation: int) -> Config:
    if not isinstance(given, dict) or not isinstance(given.get("class_name"), str):
        raise ModelFileError(f"the config of a layer is damaged: {given!r:.100}")
    kind, values = given["class_name"], given.get("config")
    if isinstance(values, list) and kind == "Sequential":  # Keras 1 and the first Keras 2
        values = {"name": given.get("name", "sequential"), "layers": values}
    if not isinstance(values, dict):
        raise ModelFileError(f"the config of a {kind[:80]} is damaged")
    name = given.get("name") or values.get("name")
    if not isinstance(name, str):
        name = kind.lower()
    if given.get("registered_name") and not str(given.get("module") or "").startswith("keras"):
        kind = str(given["registered_name"])[:100]
    module = str(given.get("module") or "")
    is_layer = not module.startswith("keras.src.ops") and not module.startswith("keras.ops")
    if generation == 3 and not module:  # in .h5 files
        is_layer = kind in MODELS or "trainable" in values or values.get("dtype") not in (None, "bool")
    return Config(kind, modernised(kind, values) if generation == 1 else values, name, generation, is_layer)


def generation_of(version: str, given: Any) -> int:
    """Of Keras: from what the file says, and from how its config looks."""
    if version[:1] in ("1", "2", "3") and version[1:2] in (".", ""):
        return int(version[0])
    return 3 if isinstance(given, dict) and "module" in given else 2


def graph_config(given: Any, generation: int, depth: int = 0) -> GraphConfig:
    """Of a whole model, or of one that is a layer of another."""
    own = layer_config(given, generation)
    if own.kind not in MODELS or depth > _DEPTH:
        raise ModelFileError(
            f"the model is a {own.kind[:80]}, a class of a program's own: only Sequential and Functional models say in "
            "their file what they compute. Build the same network here and give it the weights: "
            "from_keras(path, model)"
        )
    layers = own.values.get("layers")
    if not isinstance(layers, list) or not layers or len(layers) > _LAYERS:
        raise ModelFileError(f"the config of the model {own.name[:100]!r} has no list of layers")
    configs: dict[str, Config] = {}
    total = 0
    for one in layers:
        config = layer_config(one, generation)
        if config.name in configs:
            raise ModelFileError(f"two layers of the model have the name {config.name[:100]!r}")
        configs[config.name] = config
        if own.kind != "Sequential":
            config.calls = _calls(one, config)
            total += len(config.calls)
    if total > _CALLS:
        raise ModelFileError(f"the model has {total} calls: it is damaged")
    if own.kind == "Sequential":
        return _chain(own, configs)
    inputs, outputs = (_ends(own.values.get(key), key) for key in ("input_layers", "output_layers"))
    return GraphConfig(own.name, own.kind, configs, inputs, outputs, generation)


def _chain(own: Config, configs: dict[str, Config]) -> GraphConfig:
    first = next(iter(configs.values()))
    if first.kind != "InputLayer":
        name = "input"
        while name in configs:
            name += "_"
        entry = Config("InputLayer", {"dtype": first.get("dtype")}, name, own.generation)
        configs = {name: entry, **configs}
    names = list(configs)
    start = Ref(names[0], 0, 0)
    configs[names[0]].calls = [Call([], {})]
    before = start
    for name in names[1:]:
        configs[name].calls = [Call([before], {})]
        before = Ref(name, 0, 0)
    return GraphConfig(own.name, own.kind, configs, start, before, own.generation)


def _calls(given: Any, config: Config) -> list[Call]:
    nodes = given.get("inbound_nodes", [])
    if not isinstance(nodes, list):
        raise config.wrong("what it is called with is damaged")
    if config.kind == "InputLayer":
        return [Call([], {})]
    calls = []
    for node in nodes:
        if isinstance(node, dict):  # Keras 3
            args, kwargs = node.get("args", []), node.get("kwargs", {})
            if not isinstance(args, list) or not isinstance(kwargs, dict):
                raise config.wrong("what it is called with is damaged")
            calls.append(Call([_tensors(one) for one in args], {k: _tensors(v) for k, v in kwargs.items()}))
        else:
            calls.append(_older_call(node, config))
    return calls


def _tensors(given: Any) -> Any:
    if isinstance(given, list):
        return [_tensors(one) for one in given]
    if not isinstance(given, dict):
        return given
    if given.get("class_name") == "__keras_tensor__":
        inner = given.get("config")
        return _ref(inner.get("keras_history") if isinstance(inner, dict) else None)
    if given.get("class_name") == "__tuple__" and isinstance(given.get("config", given.get("items")), (list, dict)):
        items = given.get("items")
        inner = given.get("config")
        if items is None and isinstance(inner, dict):
            items = inner.get("value")
        return [_tensors(one) for one in items] if isinstance(items, list) else given
    return {key: _tensors(one) for key, one in given.items()}


def _older_call(node: Any, config: Config) -> Call:
    if not isinstance(node, list) or not node:
        raise config.wrong("what it is called with is damaged")
    parts = [node] if isinstance(node[0], str) else node
    refs, kwargs = [], {}
    for part in parts:
        if not isinstance(part, list) or len(part) < 3:
            raise config.wrong("what it is called with is damaged")
        refs.append(_ref(part[:3]))
        if len(part) > 3 and isinstance(part[3], dict):
            kwargs.update({key: _older_tensors(one) for key, one in part[3].items()})
    return Call([refs[0] if len(refs) == 1 else refs], kwargs)


def _older_tensors(given: Any) -> Any:
    if isinstance(given, list):
        if len(given) in (3, 4) and isinstance(given[0], str) and all(type(n) is int for n in given[1:3]):
            return _ref(given[:3])
        return [_older_tensors(one) for one in given]
    return given


def _ref(given: Any) -> Ref:
    if (
        not isinstance(given, (list, tuple))
        or len(given) != 3
        or not isinstance(given[0], str)
        or any(type(n) is not int or not 0 <= n < _CALLS for n in given[1:])
    ):
        raise ModelFileError(f"a tensor of the model's is damaged: {given!r:.100}")
    return Ref(*given)


def _ends(given: Any, key: str) -> Any:
    """A Ref, or a list or dict of them."""
    if isinstance(given, dict):
        return {name: _ends(one, key) for name, one in given.items()}
    if isinstance(given, list) and len(given) == 3 and isinstance(given[0], str):
        return _ref(given)
    if not isinstance(given, list) or not given:
        raise ModelFileError(f"{key} of the model are damaged: {given!r:.100}")
    found = [_ends(one, key) for one in given]
    return found[0] if len(found) == 1 else found
