"""Tapes between a forward pass and its gradient, named by a number that goes through the program as an array.

A program may run a forward pass whose gradient never comes (`jax.checkpoint` does), or ask for a gradient twice: so
what is kept is bounded, the oldest goes first, and who finds no tape runs the forward pass again.
"""

from __future__ import annotations

import itertools
import os
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from ... import _core

MOST_KEPT = 2**30  # bytes
_KEPT: OrderedDict[bytes, tuple[_core.Tape, int]] = OrderedDict()  # the newest last
# No number comes twice, in another process neither: an array with it may be stored, or go there.
_NUMBERS = itertools.count(int.from_bytes(os.urandom(7), "little"))


def keep(tape: _core.Tape, size: int) -> NDArray[np.uint32]:
    """The tape's name, (2,); size: about its bytes."""
    name = np.array([next(_NUMBERS)], np.uint64).view(np.uint32)
    _KEPT[name.tobytes()] = tape, size
    kept = list(_KEPT.items())
    total = sum(number for _, (_, number) in kept)
    for old, (_, number) in kept:
        if total <= MOST_KEPT:
            break
        _KEPT.pop(old, None)
        total -= number
    return name


def take(name: NDArray[np.uint32]) -> _core.Tape | None:
    """The tape, which is forgotten then: most gradients are asked for once, and memory counts."""
    kept = _KEPT.pop(name.tobytes(), None)
    return None if kept is None else kept[0]
