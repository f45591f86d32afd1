"""The layers of a container by their places: `model[0]`, `model[:2]`, `len(model)`, `for layer in model`."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .. import _checks

if TYPE_CHECKING:
    from .layer import Layer


class Members:
    """What has `layers`, seen as a sequence of them. Nothing can be put into it: sizes have been checked once."""

    layers: tuple[Layer, ...]

    def __len__(self) -> int:
        """How many layers there are."""
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        """The layers, from the first to the last."""
        return iter(self.layers)

    def __getitem__(self, place: Any) -> Any:
        """The layer at this place, negative ones counting from the end; of a slice a container of those layers.

        The layers are the same objects: what trains one trains the other. A `Sequential` is cut into a `Sequential`,
        with metadata of its own that is empty.

        Raises IndexError for a place that is not there, ValueError for a slice that holds nothing, TypeError for
        others.
        """
        if isinstance(place, slice):
            return self._cut(place)
        try:
            if isinstance(place, bool):
                raise TypeError
            index = operator.index(place)
        except TypeError:
            raise TypeError(
                f"a {type(self).__name__} has its layers by place, model[0] or model[:2], got {_checks.kind(place)}"
            ) from None
        try:
            return self.layers[index]
        except IndexError:
            raise IndexError(f"there is no layer {index}: the {type(self).__name__} has {len(self.layers)}") from None

    def _cut(self, which: slice) -> Any:  # noqa: ARG002
        """The container of a slice."""
        raise TypeError(f"a {type(self).__name__} cannot be cut: take some of its .layers")

    def _some(self, which: slice) -> tuple[Layer, ...]:
        """The layers of a slice."""
        try:
            found = self.layers[which]
        except TypeError:
            raise TypeError("a slice of a model has whole numbers: model[:2]") from None
        if not found:
            shown = ":".join("" if part is None else str(part) for part in (which.start, which.stop))
            raise ValueError(f"[{shown}] holds no layer: the {type(self).__name__} has {len(self.layers)}")
        return found
