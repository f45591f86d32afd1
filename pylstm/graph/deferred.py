"""Outputs of linear layers in a model's run that are not computed before somebody looks at them.

A loss that takes `LinearOutputs` then gets those at a model's end uncomputed. All others are computed on their first
use, and are values as all are.
"""

from __future__ import annotations

from typing import Any

from .._arrays import Array
from ..layers.linear import LinearOutputs
from .recording import Run
from .values import Place, Slot, Value


class DeferringRun(Run):
    """A run of a model whose loss takes `LinearOutputs`."""

    __slots__ = ()

    def call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if len(args) != 1 or not isinstance(args[0], Value) or kwargs.keys() - {"lengths"} or not layer._can_defer():
            return super().call(layer, args, kwargs)
        self.check()
        self.used[id(layer)] = layer
        x, place = self._array(args[0]), args[0]._slot
        outputs = layer._deferred(x, need_dx=place is not None)  # raises if x does not fit
        return self._deferred(layer, outputs, place)

    def multiply(self, layer: Any, table: Array, x: Value) -> Any:
        self.check()
        self.used[id(layer)] = layer
        array, place = self._array(x), x._slot
        return self._deferred(layer, LinearOutputs(array.view(), table, None, place is not None), place)

    def _deferred(self, layer: Any, outputs: LinearOutputs, place: Place | None) -> Deferred:
        call = _Call(outputs)
        value: Deferred = object.__new__(Deferred)
        slot = None
        if self.tape is not None:
            slot = Slot((*outputs.x.shape[:-1], len(outputs.weight)), layer.dtype)
            self.tape.append((call.run_back, layer, True, place, slot, None))
        _DATA.__set__(value, call)
        value._run, value._slot, value._held = self, slot, False
        return value


class _Call:
    """A layer's call whose outputs nobody has looked at."""

    __slots__ = ("computed", "outputs")

    def __init__(self, outputs: LinearOutputs) -> None:
        self.outputs, self.computed = outputs, False

    def compute(self, run: Any) -> Array:
        y = self.outputs.compute()  # which may fail, and is then to be done again
        self.computed = run.thread is not None  # a run that is over has given out what it has
        return y

    def run_back(self, d: Any) -> Any:
        """From the gradient to the outputs; of those that the loss computed, what it gave is all there is."""
        return self.outputs.backward(d) if self.computed else d


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
