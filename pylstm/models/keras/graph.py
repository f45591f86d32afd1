"""A model that computes what the graph of a Keras file says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...files.keras.config import Call, Config, GraphConfig, Ref, graph_config
from ...files.keras.weights import LayerWeights, Stored
from ...files.strict_json import ModelFileError
from ...graph.recording import Run
from ..gradients import entered
from ..model import Model
from .layers import step_of
from .operations import OPERATIONS, MaskOperation, mask_of
from .recurrent import Names
from .step import MASK_SAID, Step, Tensor

_NESTED = ("Sequential", "Functional", "Model")


class Graph:
    """Steps, and in which order they are called.

    Attributes:
        config: of the model.
        steps: name of a layer -> its `Step`, or the `Graph` of a model that is one.
        order: the calls, such that each comes behind what it needs.
    """

    def __init__(self, config: GraphConfig, steps: dict[str, Any]) -> None:
        self.config, self.steps = config, steps
        self.order = _order(config)

    @property
    def layers(self) -> dict[str, Any]:
        """What has parameters, or masks of dropout, by the names of the file."""
        found = {}
        for name, step in self.steps.items():
            own = step.layers
            if own:
                found[name] = own[""] if list(own) == [""] else own
        return found

    def run(self, inputs: list[Tensor]) -> list[Tensor]:
        """The outputs, in the order of the config."""
        entries = list(refs_of(self.config.inputs))
        if len(inputs) != len(entries):
            raise ValueError(f"the model {self.config.name!r} takes {len(entries)} inputs, got {len(inputs)}")
        found: dict[Ref, Tensor] = {}
        given = dict(zip(entries, inputs, strict=True))
        left = self._uses()
        for name, number, call in self.order:
            start = Ref(name, number, 0)
            if start in given:
                found[start] = given[start]
                continue
            step = self.steps[name]
            if isinstance(step, MaskOperation):
                found[start] = step.compute([_put(one, found) for one in call.args])
                self._let_go(call, found, left)
                continue
            positional = _flat([_put(one, found) for one in call.args])
            named = {key: _put(one, found) for key, one in call.kwargs.items() if one is not None}
            if isinstance(step, Graph):
                made: Any = step.run(positional)
            else:
                if "inputs" in named and not positional:
                    positional = _flat([named.pop("inputs")])
                if "mask" in named and positional:
                    masks = named.pop("mask")
                    masks = masks if isinstance(masks, list) else [masks]
                    for at, one in enumerate(masks[: len(positional)]):
                        positional[at] = Tensor(positional[at].value, mask_of(one, step.config))
                    named[MASK_SAID] = True
                made = step.run(positional, named)
            for at, one in enumerate(made if isinstance(made, list) else [made]):
                found[Ref(name, number, at)] = one
            self._let_go(call, found, left)
        return [_found(ref, found) for ref in refs_of(self.config.outputs)]

    @staticmethod
    def _let_go(call: Call, found: dict[Ref, Tensor], left: dict[Ref, int]) -> None:
        """What nobody needs any more."""
        for ref in (*refs_of(call.args), *refs_of(call.kwargs)):
            left[ref] -= 1
            if not left[ref]:
                found.pop(ref, None)

    def _uses(self) -> dict[Ref, int]:
        counts: dict[Ref, int] = {}
        for _, _, call in self.order:
            for ref in (*refs_of(call.args), *refs_of(call.kwargs)):
                counts[ref] = counts.get(ref, 0) + 1
        for ref in refs_of(self.config.outputs):
            counts[ref] = counts.get(ref, 0) + 1
        return counts


def refs_of(given: Any) -> Iterator[Ref]:
    """All tensors in lists, dicts and values."""
    if isinstance(given, Ref):
        yield given
    elif isinstance(given, list):
        for one in given:
            yield from refs_of(one)
    elif isinstance(given, dict):
        for one in given.values():
            yield from refs_of(one)


def _found(ref: Ref, found: dict[Ref, Tensor]) -> Tensor:
    if ref not in found:
        raise ValueError(f"the layer {ref.layer!r} gives no output {ref.tensor}, which the model uses")
    return found[ref]


def _put(given: Any, found: dict[Ref, Tensor]) -> Any:
    if isinstance(given, Ref):
        return _found(given, found)
    if isinstance(given, list):
        return [_put(one, found) for one in given]
    return {key: _put(one, found) for key, one in given.items()} if isinstance(given, dict) else given


def _flat(given: Any) -> list[Tensor]:
    """The tensors of positional arguments; of the others only None is left out."""
    if isinstance(given, list):
        return [one for part in given for one in _flat(part)]
    if isinstance(given, Tensor):
        return [given]
    if given is None:
        return []
    raise ValueError(f"a layer is called with {given!r:.80}, and tensors are wanted: build this part as a pylstm.Model")


def _order(config: GraphConfig) -> list[tuple[str, int, Call]]:
    """The calls that the outputs need. Raises ModelFileError for circles and tensors that nobody gives."""
    order: list[tuple[str, int, Call]] = []
    state: dict[tuple[str, int], bool] = {}  # False: under way
    entries = {(ref.layer, ref.call) for ref in refs_of(config.inputs)}
    todo = [(ref.layer, ref.call) for ref in reversed([*refs_of(config.inputs), *refs_of(config.outputs)])]
    while todo:
        key = todo[-1]
        if state.get(key) is None:
            state[key] = False
            call = _call(config, *key)
            inputs = [] if key in entries else [*refs_of(call.args), *refs_of(call.kwargs)]
            for ref in inputs:
                before = (ref.layer, ref.call)
                if state.get(before) is False:
                    raise ModelFileError(f"the layer {ref.layer[:100]!r} of the model needs its own output")
                if before not in state:
                    todo.append(before)
        else:
            todo.pop()
            if not state[key]:
                state[key] = True
                order.append((*key, _call(config, *key)))
    return order


def _call(config: GraphConfig, name: str, number: int) -> Call:
    layer = config.layers.get(name)
    if layer is None:
        raise ModelFileError(f"the model uses the layer {name[:100]!r}, which it does not have")
    if number >= len(layer.calls):
        raise ModelFileError(f"the model uses the call {number} of {layer!r}, which has {len(layer.calls)}")
    return layer.calls[number]


class KerasModel(Model):
    """The graph of a Keras file that is no chain of our layers, as `from_keras` gives it.

    It is called, trained and asked for predictions as every `Model`; `to_keras` writes it. Masks (Embedding with
    mask_zero, Masking) go through it as in Keras: recurrent layers leave masked steps out, wherever they are.
    Parameters have the names of the layers in the file: `layers.encoder.weight_ih_l0`.

    Attributes:
        layers: the layers of the library that it computes with, by the names of the file.
        inputs: the names of its inputs, in their order.
        outputs: the names of the layers that give its outputs.
        metadata: a dict with "keras_version", "name" and "layers", the names and classes of the file's layers.
    """

    layers: dict[str, Any]

    def __init__(self, graph: Graph, source: Any, legacy: bool) -> None:
        self._graph, self._source, self._legacy = graph, source, legacy
        self.layers = graph.layers

    @property
    def inputs(self) -> list[str]:
        return [ref.layer for ref in refs_of(self._graph.config.inputs)]

    @property
    def outputs(self) -> list[str]:
        return [ref.layer for ref in refs_of(self._graph.config.outputs)]

    @property
    def keeps_time(self) -> bool | None:  # type: ignore[override]
        """Whether the output has a step for each of the first input's, so that its mask comes out."""
        if "_keeps" not in self.__dict__:
            self._keeps = self._found_out()
        return self._keeps

    def _found_out(self) -> bool | None:
        """By a run over a few zeros, where the file says how large the inputs are."""
        config = self._graph.config
        if not isinstance(config.outputs, Ref):
            return None
        arrays = [_zeros(config.layers[name]) for name in self.inputs]
        if any(one is None for one in arrays) or arrays[0].ndim < 2:
            return None
        run = Run(recording=False)
        inputs = entered(run, tuple(arrays), differentiate=False)
        mask = np.ones(arrays[0].shape[:2], bool)
        try:
            (found,) = run.within(lambda *given: self._graph.run(_tensors(given, mask)), *inputs)
        except (ValueError, TypeError, IndexError):
            return None
        if found.mask is not None and found.mask.shape == mask.shape:
            return True
        return False if found.value.ndim < 3 else None

    def run(self, *inputs: Any, lengths: ArrayLike | None = None) -> Any:
        """What the graph computes.

        Args:
            inputs: one array for each input of the file, in its order; or one dict of them by name.
            lengths: (N,): how many steps of the first input count, the others are masked; beside what masks itself.

        Returns:
            The output, of several a tuple, or the dict that the file has.
        """
        given = self._given_inputs(inputs)
        mask = None
        if lengths is not None:
            first = given[0]
            if first.ndim < 2:
                raise ValueError(f"lengths are for an input with steps, (N, T) or (N, T, F), got {first.shape}")
            mask = np.arange(first.shape[1]) < np.asarray(lengths)[:, None]
        found = iter(self._graph.run(_tensors(given, mask)))
        return _as_given(self._graph.config.outputs, found)

    def _refill(self, other: KerasModel) -> None:
        """Take the weights, and the statistics, of another of the same graph."""
        self.load_state_dict(other.state_dict())
        _copy_statistics(self._graph, other._graph)

    def _given_inputs(self, inputs: tuple[Any, ...]) -> list[Any]:
        names = self.inputs
        if len(inputs) == 1 and isinstance(inputs[0], dict):
            if set(inputs[0]) != set(names):
                raise ValueError(f"the inputs must be {', '.join(map(repr, names))}, got {', '.join(inputs[0])}")
            return [inputs[0][name] for name in names]
        if len(inputs) == 1 and isinstance(inputs[0], (tuple, list)) and len(names) > 1:
            inputs = tuple(inputs[0])
        if len(inputs) != len(names):
            raise ValueError(f"the model takes {len(names)} inputs ({', '.join(names)}), got {len(inputs)}")
        return list(inputs)


