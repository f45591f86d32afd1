"""From the final states of an encoder to the initial ones of a decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .. import _checks
from ..graph.functions import concatenate, stack, tanh

BRIDGES = ("auto", "linear", "copy", "zero")


class _Level(NamedTuple):
    """One layer of a recurrent layer: which one, which of its layers, and name -> size of its states, both directions
    of which stand side by side."""

    layer: int
    level: int
    directions: int
    sizes: dict[str, int]


def _levels(layers: Sequence[Any]) -> list[_Level]:
    return [
        _Level(i, level, layer.num_directions, {
            name: layer.num_directions * size
            for name, size in zip(layer._state_names, layer._state_sizes, strict=True)
        })
        for i, layer in enumerate(layers)
        for level in range(layer.num_layers)
    ]  # fmt: skip


class Bridge:
    """What becomes of each state of the encoder.

    The topmost layers of both correspond. Where the encoder has fewer, its last one serves those above, too; where it
    has no c, as a GRU has none, h stands in.

    kind: "linear", "copy" or "zero". sizes: name -> (in, out) of the linear layers that "linear" has.
    """

    def __init__(self, kind: str, encoder: Sequence[Any], decoder: Sequence[Any]) -> None:
        """encoder, decoder: their recurrent layers. Raises ValueError if states cannot be copied."""
        kind = _checks.choice("bridge", kind, BRIDGES)
        self._decoder, own, wanted = decoder, _levels(encoder), _levels(decoder)
        shift = max(0, len(own) - len(wanted))
        self._ways: dict[tuple[int, str], tuple[_Level, str]] = {}
        self.sizes: dict[str, tuple[int, int]] = {}
        differ = ""
        for k, level in enumerate(wanted):
            source = own[min(k + shift, len(own) - 1)]
            for name, size in level.sizes.items():
                taken = name if name in source.sizes else "h"
                self._ways[k, name] = source, taken
                self.sizes[f"{name}_l{k}"] = source.sizes[taken], size
                if taken != name or source.sizes[taken] != size or source.directions > 1 or len(own) != len(wanted):
                    differ = differ or (
                        f"{name} of layer {k} needs {size} numbers, and of the encoder's {len(own)} layers there are "
                        f"{source.sizes[taken]} of {taken}, from {source.directions} direction(s)"
                    )
        if kind == "copy" and differ:
            raise ValueError(f"bridge='copy' needs states of one form, but {differ}; 'linear' takes any")
        self.kind = ("linear" if differ else "copy") if kind == "auto" else kind
        if self.kind != "linear":
            self.sizes = {}

    def cross(self, found: Sequence[Any], layers: dict[str, Any]) -> list[Any]:
        """The decoder's initial states, one for each of its recurrent layers, from the encoder's final ones. layers:
        the linear ones, by name."""
        if self.kind == "zero":
            return [None] * len(self._decoder)
        states = [one if isinstance(one, tuple) else (one,) for one in found]
        if (
            self.kind == "copy"
            and len(found) == 1
            and [len(one._state_names) for one in self._decoder] == [len(states[0])]
        ):
            return list(found)  # as they are
        made: list[Any] = []
        k = 0
        for layer in self._decoder:
            arrays = []
            for name in layer._state_names:
                each = [self._one(k + level, name, states, layers) for level in range(layer.num_layers)]
                arrays.append(stack(each, axis=0))
            k += layer.num_layers
            made.append(tuple(arrays) if len(arrays) > 1 else arrays[0])
        return made

    def _one(self, k: int, name: str, states: list[tuple[Any, ...]], layers: dict[str, Any]) -> Any:
        source, taken = self._ways[k, name]
        array = states[source.layer][list(source.sizes).index(taken)]
        first = source.level * source.directions
        if source.directions == 1:
            vector = array[first]
        else:
            vector = concatenate([array[first], array[first + 1]], axis=-1)
        return vector if self.kind == "copy" else tanh(layers[f"{name}_l{k}"](vector))
