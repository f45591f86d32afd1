"""What all layers that are made of layers have in common: names, updates and randomness of their parts."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .._arrays import Array
from .._interrupts import Uninterrupted
from .freezing import set_trainable
from .layer import Layer
from .parameters import Params


class Composite(Layer):
    """A layer whose parameters are those of its parts, each under the part's prefix: `0.weight`, `head.bias`."""

    @abc.abstractmethod
    def _parts(self) -> list[tuple[str, Layer]]:
        """(prefix, layer) for every part, in their order; a prefix ends in a dot."""

    # ---- parameters ------------------------------------------------------------------------------------------------

    @property
    def params(self) -> Mapping[str, Array]:
        """The parameters, a mapping of names to arrays, both read-only. Every look-up gives a new view.

        Replace values with `load_state_dict`.
        """
        return Params({prefix + name: value for prefix, part in self._parts() for name, value in part.params.items()})

    def _is_trainable(self) -> bool:
        leaves = [leaf for _, leaf in self._owners()]
        return any(leaf._trainable for leaf in leaves) or not leaves

    def _set_trainable(self, value: bool) -> None:
        for _, part in self._parts():
            part._set_trainable(value)

    def _trained_shapes(self) -> dict[str, tuple[int, ...]]:
        parts = [(prefix, part._trained_shapes(), part) for prefix, part in self._parts()]
        if all(own is part._param_shapes for _, own, part in parts):  # nothing is frozen, as a rule
            return self._param_shapes
        return {prefix + name: shape for prefix, own, _ in parts for name, shape in own.items()}

    def _owners(self) -> list[tuple[str, Layer]]:
        return [(prefix + name, leaf) for prefix, part in self._parts() for name, leaf in part._owners()]

    def freeze(self, *which: Layer | str | int) -> None:
        """Freeze layers: training leaves their parameters as they are, to the bit. See `trainable`.

        Args:
            which: layers of the model, models and containers in it among them; their names, as they stand before those
                of the parameters ("encoder", "encoder.0", "0"); places in a `Sequential` (0, -1). Nothing: all layers.

        Raises TypeError or ValueError for what is no layer of the model; nothing has changed then.
        """
        set_trainable(self, which, False)

    def unfreeze(self, *which: Layer | str | int) -> None:
        """Let training change these layers again: the other way round as `freeze`. Nothing given: all layers.

        Raises TypeError or ValueError for what is no layer of the model; nothing has changed then.
        """
        set_trainable(self, which, True)

    def _param_dtypes(self) -> dict[str, np.dtype[Any]]:
        return {prefix + name: dtype for prefix, part in self._parts() for name, dtype in part._param_dtypes().items()}

    def _split(self, values: Mapping[str, Any]) -> list[tuple[str, Layer, dict[str, Any]]]:
        """(prefix, layer, what `values` have for it under its own names), of the parts that they have something for."""
        split = []
        for prefix, part in self._parts():
            own = {name: values[prefix + name] for name in part._param_shapes if prefix + name in values}
            if own:
                split.append((prefix, part, own))
        return split

    def _prepared(self, arrays: Mapping[str, Array]) -> Callable[[], None]:
        puts = [
            part._prepared({name: np.asanyarray(value, part.dtype) for name, value in own.items()})
            for _, part, own in self._split(arrays)
        ]

        def put() -> None:
            with Uninterrupted():
                for one in puts:
                    one()

        return put

    def _begin_update(self, names: list[str]) -> dict[str, tuple[Array, Array]]:
        return {
            prefix + name: value
            for prefix, part, own in self._split(dict.fromkeys(names))
            for name, value in part._begin_update(list(own)).items()
        }

    def _end_update(self, arrays: dict[str, Array]) -> None:
        for _, part, own in self._split(arrays):
            part._end_update(own)

    def _set_learned(self) -> None:
        for _, part in self._parts():
            part._set_learned()

    def _drawn_layers(self) -> list[Layer]:
        return [inner for _, part in self._parts() for inner in part._drawn_layers()]

    # ---- randomness ------------------------------------------------------------------------------------------------

    def _reseed(self, seed: np.random.SeedSequence) -> None:
        parts = self._parts()
        for (_, part), own in zip(parts, seed.spawn(len(parts)), strict=True):
            part._reseed(own)

    def _reseed_fresh(self, seed: np.random.SeedSequence) -> None:
        parts = self._parts()
        for (_, part), own in zip(parts, seed.spawn(len(parts)), strict=True):
            part._reseed_fresh(own)

    def _seed_dropout(self, seed: np.random.SeedSequence) -> None:
        parts = self._parts()
        for (_, part), own in zip(parts, seed.spawn(len(parts)), strict=True):
            part._seed_dropout(own)

    def _dropout_state(self) -> list[int]:
        return [number for _, part in self._parts() for number in part._dropout_state()]

    def _beside(self) -> Any:
        return [part._beside() for _, part in self._parts()]

    def _set_beside(self, state: Any) -> None:
        for (_, part), own in zip(self._parts(), state, strict=True):
            if own is not None:
                part._set_beside(own)

    def _random_layers(self) -> list[Layer]:
        return [inner for _, part in self._parts() for inner in part._random_layers()]

    def _set_dropout_state(self, state: list[int]) -> None:
        if len(state) != len(self._dropout_state()):
            raise ValueError("the state of dropout is of another model")
        for _, part in self._parts():
            count = len(part._dropout_state())
            part._set_dropout_state(state[:count])
            state = state[count:]
