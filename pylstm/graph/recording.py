"""What is recorded while a model runs, and the one place where operations and layers are run on values.

A *run* is one call of a model. In training it has a tape: a list of nodes in the order of their making, so that each
comes behind those it needs, and the sweep (`sweep.py`) goes through it from the end. A node holds what its backward
pass needs and the slots of its inputs and outputs; slots hold no arrays and no nodes, so that nothing is a chain of
objects, however long the run. In inference there is no tape: the same code keeps nothing.

Layers ask `_active.ACTIVE` whether a run is under way. It is set in a context of its own, which is left with whatever
ends the run; layers compute in the context that was before.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import copy_context
from threading import get_ident
from typing import Any, TypeVar

import numpy as np

from .._active import ACTIVE
from .._arrays import Array, float_array
from ..layers.layer import Layer, with_tuples
from ..layers.linear import LinearOutputs
from ..layers.table_rows import FEWEST_SYMBOLS
from .nodes import LayerCall, Node, Operation
from .rows import Rows, new_rows
from .structure import leaves, mapped
from .values import Place, Slot, Value, new_value

T = TypeVar("T")


class Recorder:
    """What writes down the operations on values."""

    __slots__ = ("tape",)
    tape: list[Node] | None  # None: nothing is written down

    def check(self) -> None:
        """Raises RuntimeError where a value is used that is not to be used any more."""

    def apply(self, operation: Callable[..., Any], operands: tuple[Value, ...], options: Mapping[str, Any]) -> Value:
        """The operation on values of this recorder."""
        self.check()
        arrays: list[Array] = []
        slots: list[Place | None] = []
        dtype = operands[0]._data.dtype
        for operand in operands:
            if operand._run is not self:
                raise RuntimeError("two values are of different runs; use value.numpy() of the other one")
            array = operand._data
            if array.dtype is not dtype:
                dtype = np.promote_types(dtype, array.dtype)
            arrays.append(array)
            slots.append(operand._slot)
        needs = tuple([slot is not None for slot in slots])
        output, backward = operation(needs, *arrays, **options)
        if type(output) is not np.ndarray or output.dtype is not dtype:
            output = np.asarray(output, dtype)  # of arrays without axes NumPy makes scalars, and of a dtype of its own
        if self.tape is None:
            return new_value(output, self, None)
        for operand in operands:
            operand._held = True
        slot = None
        if True in needs:
            slot = Slot(output.shape, dtype)
            self.tape.append(Operation(backward, slots, slot))
        return new_value(output, self, slot, held=True)

    def detached(self, value: Value) -> Value:
        """The same numbers, to which no gradient flows."""
        return new_value(value._data, self, None, held=True)


class Chain(Recorder):
    """The layers of a container in training, each with its state."""

    __slots__ = ("deferring", "states")

    def __init__(self, deferring: Any = None) -> None:
        """deferring: a layer whose outputs are not to be computed."""
        self.deferring = deferring
        self.tape: list[Node] = []
        self.states: list[Place | None] = []  # of the layers

    def step(self, layer: Any, x: Any, state: Any, lengths: Any, as_rows: bool) -> tuple[Any, Any]:
        """A layer, of a value or an array: its output, a value (of rows of a table, if asked), and its state after
        it."""
        array, place = (x._data, x._slot) if type(x) is Value else (x, None)
        if place is None and not layer._trainable and layer._runs_alike() and ACTIVE.get() is None:
            y, after = layer(array, state, lengths=lengths)  # keeps nothing for a backward pass
            self.states.append(None)
            return new_value(y, self, None), after
        plain = as_rows or (state is None and type(layer).vjp is Layer.vjp and layer is not self.deferring)
        if as_rows:
            y, backward = layer._as_table_rows(array)
        elif plain:  # whose `vjp` calls `forward`
            forward = layer._forward_to_ends if layer._gives_ends() and self._ends_at(place) else layer.forward
            y, backward = forward(array, lengths=lengths, need_dx=place is not None)
            if isinstance(y, tuple):
                plain, (y, backward) = False, with_tuples(y, backward)
        else:
            given = (array,) if state is None else (array, state)
            vjp = layer.vjp if layer is not self.deferring else layer._deferred_vjp
            y, backward = vjp(*given, lengths=lengths, need_dx=place is not None)
        after = held = None
        if not plain:
            if len(y) > 1:
                after, held = y[1], Place()
            y = y[0]
        self.states.append(held)
        output = None
        if place is not None or layer._trained_shapes():
            output = Place()
            self.tape.append((backward, layer, plain, place, output, held))
        return new_value(y, self, output), after

    def _ends_at(self, place: Place | None) -> bool:
        """Whether the layer before, whose output this is, takes an `EndsGradient`."""
        if place is None or not self.tape or type(node := self.tape[-1]) is not tuple:
            return False
        return node[4] is place and bool(node[1]._takes_ends())


class Run(Recorder):
    """One run of a model."""

    __slots__ = ("before", "thread", "used")

    def __init__(self, recording: bool) -> None:
        self.tape = [] if recording else None
        self.used: dict[int, Any] = {}  # the layers that were called, by identity
        self.thread: int | None = get_ident()  # None: the run is over
        self.before = copy_context()  # in which layers compute: not within a run
        if ACTIVE.get() is not None:
            self.before.run(ACTIVE.set, None)

    def within(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """`function(...)`, in which layers and operations belong to this run; afterwards it is over."""

        def enter() -> T:
            ACTIVE.set(self)  # in the context of this call, which ends with it
            return function(*args, **kwargs)

        try:
            return self.before.copy().run(enter)
        finally:
            self.thread = None

    def check(self) -> None:
        """Raises RuntimeError where a value is used outside of its run."""
        if self.thread is None:
            raise RuntimeError("this value belongs to a run that is over: return it from run, or keep value.numpy()")
        if self.thread != get_ident():
            raise RuntimeError("a model's run is recorded in one thread: compute with its values in that one")

    def constant(self, value: Any, name: str) -> Value:
        """An array of somebody's as a value without a gradient. Recorded runs take a copy: `backward` may read it."""
        array = float_array(name, value)
        if self.tape is not None and not isinstance(value, (int, float)):  # of whatever lends its memory: tensors, too
            array = array.copy()
        return new_value(array, self, None, held=True)

    def leaf(self, array: Array) -> Value:
        """An input whose gradient is wanted, as a value."""
        return new_value(array, self, Slot(array.shape, array.dtype), held=True)

    # ---- layers ------------------------------------------------------------------------------------------------------

    def call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call of a layer, on values and plain arrays."""
        self.check()
        if kwargs.pop("out", None) is not None:
            raise ValueError("out= is for calls outside of a model's run: here the output is a value")
        if not args and "x" in kwargs:
            args = (kwargs.pop("x"),)
        self.used[id(layer)] = layer
        if self.tape is not None and len(args) == 1 and type(args[0]) is Value and type(layer).vjp is Layer.vjp:
            return self._call_forward(layer, args[0], kwargs)
        rows = place = None
        if args and type(args[0]) is Rows:
            if (rows := args[0].given_to(layer, self)) is not None:
                place, args = args[0]._slot, (None, *args[1:])
        elif layer._gives_table_rows() and not isinstance(args[0], Value) and not _few(args[0]):
            return new_rows(self, layer, *self.before.run(layer._as_table_rows, args[0]))
        arrays = [self._array(arg) if type(arg) is Value or arg is None else mapped(self._array, arg) for arg in args]
        if rows is not None:
            arrays[0] = rows
        if self.tape is None:
            return mapped(self._constant_output, self.before.run(layer, *arrays, **kwargs))
        inputs = [arg._slot if type(arg) is Value else None if arg is None else _slots(arg) for arg in args]
        if rows is not None:
            inputs[0] = place
        if not layer._trainable and inputs.count(None) == len(inputs) and layer._runs_alike():
            return mapped(self._constant_output, self.before.run(layer, *arrays, **kwargs))
        # of a recurrent layer, whether x needs one: those of the state cost nothing
        need_dx = inputs[0] is not None if layer.returns_state else inputs.count(None) < len(inputs)
        outputs, backward = self.before.run(layer.vjp, *arrays, need_dx=need_dx, **kwargs)
        return self._recorded(layer, backward, inputs, outputs)

    def call_by_name(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call of a layer of somebody's class, whose inputs may come by name: `vjp` takes them by position, and
        gives their gradients so."""
        names = [name for name, given in kwargs.items() if any(isinstance(leaf, Value) for leaf in leaves(given))]
        if names:
            args, kwargs = _by_position(layer, names, args, dict(kwargs))
        return self.call(layer, args, kwargs)

    def multiply(self, layer: Any, table: Array, x: Value) -> Any:
        """x @ table.T, where the table (num, dim) is the `weight` of a layer that is called elsewhere in the run, too:
        an embedding that is the head of a decoder. Its gradients add up."""
        self.check()
        self.used[id(layer)] = layer
        array, place = self._array(x), x._slot
        if self.tape is not None:
            table = table.copy()  # training writes to the table, and `backward` reads it
        outputs = LinearOutputs(array.view(), table, None, place is not None)
        y, slot = outputs.compute(), None
        if self.tape is not None and (place is not None or layer._trained_shapes()):
            slot = Slot(y.shape, y.dtype)
            self.tape.append((_of_table(layer, outputs.backward), layer, True, place, slot, None))
        return new_value(y, self, slot)

    def parameters(self, layer: Any) -> dict[str, Value]:
        """The parameters of a layer as values, for arithmetic that is written out: their gradients are the layer's."""
        self.check()
        self.used[id(layer)] = layer
        arrays = self.before.run(lambda: dict(layer.params))
        values = {name: new_value(array, self, None, held=True) for name, array in arrays.items()}
        names = list(layer._trained_shapes()) if self.tape is not None else []
        if not names:
            return values
        for name in names:
            values[name] = self.leaf(arrays[name])

        def backward(*ds: Any, into: Any = None) -> Any:  # noqa: ARG001
            found = zip(names, ds, strict=True)
            return (), {name: np.zeros(arrays[name].shape, layer.dtype) if d is None else d for name, d in found}

        self.tape.append(LayerCall(backward, layer, [], [values[name]._slot for name in names]))  # type: ignore[union-attr]
        return values

    def _call_forward(self, layer: Any, x: Value, kwargs: dict[str, Any]) -> Any:
        """The call of a layer whose `vjp` is its `forward`, on one value, in training: as most calls are."""
        array, slot = self._array(x), x._slot
        y, backward = self.before.run(layer.forward, array, need_dx=slot is not None, **kwargs)
        if not _is_float(y) or (slot is None and not layer._trained_shapes()):
            outputs, backward = with_tuples(y, backward)
            return self._recorded(layer, backward, [slot], outputs)
        value = self._output(y, not vars(type(layer)).get("_outputs_own", False))
        self.tape.append((backward, layer, True, slot, value._slot, None))  # type: ignore[union-attr]
        return value

    def _recorded(self, layer: Any, backward: Callable[..., Any], inputs: list[Any], outputs: Any) -> Any:
        """The outputs of a layer's call as values, through which gradients flow if it has anything to give them to."""
        if layer._trained_shapes() or inputs.count(None) < len(inputs):
            held = not vars(type(layer)).get("_outputs_own", False)
            outputs = tuple([self._output(y, held) for y in outputs])
            self.tape.append(LayerCall(backward, layer, inputs, [_slots_of(y) for y in outputs]))  # type: ignore[union-attr]
        else:
            outputs = mapped(self._constant_output, outputs)
        return outputs if len(outputs) > 1 else outputs[0]

    def _array(self, given: Any) -> Any:
        """What a layer is called with in place of a value."""
        if isinstance(given, Value):
            if given._run is not self:
                raise RuntimeError("two values are of different runs; use value.numpy() of the other one")
            given._held = True
            return given._data
        if isinstance(given, np.ndarray) and self.tape is not None and given.dtype.kind == "f":
            return given.copy()  # layers read their input again, and callers may write to theirs
        if self.tape is not None and not isinstance(given, np.ndarray) and hasattr(given, "__array__"):
            with suppress(Exception):  # the layer says what is wrong with it
                array = np.asarray(given).copy()
                return array if array.dtype.kind == "f" else given
        return given

    def _constant_output(self, array: Any) -> Any:
        data = array if _is_float(array) else _without_axes(array)
        return array if data is None else new_value(data, self, None)

    def _output(self, array: Any, held: bool) -> Any:
        if isinstance(array, (tuple, list, dict)):
            return mapped(lambda one: self._output(one, held), array)
        data = array if _is_float(array) else _without_axes(array)
        return array if data is None else new_value(data, self, Slot(data.shape, data.dtype), held=held)


