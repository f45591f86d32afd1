"""A graph that grows: nodes, constants and names, while layers and operations are written into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._arrays import Array
from . import writing
from .tensors import NUMBERS

OPSET = 17


@dataclass(frozen=True)
class Name:
    """A value of the graph: its name, and what is known of its axes (the number of them, and the size of the last)."""

    name: str
    ndim: int
    width: int | None = None


Written = tuple[Name, Any]  # what a layer gives, and the names of its states behind it, if it has any


class Emitter:
    """What has been written of a graph.

    Attributes:
        dtype: that of its numbers, float32 or float64.
    """

    def __init__(self, dtype: Any = np.float32) -> None:
        self.dtype = np.dtype(dtype)
        self._nodes: list[tuple[list[str], list[str], bytes]] = []
        self._ends: list[tuple[str, Any]] = []
        self._constants: dict[str, Array] = {}
        self._shared: dict[tuple[Any, ...], str] = {}
        self._taken: dict[str, int] = {}
        self.scope = ""

    def new(self, name: str) -> str:
        """A name that nothing else has."""
        name = f"{self.scope}{name}"
        count = self._taken.get(name, 0)
        self._taken[name] = count + 1
        return name if not count else self.new_numbered(name, count)

    def new_numbered(self, name: str, count: int) -> str:
        while f"{name}_{count}" in self._taken:
            count += 1
        self._taken[f"{name}_{count}"] = 1
        return f"{name}_{count}"

    def constant(self, array: Any, name: str = "constant") -> str:
        """An array that is part of the graph, of floats in its dtype; small ones are written once."""
        array = np.asarray(array)
        if array.dtype.kind == "f":
            array = array.astype(self.dtype, copy=False)
        key = (str(array.dtype), array.shape, array.tobytes()) if array.size <= 64 else None
        if key is not None and key in self._shared:
            return self._shared[key]
        own = self.new(name)
        self._constants[own] = array
        if key is not None:
            self._shared[key] = own
        return own

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64), "sizes")

    def integer(self, value: int) -> str:
        """One without axes."""
        return self.constant(np.array(value, np.int64))

    def number(self, value: float) -> str:
        """One float without axes."""
        return self.constant(np.array(value, self.dtype))

    def as_floats(self, x: str) -> str:
        return self.node("Cast", [x], to=NUMBERS[self.dtype])  # type: ignore[no-any-return]

    def node(self, operator: str, inputs: Sequence[str], outputs: int | Sequence[bool] = 1, **attributes: Any) -> Any:
        """Write a node: its output's name, or a list of several; outputs: how many, or which are wanted."""
        inputs = list(inputs)
        while inputs and not inputs[-1]:
            inputs.pop()
        wanted = [True] * outputs if isinstance(outputs, int) else list(outputs)
        names = [self.new(operator.lower()) if one else "" for one in wanted]
        given = list(names)
        while given and not given[-1]:
            given.pop()
        self._add(operator, inputs, given, **attributes)
        return names[0] if len(names) == 1 else names

    def _add(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        data = writing.node(operator, inputs, outputs, name=self.new(f"node_{operator}"), **attributes)
        self._nodes.append((inputs, outputs, data))

    def end(self, name: str, wanted: str, shape: Sequence[writing.Size]) -> None:
        """An output of that name; it must be a new one."""
        self._add("Identity", [name], [wanted])
        self._ends.append((wanted, writing.value(wanted, self.dtype, shape)))

    def finished(self, inputs: Sequence[bytes], name: str) -> writing.GraphBytes:
        """What leads to the outputs."""
        needed, nodes = {end for end, _ in self._ends}, []
        for takes, gives, data in reversed(self._nodes):
            if not needed.isdisjoint(gives):
                needed.update(takes)
                nodes.append(data)
        constants = {name: array for name, array in self._constants.items() if name in needed}
        return writing.graph(reversed(nodes), inputs, [value for _, value in self._ends], constants, name)

    # ---- what layers have in common ----------------------------------------------------------------------------------

    def transposed(self, x: str, *axes: int) -> str:
        return self.node("Transpose", [x], perm=list(axes))  # type: ignore[no-any-return]

    def squeezed(self, x: str, *axes: int) -> str:
        return self.node("Squeeze", [x, self.integers(*axes)])  # type: ignore[no-any-return]

    def unsqueezed(self, x: str, *axes: int) -> str:
        return self.node("Unsqueeze", [x, self.integers(*axes)])  # type: ignore[no-any-return]

    def reshaped(self, x: str, *sizes: int) -> str:
        """0: as it is; -1: what is left."""
        return self.node("Reshape", [x, self.integers(*sizes)])  # type: ignore[no-any-return]

    def part(self, x: str, axis: int, start: int, end: int) -> str:
        """x[.., start:end, ..]."""
        return self.node(  # type: ignore[no-any-return]
            "Slice", [x, self.integers(start), self.integers(end), self.integers(axis)]
        )

    def size(self, x: str, axis: int) -> str:
        """How long an axis is, as one integer without axes."""
        return self.node("Gather", [self.node("Shape", [x]), self.integer(axis)], axis=0)  # type: ignore[no-any-return]

    def counted(self, x: str, axis: int) -> str:
        """0, 1, .. for all that an axis has."""
        return self.node("Range", [self.integer(0), self.size(x, axis), self.integer(1)])  # type: ignore[no-any-return]

    def inside(self, x: str, lengths: str) -> str:
        """Of x (N, T, F), (N, T, 1) bools: which steps belong to a sequence."""
        return self.unsqueezed(self.node("Less", [self.counted(x, 1), self.unsqueezed(lengths, 1)]), 2)

    def masked(self, x: str, lengths: str, other: float = 0.0) -> str:
        """x (N, T, F) with another number past the lengths."""
        return self.node("Where", [self.inside(x, lengths), x, self.number(other)])  # type: ignore[no-any-return]
