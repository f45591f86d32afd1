"""What the layers of a model's run are called with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..graph.deferred import DeferringRun


@contextmanager
def attributes_kept(model: object) -> Iterator[None]:
    """What a run sets in the model is as before afterwards: for runs that nobody asked for."""
    own = vars(model)
    before = dict(own)
    try:
        yield
    finally:
        for name in own.keys() - before.keys():
            del own[name]
        own.update({name: value for name, value in before.items() if own.get(name) is not value})


Seen = list[tuple[Any, tuple[int, ...]]]  # (layer, shape of x), call by call


class Watching(DeferringRun):
    """A run in inference that notes the shape of every layer's input."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        super().__init__(recording=False)
        self.seen: Seen = []

    def call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = args[0] if args else kwargs.get("x")
        self.seen.append((layer, tuple(getattr(given, "shape", ()))))
        return super().call(layer, args, kwargs)


def misread(one: Seen, two: Seen) -> tuple[Any, tuple[int, ...]] | None:
    """The first layer that takes sequences for steps, from what was seen of runs with one and with two of them: it
    takes no batch of what comes. None: there is none, or the runs went different ways."""
    if [layer for layer, _ in one] != [layer for layer, _ in two]:
        return None
    for (layer, shape), (_, other) in zip(one, two, strict=True):
        if shape and other and shape[0] != other[0] and layer._says_shape():
            try:
                after = layer.output_shape((None, *other[1:]))
            except ValueError:
                return layer, other
            if not after or after[0] is not None:
                return layer, other
    return None
