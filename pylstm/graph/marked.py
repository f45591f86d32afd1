"""Plain arrays that a run knows again."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import Array


class Marked(np.ndarray[Any, Any]):
    """An array with more to it than its numbers, in a subclass: where others are copied to plain ones, it stays."""


def plain_copy(array: Any) -> Array:
    """A copy that callers cannot write to; what is marked as it is."""
    return array if isinstance(array, Marked) else np.array(array)
