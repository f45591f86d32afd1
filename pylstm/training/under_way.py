"""Which models are being trained: a callback may train others, and not the one that called it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

# A context belongs to one thread. Models are found by what they are: a copy of one is another one.
_TRAINED: ContextVar[tuple[Any, ...]] = ContextVar("pylstm_trained", default=())


def refuse_again(model: Any) -> None:
    """Raises RuntimeError if a call of fit that has not returned trains that model."""
    if any(one is model for one in _TRAINED.get()):
        raise RuntimeError(
            "this model is in the middle of fit, which would go on with other weights than it left: call fit when that "
            "has returned, or train a copy (copy.deepcopy)"
        )


@contextlib.contextmanager
def under_way(model: Any) -> Iterator[None]:
    """Within it, `refuse_again` refuses that model."""
    before = _TRAINED.set((*_TRAINED.get(), model))
    try:
        yield
    finally:
        _TRAINED.reset(before)
