"""A graph that grows: nodes, constants and names, while layers and operations are written into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._arrays import Array
from . import writing

OPSET = 17


@dataclass(frozen=True)
class Name:
    """A value of the graph: its name, and what is known of its axes (the number of them, and the size of the last)."""

    name: str
    ndim: int
    width: int | None = None


class Emitter:
    """What has been written of a graph."""

    def __init__(self) -> None:
        self.nodes: list[bytes] = []
        self.constants: dict[str, Array] = {}
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
        """An array that is part of the graph; small ones are written once."""
        array = np.asarray(array)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        key = (str(array.dtype), array.shape, array.tobytes()) if array.size <= 64 else None
        if key is not None and key in self._shared:
            return self._shared[key]
        own = self.new(name)
        self.constants[own] = array
        if key is not None:
            self._shared[key] = own
        return own

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64), "sizes")

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
        self.nodes.append(writing.node(operator, inputs, given, name=self.new(f"node_{operator}"), **attributes))
        return names[0] if len(names) == 1 else names

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
        return self.node("Gather", [self.node("Shape", [x]), self.constant(np.array(axis, np.int64))], axis=0)  # type: ignore[no-any-return]

    def inside(self, x: str, lengths: str) -> str:
        """Of x (N, T, F), (N, T, 1) bools: which steps belong to a sequence."""
        zero, one = self.constant(np.array(0, np.int64)), self.constant(np.array(1, np.int64))
        steps = self.node("Range", [zero, self.size(x, 1), one])
        return self.unsqueezed(self.node("Less", [steps, self.unsqueezed(lengths, 1)]), 2)

    def masked(self, x: str, lengths: str, other: float = 0.0) -> str:
        """x (N, T, F) with another number past the lengths."""
        return self.node("Where", [self.inside(x, lengths), x, self.constant(np.float32(other))])  # type: ignore[no-any-return]
