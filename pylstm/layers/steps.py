"""What a layer gives a stream of a whole chain: a step of its own, and the state it keeps.

A recurrent layer gives its `Stream`, a linear one `LinearSteps`, another layer whose output at a step depends on this
step alone `Apart`, a container `ChainSteps`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import _checks


class Steps(Protocol):
    """See `Stream`, whose methods these are."""

    @property
    def _has_state(self) -> bool: ...
    def step(self, x: Any) -> Any: ...
    def __call__(self, x: Any) -> Any: ...
    def reset(self) -> None: ...
    def is_finite(self) -> NDArray[np.bool_]: ...
    @property
    def state(self) -> Any: ...
    @state.setter
    def state(self, value: Any) -> None: ...


class Apart:
    """Of a layer without a state."""

    _has_state: ClassVar[bool] = False
    state = None

    def __init__(self, layer: Any) -> None:
        self.step = layer

    def __call__(self, x: Any) -> Any:
        return self.step(x)

    def reset(self) -> None:
        """Nothing is kept."""

    def is_finite(self) -> NDArray[np.bool_]:
        """One for all sequences."""
        return np.ones(1, np.bool_)


class ChainSteps:
    """Through the layers of a container, by its own description of what it computes.

    Attributes:
        moved: whether a layer with a state has made its step since this was set to False.
    """

    def __init__(
        self, container: Any, batch_size: int, num_threads: int | None, one_after_another: bool = False
    ) -> None:
        self._container = container
        self._layers: list[Steps] = [layer._steps(batch_size, num_threads) for layer in container.layers]
        self._of = {id(layer): steps for layer, steps in zip(container.layers, self._layers, strict=True)}
        self._has_state = any(steps._has_state for steps in self._layers)
        self._inner = [steps for steps in self._layers if isinstance(steps, ChainSteps)]
        self._moved = False
        self._moves = self._short() if one_after_another else None

    def _short(self) -> list[tuple[Callable[[Any], Any], bool]]:
        """What a step calls where every layer takes the output of the one before, and whether that has a state: without
        layers that do nothing, and with an embedding and the recurrent layer behind it in one."""
        pairs = list(zip(self._container.layers, self._layers, strict=True))
        pairs = [
            (layer, steps)
            for i, (layer, steps) in enumerate(pairs)
            if not (0 < i < len(pairs) - 1 and _says(layer, "_hands_on_x") and _says(pairs[i - 1][0], "_asks"))
        ]
        moves: list[tuple[Callable[[Any], Any], bool]] = []
        for i, (layer, steps) in enumerate(pairs):
            if i and pairs[i - 1][0]._gives_table_rows() and layer._takes_table_rows():
                moves[-1] = layer._symbol_step(steps, pairs[i - 1][0]), True
            else:
                moves.append((steps.step, steps._has_state))
        return moves

    def step(self, x: Any) -> Any:
        if self._moves is None:
            return self._run(_step, x)
        container = self._container
        x = container._input(x, None)
        for step, has_state in self._moves:
            x = step(x)
            if has_state:
                self._moved = True
        return container._output(x)

    def __call__(self, x: Any) -> Any:
        return self._run(_chunk, x)

    def _run(self, go: Callable[[Any, Any], Any], x: Any) -> Any:
        def call(layer: Any, x: Any, state: Any, lengths: Any, as_rows: bool) -> tuple[Any, None]:  # noqa: ARG001
            steps = self._of[id(layer)]
            y = go(steps, x)
            self._moved = self._moved or steps._has_state
            return y, None

        container = self._container
        return container._output(container._run(call, container._input(x, None), None, None)[0])

    @property
    def moved(self) -> bool:
        return self._moved or any(inner.moved for inner in self._inner)

    @moved.setter
    def moved(self, value: bool) -> None:
        self._moved = value
        for inner in self._inner:
            inner.moved = value

    @property
    def state(self) -> list[Any]:
        return [steps.state for steps in self._layers]

    @state.setter
    def state(self, value: list[Any]) -> None:
        for steps, own in zip(self._layers, value, strict=True):
            if steps._has_state:
                steps.state = own

    def check_state(self, name: str, value: object) -> None:
        """Raises TypeError or ValueError, naming the place, unless it is a list as `state` gives one; what is in it the
        layers look at themselves."""
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{name} must be a list of states, one per layer, got {_checks.kind(value)}")
        if len(value) != len(self._layers):
            raise ValueError(f"{name} must hold {len(self._layers)} states, one per layer, got {len(value)}")
        for i, (steps, own) in enumerate(zip(self._layers, value, strict=True)):
            if isinstance(steps, ChainSteps):
                steps.check_state(f"{name}[{i}]", own)
            elif steps._has_state == (own is None):
                wanted = "a state" if steps._has_state else "None for a layer without one"
                raise ValueError(f"{name}[{i}] must be {wanted}, got {_checks.kind(own)}")

    def reset(self) -> None:
        for steps in self._layers:
            steps.reset()

    def is_finite(self) -> NDArray[np.bool_]:
        finite = np.ones(1, np.bool_)
        for steps in self._layers:
            finite = finite & steps.is_finite()
        return finite


def _says(layer: Any, what: str) -> bool:
    """Whether its very class says so: a subclass may do something else."""
    return bool(vars(type(layer)).get(what, False))


def _step(steps: Steps, x: Any) -> Any:
    return steps.step(x)


def _chunk(steps: Steps, x: Any) -> Any:
    return steps(x)
