"""The graph of a file: its layers as steps, each with its weights."""

from __future__ import annotations

from typing import Any

from ...files.keras.config import Config, GraphConfig, graph_config
from ...files.keras.weights import LayerWeights, Stored
from ...files.strict_json import ModelFileError
from .graph import Graph
from .layers import step_of
from .names import Names
from .operations import OPERATIONS, MaskOperation
from .step import Step

_NESTED = ("Sequential", "Functional", "Model")


class Source:
    """Where the weights of a model's layers are.

    Attributes:
        listed: what gives those of a layer of a .h5 file; None of the others.
        group: of which "layers" has them.
    """

    def __init__(self, listed: Any, group: Any) -> None:
        self.listed, self.group = listed, group
        self._names = Names()

    def of(self, config: Config) -> LayerWeights:
        if self.listed is not None:
            return self.listed(config)  # type: ignore[no-any-return]
        name = self._names.of(config.kind.split(">")[-1])
        own = None
        for folder in ("layers", "_layer_checkpoint_dependencies"):
            own = own or (self.group.group(f"{folder}/{name}") if self.group is not None else None)
        weights = Stored(config.name, own)
        marked = own.group("vars") if own is not None else None
        theirs = marked.attributes.get("name") if marked is not None else None
        if isinstance(theirs, str) and theirs != config.name:
            raise ModelFileError(
                f"the weights of {config!r} are marked as those of {theirs[:100]!r}: config and weights are of "
                "two models"
            )
        return weights


def graph_of(config: GraphConfig, source: Source, dtype: str, outer: bool = True) -> Graph:
    """The layers with their weights."""
    steps: dict[str, Any] = {}
    for name, layer in config.layers.items():
        if not layer.is_layer and layer.kind in OPERATIONS:
            steps[name] = MaskOperation(layer)
            continue
        weights = source.of(layer)
        if layer.kind in _NESTED:
            inner = graph_config({"class_name": layer.kind, "config": layer.values, "name": name}, config.generation, 1)
            nested = _inside(weights)
            if isinstance(weights, Stored):
                weights = Stored(layer.name, None)  # those of its layers are asked for one by one
            elif any(not one.flag("trainable", True) for one in inner.layers.values()):
                raise layer.wrong(
                    "some of its layers are frozen, whose weights a .h5 file has in another order: save the model as "
                    ".keras"
                )
            steps[name] = graph_of(inner, nested, dtype, outer=False)
        else:
            steps[name] = step_of(layer, weights, dtype)
            if not layer.flag("trainable", True):
                _freeze(steps[name])
        if outer or isinstance(weights, Stored):
            weights.done()
    return Graph(config, steps)


def _inside(weights: LayerWeights) -> Source:
    """Of a model that is a layer."""
    return Source(None, weights.group) if isinstance(weights, Stored) else Source(lambda _: weights, None)


def _freeze(step: Step) -> None:
    todo: list[Any] = list(step.layers.values())
    while todo:
        one = todo.pop()
        if isinstance(one, (dict, list)):
            todo += one.values() if isinstance(one, dict) else one
        else:
            one.trainable = False
