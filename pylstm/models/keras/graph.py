"""The graph of a Keras file: the steps that stand for its layers, and the order in which they are called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...files.keras.config import Call, GraphConfig, Ref
from ...files.strict_json import ModelFileError
from .operations import MaskOperation, mask_of
from .step import CARRIED, MASK_SAID, Tensor


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

    def run(self, inputs: list[Tensor], states: Any = None) -> list[Tensor]:
        """The outputs, in the order of the config. states: those of stateful layers, which are changed."""
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
                made: Any = step.run(positional, states)
            else:
                if "inputs" in named and not positional:
                    positional = _flat([named.pop("inputs")])
                if "mask" in named and positional:
                    masks = named.pop("mask")
                    masks = masks if isinstance(masks, list) else [masks]
                    for at, one in enumerate(masks[: len(positional)]):
                        positional[at] = Tensor(positional[at].value, mask_of(one, step.config))
                    named[MASK_SAID] = True
                if not positional and not any(isinstance(one, Tensor) for one in named.values()):
                    raise ValueError(f"{step.config!r} is called with nothing: the file is damaged")
                if step.stateful:
                    named[CARRIED] = states
                made = step.run(positional, named)
            for at, one in enumerate(made if isinstance(made, list) else [made]):
                found[Ref(name, number, at)] = one
            self._let_go(call, found, left)
        return [_found(ref, found) for ref in refs_of(self.config.outputs)]

    @property
    def stateful(self) -> bool:
        """Whether one of its layers is."""
        return any(getattr(step, "stateful", False) for step in self.steps.values())

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


def can_be_whole(config: GraphConfig) -> bool:
    """Whether today's Keras loads what a file of the model says, and not its weights alone."""
    return config.generation != 1 and not any(layer.kind.startswith("CuDNN") for layer in config.layers.values())


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
