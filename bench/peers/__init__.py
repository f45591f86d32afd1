"""What a library has to provide to be timed. One module per library, `<name>_peer.py`, with a class `Peer`.

A module imports its library at its top, so that an ImportError says that the library is not there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from cases import Array, Case, Data


class Unsupported(Exception):
    """This library cannot do this case, mode or dtype."""


class BasePeer(ABC):
    version = "?"

    @abstractmethod
    def __init__(self, case: Case, data: Data, *, training: bool, threads: int) -> None:
        """Everything that a user would do once: build the layer, load the weights, wrap the input."""

    @abstractmethod
    def run(self) -> Any:
        """What is timed. Inference: output and last state. Training: also the gradients of x and of every parameter."""

    @abstractmethod
    def results(self, raw: Any) -> dict[str, Array]:
        """What `run` returned, as `output`, `h_n`, `c_n` and, after training, `d_x` and `d_<parameter>`; used to make
        sure that all peers compute the same."""
