"""Sequences that go piece by piece through a graph that takes and gives its states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._arrays import Array
from ..files.onnx.model import Value
from .onnx_inputs import listed, take_input


class OnnxStream:
    """The states of sequences that go through an `OnnxModel` piece by piece; `model.stream()` makes it, at zero.

    For one thread at a time.

    Attributes:
        batch_size: N, the number of sequences.
        state: {input: array}, the states that the next step begins with; it can be set, to all of them or some.
    """

    def __init__(self, model: Any, batch_size: int, states: dict[str, str], fixed: Mapping[str, Any]) -> None:
        self._model, self.batch_size, self._states = model, batch_size, states
        names = [one.name for one in model.inputs]
        for name in fixed:
            if name not in names or name in states:
                raise ValueError(f"{name!r} cannot stay the same: it is no input, or a state")
        taken = {one.name: take_input(one, fixed[one.name]) for one in model.inputs if one.name in fixed}
        self._fixed = {name: array.copy() for name, array in taken.items()}
        self._left = [name for name in names if name not in states and name not in fixed]
        self._outputs = [one.name for one in model.outputs]
        self._kept: dict[str, Array] = {}
        self.reset()

    def step(self, *arrays: ArrayLike, **named: ArrayLike) -> Any:
        """The next piece of every sequence: the inputs that are no states, in their order or by name.

        Returns the outputs that are no states: one array, a tuple of several, None if there are none. Raises as a call
        of the model does; the states are then as they were before.
        """
        if len(arrays) > len(self._left):
            raise TypeError(f"a step takes {listed(self._left)}, and {len(arrays)} arrays were given")
        given = {**self._fixed, **self._kept, **dict(zip(self._left, arrays, strict=False))}
        for name in named:
            if name not in self._left or name in self._left[: len(arrays)]:
                raise TypeError(f"a step takes {listed(self._left)}, each once, and got {name!r}")
        found = self._model(**{**given, **named})
        outputs = dict(zip(self._outputs, found if isinstance(found, tuple) else (found,), strict=True))
        self._kept = {name: outputs[output] for name, output in self._states.items()}
        own = [array for name, array in outputs.items() if name not in self._states.values()]
        return own[0] if len(own) == 1 else tuple(own) or None

    def reset(self) -> None:
        """All states to zero. Raises ValueError if a file does not say how large they are: set `state` then."""
        states = [value for value in self._model.inputs if value.name in self._states]
        self._kept = {value.name: np.zeros(self._shape(value), value.dtype or np.float32) for value in states}

    def _shape(self, value: Value) -> tuple[int, ...]:
        """Of a state."""
        free = [size for size in value.shape or (None, None) if not isinstance(size, int)]
        if len(free) > 1 or value.shape is None:
            raise ValueError(
                f"the file does not say how large the state {value.name!r} is, {value.shape}: give it by name to the "
                "model itself"
            )
        return tuple(size if isinstance(size, int) else self.batch_size for size in value.shape)

    @property
    def state(self) -> dict[str, Array]:
        return {name: array.copy() for name, array in self._kept.items()}

    @state.setter
    def state(self, value: Mapping[str, ArrayLike]) -> None:
        if not isinstance(value, Mapping):
            raise TypeError(f"state must be a dict of {listed(list(self._states))}, got {_checks.kind(value)}")
        kept = dict(self._kept)
        for name, array in value.items():
            if name not in self._states:
                raise ValueError(f"there is no state {name!r}, but {listed(list(self._states))}")
            one = next(one for one in self._model.inputs if one.name == name)
            kept[name] = take_input(one, array).copy()
            if kept[name].shape != (wanted := self._shape(one)):
                raise ValueError(f"state {name!r} must have shape {wanted}, got {kept[name].shape}")
        self._kept = kept
