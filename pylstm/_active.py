"""Which run of a model this thread is in: what a layer asks first, and all it has to import to ask."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .graph.recording import Run

# None outside of `Model.run`. A context belongs to one thread, so that two threads may run one model at once.
ACTIVE: ContextVar[Run | None] = ContextVar("pylstm_run", default=None)