def _of_table(layer: Any, backward: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The backward pass of a product with a layer's weight, without what is frozen."""
    names = layer._trained_shapes()

    def run_back(d: Any) -> tuple[Any, dict[str, Any]]:
        dx, d_params = backward(d)
        return dx, {name: gradient for name, gradient in d_params.items() if name in names}

    return run_back


def _few(symbols: Any) -> bool:
    return type(symbols) is np.ndarray and symbols.size < FEWEST_SYMBOLS


def _by_position(
    layer: Any, names: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call with those of these names, and what comes before them, given by position."""
    kinds = inspect.signature(layer.__call__).parameters.values()
    inputs = [one for one in kinds if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)][len(args) :]
    left = list(names)
    for one in inputs:
        if not left or (one.name not in kwargs and one.default is one.empty):
            break
        args = (*args, kwargs.pop(one.name, one.default))
        if one.name in left:
            left.remove(one.name)
    if left:
        raise TypeError(
            f"{left[0]} of {layer!r} is a value, whose gradient would be lost: only an input that the layer takes by "
            "position has one"
        )
    return args, kwargs


def _slots_of(output: Any) -> Any:
    return output._slot if type(output) is Value else mapped(_slot, output)


def _slots(argument: Any) -> Any:
    """The slots of the values in an argument; None: it has none."""
    places = mapped(_slot, argument)
    return None if all(slot is None for slot in leaves(places)) else places


def _slot(given: Any) -> Place | None:
    return given._slot if isinstance(given, Value) else None


def _without_axes(output: Any) -> Array | None:
    """An output of a layer that is no array of floats as one, None if it has no gradient."""
    if isinstance(output, Value):
        raise TypeError(
            "the layer has computed with a value of the model's run that it was not called with, whose gradient would "
            "be lost: make it an input of the layer, by position"
        )
    return np.asarray(output) if isinstance(output, np.floating) else None  # NumPy's form of one without axes


def _is_float(array: Any) -> bool:
    """Integers have no gradient, and stay plain arrays."""
    return isinstance(array, np.ndarray) and array.dtype.kind == "f"