def _tensors(given: Any, mask: Any) -> list[Tensor]:
    """The inputs, the first one with a mask."""
    return [Tensor(one, mask if at == 0 else None) for at, one in enumerate(given)]


def _zeros(config: Config) -> Any:
    """An input as the file describes it, of 2 sequences, and of 3 steps where any number is taken."""
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    if not isinstance(shape, list) or not 2 <= len(shape) <= 8:
        return None
    sizes = [2, *(3 if n is None else n for n in shape[1:])]
    if any(type(n) is not int or not 0 < n < 2**20 for n in sizes) or math.prod(sizes) > 2**20:
        return None
    dtype = config.get("dtype")
    return np.zeros(sizes, np.int64 if isinstance(dtype, str) and "int" in dtype else np.float32)


def _copy_statistics(graph: Graph, other: Graph) -> None:
    for name, step in graph.steps.items():
        if isinstance(step, Graph):
            _copy_statistics(step, other.steps[name])
        elif isinstance(step, Step):
            step.take_statistics(other.steps[name])


def _as_given(form: Any, found: Iterator[Tensor]) -> Any:
    if isinstance(form, Ref):
        return next(found).value
    if isinstance(form, dict):
        return {key: _as_given(one, found) for key, one in form.items()}
    return tuple(_as_given(one, found) for one in form)


# ---- from the file ---------------------------------------------------------------------------------------------------


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
