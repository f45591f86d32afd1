"""The reverse sweep: from the gradients of outputs to those of inputs and parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .._arrays import Array
from ..layers.ends_gradient import EndsGradient
from ..layers.row_gradient import RowGradient, sum_rows
from .operations import Part
from .values import Place, Slot

# A layer in a chain, with one input and one output: (backward, layer, plain, x, y, state). `backward` is that of
# `forward` if it is plain, else of `vjp`. A state is handed on as it is, and so are the gradients to it: the one to the
# state after comes in the place where the one to the state before is left. A tuple is made faster than an object.
Step = tuple[Callable[..., Any], Any, bool, Place | None, Place, Place | None]


# What stands before a layer's names of parameters, the layer, and name -> shape of those whose gradients are wanted.
Trained = tuple[str, Any, dict[str, tuple[int, ...]]]


def trained(parts: Iterable[tuple[str, Any]]) -> list[Trained]:
    """Layers with their parameters that are not frozen, as it is now: a forward pass decides, and its backward pass
    may come when it is otherwise."""
    return [(prefix, layer, layer._trained_shapes()) for prefix, layer in parts]


class Sums:
    """Gradients added up: of values by slot, of parameters by layer."""

    __slots__ = ("_ended", "_own", "_params", "_values")

    def __init__(self) -> None:
        self._values: dict[Place, Any] = {}
        self._ended: dict[Place, Any] = {}  # by what a layer of a chain gave no gradient to: the layer
        self._params: dict[int, Any] = {}
        self._own: set[Any] = set()  # what was made here, and may be added to in place

    # ---- values ------------------------------------------------------------------------------------------------------

    def add(self, slot: Place | None, gradient: Any, source: Any) -> None:
        """One more part of a value's gradient. It stays as it is, and may be somebody else's."""
        if slot is None or gradient is None:
            return
        gradient, total = _spread(gradient), _spread(self._values.get(slot))
        if type(slot) is not Slot:
            self._values[slot] = gradient if total is None else total + gradient
            return
        if type(gradient) is Part:
            if total is None:
                total = np.zeros(slot.shape, slot.dtype)
            elif slot not in self._own:
                total = np.array(total, slot.dtype)
            gradient.add_to(total)
            self._values[slot] = total
            self._own.add(slot)
            return
        if gradient.shape != slot.shape:
            raise ValueError(f"backward of {source!r} gave a gradient of shape {gradient.shape} for {slot.shape}")
        if gradient.dtype is not slot.dtype and gradient.dtype != slot.dtype:
            gradient = gradient.astype(slot.dtype)
        if total is None:
            self._values[slot] = gradient if type(gradient) is np.ndarray else np.asarray(gradient)
        elif slot in self._own:
            total += gradient
        else:
            self._values[slot] = np.asarray(total + gradient, slot.dtype)
            self._own.add(slot)

    def set(self, slot: Place | None, gradient: Any) -> None:
        """The whole of a gradient, of whatever form: a layer gets it as it is, even None."""
        if slot is not None:
            self._values[slot] = gradient

    def step_back(self, step: Step) -> None:
        """The gradients of a layer in a chain."""
        backward, layer, plain, x, y, state = step
        values, params = self._values, self._params
        after = None if state is None else values.pop(state, None)
        if y not in values and after is None:
            if self._ended:
                self.pass_on(y, layer, (x,))
            return
        d = values.pop(y, None)
        key = id(layer)
        if plain:
            dx, d_params = backward(d)
            if isinstance(dx, tuple):
                if not dx:
                    raise ValueError(f"backward of {layer!r} gave no gradient for its input")
                dx = dx[0]
        else:
            if key in params:
                d_inputs, d_params = backward(d, after, into=self.into(layer))
            else:
                d_inputs, d_params = backward(d) if after is None else backward(d, after)
            dx = d_inputs[0]
            if state is not None and len(d_inputs) > 1 and d_inputs[1] is not None:
                values[state] = d_inputs[1]
        if key in params:
            self.add_params(layer, d_params)
        elif d_params:
            params[key] = d_params
        if dx is None:
            self.end(x, layer)
        elif x is not None:
            if x in values or type(x) is not Place:
                self.add(x, dx, layer)
            else:
                values[x] = dx

    def end(self, slot: Place | None, layer: Any) -> None:
        """A layer gave no gradient to this value."""
        if slot is not None:
            self._ended[slot] = layer

    def pass_on(self, output: Place | None, layer: Any, inputs: Iterable[Place | None]) -> None:
        """No gradient has come to an output. If it ended behind it, it ends for the inputs, too, and is an error where
        a layer has parameters."""
        last = None if output is None else self._ended.get(output)
        if last is None:
            return
        if layer is not None and layer._trained_shapes():
            raise ValueError(
                f"backward of {last!r} gave None for the gradient to its input, and {layer!r} before it needs one: "
                "zeros, if there is none"
            )
        for slot in inputs:
            self.end(slot, last)

    def take(self, slot: Place) -> Any:
        """The gradient of a value whose uses have all been seen."""
        if self._own:
            self._own.discard(slot)
        return _spread(self._values.pop(slot, None))

    def given_out(self, slots: Iterable[Slot], others: Sequence[Array]) -> dict[Slot, Array]:
        """The gradients of these slots as arrays that share no memory with each other and with `others`."""
        found: dict[Slot, Array] = {}
        seen = list(others)
        for slot in slots:
            own, gradient = slot in self._own, self.take(slot)
            if gradient is None:
                gradient = np.zeros(slot.shape, slot.dtype)
            elif not own and (
                not gradient.flags.writeable or any(np.may_share_memory(gradient, other) for other in seen)
            ):
                gradient = gradient.copy()
            seen.append(gradient)
            found[slot] = gradient
        return found

    # ---- parameters --------------------------------------------------------------------------------------------------

    def into(self, layer: Any) -> dict[str, Any] | None:
        """The gradients of the layer's other calls, to which a recurrent one adds its own in place; None: there are
        none yet."""
        key = id(layer)
        if key not in self._params:
            return None
        sums: dict[str, Any] = self._params[key]
        if key not in self._own:  # as the first call gave them
            sums = {name: _Rows(one) if isinstance(one, RowGradient) else one for name, one in sums.items()}
            self._params[key] = sums
            self._own.add(key)
        return sums

    def add_params(self, layer: Any, gradients: Mapping[str, Any]) -> None:
        """The gradients of one more call of a layer; they may be somebody else's."""
        sums = self.into(layer)
        if sums is None:
            self._params[id(layer)] = gradients
            return
        for name, gradient in gradients.items():
            total = sums.get(name)
            if total is None:
                sums[name] = _Rows(gradient) if isinstance(gradient, RowGradient) else gradient
            elif isinstance(gradient, RowGradient) and isinstance(total, _Rows):
                total.parts.append(gradient)
            elif (id(layer), name) in self._own and not isinstance(gradient, RowGradient):
                total += gradient
            else:
                sums[name] = _whole(total) + gradient
                self._own.add((id(layer), name))

    def gathered(self, parts: Iterable[Trained]) -> dict[str, Any]:
        """Name -> gradient for every parameter of these: zero for those of layers that the outputs do not depend on."""
        found: dict[str, Any] = {}
        for prefix, layer, shapes in parts:
            if shapes:
                own = self._params.get(id(layer))
                if own is None:
                    found.update({prefix + name: np.zeros(shape, layer.dtype) for name, shape in shapes.items()})
                    continue
                for name in shapes:
                    if name not in own:
                        raise ValueError(f"backward of {layer!r} gave no gradient of {name}")
                    value = own[name]
                    found[prefix + name] = value.whole() if type(value) is _Rows else value
        return found


class _Rows:
    """Gradients of rows, added up all at once in the end: one by one would sort the first ones again each time."""

    def __init__(self, first: RowGradient) -> None:
        self.parts = [first]

    def whole(self) -> RowGradient:
        if len(self.parts) == 1:
            return self.parts[0]
        rows = np.concatenate([part.rows for part in self.parts])
        return sum_rows(rows, np.concatenate([part.values for part in self.parts]), self.parts[0].shape)


def _spread(gradient: Any) -> Any:
    return gradient.dense() if type(gradient) is EndsGradient else gradient


def _whole(total: Any) -> Any:
    return total.whole() if isinstance(total, _Rows) else total


def sweep(tape: list[Any], sums: Sums, keep: bool) -> None:
    """Through the nodes of a tape from its end. Without `keep` each is let go of as soon as it is done."""
    for node in reversed(tape) if keep else _popped(tape):
        if type(node) is tuple:
            sums.step_back(node)
        else:
            node.sweep(sums)


def _popped(tape: list[Any]) -> Iterator[Any]:
    while tape:
        yield tape.pop()
