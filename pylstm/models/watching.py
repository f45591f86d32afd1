"""What the layers of a model's run are called with."""

from __future__ import annotations

from typing import Any

from ..graph.deferred import DeferringRun
from ..graph.recording import Run
from ..training.data import Batch, Inputs

Seen = list[tuple[Any, Any]]  # (layer, what it was given as x), call by call


class _Watching(Run):
    """A run in inference that notes what every layer is given."""

    __slots__ = ("seen",)

    def __init__(self, seen: Seen) -> None:
        super().__init__(recording=False)
        self.seen = seen

    def call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.seen.append((layer, args[0] if args else kwargs.get("x")))
        return super().call(layer, args, kwargs)


class _WatchingDeferring(_Watching, DeferringRun):
    __slots__ = ()


def watching(seen: Seen, deferred: bool) -> Run:
    """A run in inference for which `seen` takes what every layer is given. deferred: it is a `DeferringRun`."""
    return _WatchingDeferring(seen) if deferred else _Watching(seen)


def shape_of(given: Any) -> tuple[int, ...]:
    """Of what a layer was given; () where nobody knows."""
    return tuple(getattr(given, "shape", ()))


def misreads(layer: Any, shape: tuple[int, ...], count: int) -> bool:
    """Whether a layer takes the first axis of `count` sequences for something else. What it does not take at all, it
    refuses itself."""
    if not shape or shape[0] != count or not layer._says_shape():
        return False
    try:
        after = layer.output_shape((None, *shape[1:]))
    except ValueError:
        wanted = layer.input_shape()
        return not wanted or wanted[-1] in (None, shape[-1])
    return not after or after[0] is not None


def first_refused(inputs: Inputs, batch: Batch, seen: Seen) -> int | None:
    """The first of the inputs with values that a layer would refuse, of those that it was given as they came."""
    for part, array in zip(inputs.parts, batch.inputs or batch.named.values(), strict=True):
        for layer in [layer for layer, given in seen if given is array]:
            if not all(_takes(layer, piece) for piece in part.pieces()):
                return next((i for i in range(len(part)) if not _takes(layer, part.one(i)[None])), None)
    return None


def _takes(layer: Any, values: Any) -> bool:
    try:
        layer._check_values("x", values)
    except (TypeError, ValueError, IndexError):
        return False
    return True
