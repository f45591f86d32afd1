"""Parameters as the core has them packed, and whether they are still the same.

A tensor's version does not count edits through `.data`, NumPy or another process, so the numbers themselves are
compared with a copy: at the speed of memory, and up to the first difference only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ... import _core
from ..._arrays import Array
from .spec import Spec

DTYPES: dict[torch.dtype, np.dtype[Any]] = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
MOST_KEPT = 2**28  # bytes of parameters whose packed copies calls without a module keep
MOST_PLACES = 64


class _Packed:
    """Parameters as they were when they were packed: where each was in memory, an array of that memory, and a copy."""

    def __init__(self, spec: Spec, weights: Sequence[torch.Tensor]) -> None:
        self.network_of, self.dtype = (spec.network, spec.bias), weights[0].dtype
        views = [_contiguous(weight) for weight in weights]
        copies = [bytearray(view) for view in views]
        self._seen = [
            (weight.data_ptr(), view, copy) for weight, view, copy in zip(weights, views, copies, strict=True)
        ]
        # Arrays of the copies, and not of the tensors: the core packs some of them only when gradients are asked for.
        arrays = [np.frombuffer(copy, view.dtype).reshape(view.shape) for copy, view in zip(copies, views, strict=True)]
        cell, *sizes = spec.network
        self.network = _core.Network(str(cell), DTYPES[self.dtype], *sizes, params=spec.nested(arrays))  # type: ignore[arg-type, misc]

    def is_of(self, weights: Sequence[torch.Tensor]) -> bool:
        """Whether these are the same numbers, of the same dtype."""
        dtype = self.dtype
        for (place, view, copy), weight in zip(self._seen, weights, strict=True):
            if weight.data_ptr() != place or not weight.is_contiguous() or weight.dtype is not dtype:
                view = _contiguous(weight)  # and no look at memory that may have been given back
            if copy != view:  # byte for byte, as the left one is a bytearray
                return False
        return weights[0].dtype is dtype


def _contiguous(weight: torch.Tensor) -> Array:
    return weight.detach().contiguous().numpy()  # type: ignore[no-any-return, unused-ignore]


class Weights:
    """Packed on first use after a change. Threads may share one: what several of them pack is the same."""

    __slots__ = ("_packed",)

    def __init__(self) -> None:
        self._packed: _Packed | None = None

    def network(self, spec: Spec, weights: Sequence[torch.Tensor]) -> _core.Network:
        """spec: what is not of the network may differ from call to call. weights: in PyTorch's order, all on the CPU
        and of one dtype, float32 or float64."""
        packed = self._packed
        if packed is None or packed.network_of != (spec.network, spec.bias) or not packed.is_of(weights):
            self._packed = packed = _Packed(spec, weights)
        return packed.network


_KEPT: dict[tuple[object, ...], tuple[int, Weights]] = {}  # the newest last


def kept_for(spec: Spec, weights: Sequence[torch.Tensor]) -> Weights:
    """For calls that know no module, those of compiled programs: by where the first parameter is."""
    key = (spec.network, spec.bias, weights[0].dtype, weights[0].data_ptr())
    size: int = sum(weight.nbytes for weight in weights)
    kept = _KEPT.pop(key, (size, Weights()))
    _KEPT[key] = kept
    others = list(_KEPT.items())
    total = sum(number for _, (number, _) in others)
    for old, (number, _) in others[:-1]:
        if total <= MOST_KEPT and len(_KEPT) <= MOST_PLACES:
            break
        _KEPT.pop(old, None)
        total -= number
    return kept[1]
