"""Tapes that a tensor stands for, so that whatever keeps, drops or recomputes saved tensors does so with tapes.

The tensor's memory is an array that holds the tape; by its place the tape is found. A copy of the tensor finds nothing,
and the pass back begins with a forward pass then.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

import numpy as np
import torch

from .calls import Tape


class _Holder(np.ndarray):  # type: ignore[type-arg, unused-ignore]
    tape: Tape


_HELD: WeakValueDictionary[int, _Holder] = WeakValueDictionary()


def hold(tape: Tape) -> torch.Tensor:
    """(1,), int64; it says nothing by its value."""
    holder = _Holder(1, np.int64)
    holder[0] = 0
    holder.tape = tape
    handle = torch.from_numpy(holder)
    _HELD[handle.data_ptr()] = holder
    return handle


def held(handle: torch.Tensor) -> Tape | None:
    holder = _HELD.get(handle.data_ptr())
    return None if holder is None else holder.tape
