"""Which run of a model this thread is in: what a layer asks first, and all it has to import to ask."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .graph.recording import Run

# None outside of `Model.run`. A context belongs to one thread, so that two threads may run one model at once.
ACTIVE: ContextVar[Run | None] = ContextVar("pylstm_run", default=None)


def refuse_in_training(layer: Any, method: str, instead: str = "call the layer itself, layer(value)") -> None:
    """Raises TypeError while a run is recorded: what such a method returns is no value of the run, and the gradients
    of all that is computed with it would be lost. Asked where `ACTIVE` is set; layers compute outside of the run."""
    run = ACTIVE.get()
    if run is not None and run.tape is not None:
        raise TypeError(
            f"{type(layer).__name__}.{method} inside of a model's run would compute apart from it, and its "
            f"gradients would be lost: {instead}"
        )
