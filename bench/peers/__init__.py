"""What a library has to provide to be timed. One module per library, `<name>_peer.py`, with a class `Peer`.

A module imports its library at its top, so that an ImportError says that the library is not there.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from cases import Array, Case, Data


class Unsupported(Exception):
    """This library cannot do this case, mode or dtype."""


class BasePeer(ABC):
    version = "?"
    formulation = ""  # which of several ways was taken, for a library that has them

    @abstractmethod
    def __init__(self, case: Case, data: Data, *, training: bool, threads: int) -> None:
        """Everything that a user would do once: build the layer, load the weights, wrap the input."""

    @abstractmethod
    def run(self) -> Any:
        """What is timed. Inference: output and last state. Training: also the gradients of x and of every parameter.
        Streamed: one step from the state that the last one left."""

    @abstractmethod
    def results(self, raw: Any) -> dict[str, Array]:
        """What `run` returned, as `output`, `h_n`, `c_n` and, after training, `d_x` and `d_<parameter>`; used to make
        sure that all peers compute the same."""

    def check(self) -> dict[str, Array]:
        """What all peers have to agree on."""
        return self.results(self.run())

    def facts(self) -> dict[str, Any]:
        """What a reader wants to see beside the times."""
        return {}

    def prediction(self) -> dict[str, Any] | None:
        """What a cost model expects of this case, {"plan": text, "cycles": number}, printed beside what happened."""
        return None


def suffixes(case: Case) -> list[str]:
    """Of the names of parameters, one per direction."""
    return ["", "_reverse"][: case.directions]


def fastest(variants: dict[str, Callable[[], Any]], calls: int = 7, patience: float = 1.5) -> str:
    """The name of the variant that runs fastest; for libraries whose best formulation depends on the shape."""
    times: dict[str, float] = {}
    for name, run in variants.items():
        run()  # compiles
        run()
        times[name], began = math.inf, time.perf_counter()
        for _ in range(calls):
            start = time.perf_counter()
            run()
            times[name] = min(times[name], time.perf_counter() - start)
            if time.perf_counter() - began > patience:
                break
    return min(times, key=times.__getitem__)
