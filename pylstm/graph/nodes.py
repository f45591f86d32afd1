"""The nodes of a tape: what a sweep goes through, from the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .._arrays import Array
from .structure import leaves, mapped
from .sweep import Step, Sums
from .values import Place, Slot


class Operation:
    """The node of an operation: `backward(d) -> d_inputs`."""

    __slots__ = ("backward", "inputs", "output")

    def __init__(
        self, backward: Callable[[Any], tuple[Any, ...]], inputs: Sequence[Place | None], output: Place
    ) -> None:
        self.backward, self.inputs, self.output = backward, inputs, output

    def sweep(self, sums: Sums) -> None:
        if (d := sums.take(self.output)) is not None:
            for slot, gradient in zip(self.inputs, self.backward(d), strict=True):
                sums.add(slot, gradient, self.backward)
        elif sums._ended:
            sums.pass_on(self.output, None, self.inputs)


class LayerCall:
    """The node of a layer's call: `backward` is that of its `vjp`; slots stand in the places of arrays."""

    __slots__ = ("backward", "inputs", "layer", "outputs")

    def __init__(self, backward: Callable[..., Any], layer: Any, inputs: list[Any], outputs: list[Any]) -> None:
        self.backward, self.layer, self.inputs, self.outputs = backward, layer, inputs, outputs

    def sweep(self, sums: Sums) -> None:
        found = False

        def take(slot: Place | None) -> Array | None:
            nonlocal found
            d = None if slot is None else sums.take(slot)
            found = found or d is not None
            return d

        ds = [take(place) if type(place) is Slot else mapped(take, place) for place in self.outputs]
        if found:
            layer = self.layer
            d_inputs, d_params = self.backward(*ds, into=sums.into(layer))
            sums.add_params(layer, d_params)
            if len(d_inputs) < len(self.inputs):  # a recurrent layer gives that of the state in any case
                raise ValueError(f"backward of {layer!r} gave {len(d_inputs)} gradients for {len(self.inputs)} inputs")
            for place, gradients in zip(self.inputs, d_inputs, strict=False):
                if type(place) is Slot:
                    if gradients is None:
                        sums.end(place, layer)
                    else:
                        sums.add(place, gradients, layer)
                elif place is not None and gradients is not None:
                    for slot, gradient in zip(leaves(place), leaves(gradients), strict=True):
                        sums.add(slot, gradient, layer)
        elif sums._ended:
            for output in leaves(self.outputs):
                sums.pass_on(output, self.layer, leaves(self.inputs))


Node = Operation | LayerCall | Step
