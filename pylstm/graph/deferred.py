"""Outputs of linear layers in a model's run that are not computed before somebody looks at them.

A loss that takes `LinearOutputs` then gets those at a model's end uncomputed. All others are computed on their first
use, and are values as all are.
"""

from __future__ import annotations

from typing import Any

from .._arrays import Array
from ..layers.linear import LinearOutputs
from .recording import Run
from .values import Slot, Value


class DeferringRun(Run):
    """A run of a model whose loss takes `LinearOutputs`."""

    __slots__ = ()

    def call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if len(args) != 1 or not isinstance(args[0], Value) or kwargs.keys() - {"lengths"} or not layer._can_defer():
            return super().call(layer, args, kwargs)
        self.check()
        self.used[id(layer)] = layer
        x, place = self._array(args[0]), args[0]._slot
        call = _Call(layer, x, place is not None)
        value: Deferred = object.__new__(Deferred)
        slot = None
        if self.tape is not None:
            slot = Slot((*x.shape[:-1], layer.out_features), layer.dtype)
            self.tape.append((call.run_back, layer, True, place, slot, None))
        _DATA.__set__(value, call)
        value._run, value._slot, value._held = self, slot, False
        return value


class _Call:
    """A layer's call whose outputs nobody has looked at."""

    __slots__ = ("backward", "layer", "need_dx", "outputs", "x")

    def __init__(self, layer: Any, x: Array, need_dx: bool) -> None:
        self.layer, self.x, self.need_dx = layer, x, need_dx
        self.outputs: LinearOutputs = layer._deferred(x, None)  # raises if x does not fit
        self.backward: Any = None  # as `forward` gives it, once the outputs are computed

    def compute(self, run: Any) -> Array:
        if run.tape is None or run.thread is None:  # a run that is over has given its outputs out
            return self.outputs.compute()
        y: Array
        y, self.backward = run.before.run(self.layer.forward, self.x, need_dx=self.need_dx)
        return y

    def run_back(self, d: Any) -> Any:
        """From the gradient to the outputs; of those that the loss computed, what it gave is all there is."""
        return d if self.backward is None else self.backward(d)


class Deferred(Value):
    """A value that is not computed. With its first use it becomes a `Value`."""

    __slots__ = ()

    @property
    def _data(self) -> Array:  # type: ignore[override]
        call: _Call = _DATA.__get__(self)
        _DATA.__set__(self, call.compute(self._run))
        self.__class__ = Value  # type: ignore[assignment]
        return self._data

    @property
    def linear_outputs(self) -> LinearOutputs:
        """What it is made of."""
        call: _Call = _DATA.__get__(self)
        return call.outputs


_DATA: Any = Value.__dict__["_data"]  # where a value keeps its array
