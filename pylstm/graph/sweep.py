"""The reverse sweep: from the gradients of outputs to those of inputs and parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .._arrays import Array
from ..layers.row_gradient import RowGradient, sum_rows
from .operations import Part
from .values import Slot


class Sums:
    """Gradients added up: of values by slot, of parameters by layer."""

    def __init__(self) -> None:
        self._values: dict[Slot, Array] = {}
        self._own: set[Slot] = set()  # those that were made here, and may be added to in place
        self._params: dict[int, dict[str, Any]] = {}
        self._own_params: set[tuple[int, str]] = set()

    # ---- values ------------------------------------------------------------------------------------------------------

    def add(self, slot: Slot | None, gradient: Any, source: Any) -> None:
        """One more part of a value's gradient. It stays as it is, and may be somebody else's."""
        if slot is None or gradient is None:
            return
        total = self._values.get(slot)
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
        if gradient.dtype != slot.dtype:
            gradient = gradient.astype(slot.dtype)
        if total is None:
            self._values[slot] = np.asarray(gradient)
        elif slot in self._own:
            total += gradient
        else:
            self._values[slot] = np.asarray(total + gradient, slot.dtype)
            self._own.add(slot)

    def take(self, slot: Slot) -> Array | None:
        """The gradient of a value whose uses have all been seen."""
        self._own.discard(slot)
        return self._values.pop(slot, None)

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
        return self._params.get(id(layer))

    def add_params(self, layer: Any, gradients: Mapping[str, Any]) -> None:
        """The gradients of one more call of a layer; they may be somebody else's."""
        sums = self._params.setdefault(id(layer), {})
        for name, gradient in gradients.items():
            total = sums.get(name)
            if total is None:
                sums[name] = _Rows(gradient) if isinstance(gradient, RowGradient) else gradient
            elif isinstance(gradient, RowGradient) and isinstance(total, _Rows):
                total.parts.append(gradient)
            elif (id(layer), name) in self._own_params and not isinstance(gradient, RowGradient):
                total += gradient
            else:
                sums[name] = _whole(total) + gradient
                self._own_params.add((id(layer), name))

    def params(self, layer: Any) -> dict[str, Any]:
        """The sums of a layer: name -> gradient, of the parameters that have any."""
        return {name: _whole(value) for name, value in self._params.get(id(layer), {}).items()}


class _Rows:
    """Gradients of rows, added up all at once in the end: one by one would sort the first ones again each time."""

    def __init__(self, first: RowGradient) -> None:
        self.parts = [first]

    def whole(self) -> RowGradient:
        if len(self.parts) == 1:
            return self.parts[0]
        rows = np.concatenate([part.rows for part in self.parts])
        return sum_rows(rows, np.concatenate([part.values for part in self.parts]), self.parts[0].shape)


def _whole(total: Any) -> Any:
    return total.whole() if isinstance(total, _Rows) else total


def sweep(tape: list[Any], sums: Sums, keep: bool) -> None:
    """Through the nodes of a tape from its end. Without `keep` each is let go of as soon as it is done."""
    if keep:
        for node in reversed(tape):
            node.sweep(sums)
    else:
        while tape:
            tape.pop().sweep(sums)
