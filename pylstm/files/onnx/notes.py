"""What a run that is written down has told of its example, to be compared with what another one tells of its own."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..._arrays import Array

Shape = tuple[int, ...]


class DependsOnExampleError(Exception):
    """Nodes would have to be others for another example."""


@dataclass
class Notes:
    """Of one run.

    Attributes:
        count: operations and calls.
        sizes: the numbers that nodes have of indices.
        reshapes: shapes before and after every reshape.
        constants: arrays that were no inputs and nobody's output.
    """

    count: int = 0
    sizes: list[Shape] = field(default_factory=list)
    reshapes: list[tuple[Shape, Shape]] = field(default_factory=list)
    constants: list[Array] = field(default_factory=list)

    def agrees(self, other: Notes) -> bool:
        """Whether both runs have done the same. Constants and reshapes were compared one by one."""
        return (self.count, self.sizes, len(self.reshapes), len(self.constants)) == (
            other.count, other.sizes, len(other.reshapes), len(other.constants)
        )  # fmt: skip


def same(one: Array, other: Array) -> bool:
    """The same numbers, to the bit."""
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


def counted(array: Array) -> int | None:
    """How many there are in 0, 1, 2 .. along the only axis that is longer than one; None: it is something else."""
    flat = array.reshape(-1)
    if array.dtype.kind not in "iuf" or flat.size != max(array.shape, default=0):
        return None
    return flat.size if np.array_equal(flat, np.arange(flat.size)) else None
