"""What attention keeps of the keys it looks at, from one step of a decoder to the next."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import array_of, length_array, real_array


class AttentionMemory(NamedTuple):
    """What `Attention.prepare` made: keys that calls take in place of keys and lengths.

    A tuple of arrays, in a model's run of values, that a model's `run` may take and return. All of them have the
    sequences first, so that those of a beam search are taken as its states are: `array[rows]`, or `select` for all.

    Attributes:
        keys: (N, K, key_size), 0 past the lengths.
        projected: what the scores are computed with, (N, K, size) of "additive", (N, K, query_size) of "general", and
            of the others the keys themselves.
        lengths: (N,) int64.
    """

    keys: Any
    projected: Any
    lengths: Any

    def select(self, rows: ArrayLike) -> AttentionMemory:
        """The memory of these sequences, in this order; one may come several times.

        Args:
            rows: (M,) integers in -N..N-1.

        Raises TypeError for other rows, IndexError for one that is not there.

        >>> attention = pylstm.Attention(8, 6, seed=0)
        >>> memory = attention.prepare(np.ones((2, 5, 6)), lengths=[5, 2])
        >>> memory.select([0, 0, 1, 1]).lengths                           # for a beam of two hypotheses each
        array([5, 5, 2, 2])
        """
        index = array_of("rows", rows)
        if index.size == 0 and index.ndim == 1 and not isinstance(rows, np.ndarray):
            index = index.astype(np.int64)  # the list [] has no dtype of its own
        if index.dtype.kind not in "iu" or index.ndim != 1:
            raise TypeError(f"rows must be integers (M,), got dtype {index.dtype} and shape {index.shape}")
        count = len(self.lengths)
        if index.size and not -count <= int(index.min()) <= int(index.max()) < count:
            raise IndexError(f"rows must lie in {-count}..{count - 1}, got {index.min()}..{index.max()}")
        index = index.astype(np.int64)
        keys = self.keys[index]
        projected = keys if self.projected is self.keys else self.projected[index]
        return AttentionMemory(keys, projected, self.lengths[index])


def inside_of(lengths: NDArray[np.int64], count: int) -> NDArray[np.bool_] | None:
    """(N, 1, K): which keys belong to a sequence; None if all do."""
    if (lengths == count).all():
        return None
    return np.asarray(np.arange(count) < lengths[:, None])[:, None, :]


def refuse_from_elsewhere(keys: object, weight: str | None) -> None:
    """Raises TypeError for a memory that was not made in the run that is recorded. weight: the trained parameter that
    keys are multiplied with, if there is one."""
    if weight is not None and isinstance(keys, AttentionMemory) and isinstance(keys.projected, np.ndarray):
        raise TypeError(
            f"keys must be prepared in the run that is trained: with a memory from elsewhere {weight} would get no "
            "gradient. Call prepare in run, or freeze the layer"
        )


def checked_memory(memory: AttentionMemory, key_size: int, width: int, dtype: np.dtype[Any]) -> AttentionMemory:
    """A memory as a call computes with it. width: of its projected keys."""
    keys = real_array("the memory's keys", memory.keys, dtype)
    if keys.ndim != 3 or keys.shape[2] != key_size:
        raise ValueError(f"the memory's keys must have shape (N, K, {key_size}), got {keys.shape}")
    shared = memory.projected is memory.keys
    projected = keys if shared else real_array("the memory's projected keys", memory.projected, dtype)
    if projected.shape != (*keys.shape[:2], width):
        raise ValueError(
            f"the memory is not this layer's: its projected keys must have shape {(*keys.shape[:2], width)}, got "
            f"{projected.shape}"
        )
    counts = length_array(memory.lengths, keys.shape[1], len(keys))
    return AttentionMemory(keys.view(), projected.view(), counts)
