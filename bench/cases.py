"""The shapes that are timed, and the data that every peer gets: the same bits in every process."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cells import Cell, cell_of

Array = np.ndarray[Any, np.dtype[Any]]
TOLERANCE = {"float32": 2e-3, "float64": 1e-9}  # of a result's norm, between peers


@dataclass(frozen=True)
class Case:
    """One layer (or stack) and one batch. T: steps, N: sequences, I: input size, H: hidden size."""

    name: str
    cell: str
    T: int
    N: int
    I: int
    H: int
    layers: int = 1
    bidirectional: bool = False
    ragged: bool = False  # lengths uniform in T/4..T, unsorted
    streamed: bool = False  # one step a call, the state kept from call to call; inference alone
    initial: bool = False  # initial states are given
    denormal: bool = False  # input, initial states and gradients are, and, without biases, all that follows from them
    dtype: str = "float32"

    room: ClassVar[str] = "peers"  # the folder of its peers

    @property
    def tolerance(self) -> float:
        return TOLERANCE[self.dtype]

    @property
    def modes(self) -> list[str]:
        return ["inference"] if self.streamed else ["inference", "training"]

    @property
    def shape(self) -> str:
        """For people: the cell, the sizes, and whatever is special."""
        extras = [f"{self.layers} layers"] * (self.layers > 1) + ["bidirectional"] * self.bidirectional
        extras += ["ragged"] * self.ragged + ["streamed"] * self.streamed + [self.dtype] * (self.dtype != "float32")
        sizes = f"T={self.T} N={self.N} I={self.I} H={self.H}"
        return ", ".join([f"{self.cell.upper()} {sizes}", *extras])

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def about(self) -> Cell:
        return cell_of(self.cell)


@dataclass(frozen=True)
class Data:
    """Weights under PyTorch's names, input, and the gradients that come from above."""

    weights: dict[str, Array]
    x: Array  # (T, N, I)
    lengths: Array | None  # (N,)
    d_output: Array  # (T, N, directions * H), 0 past a length
    d_state: tuple[Array, ...]  # (layers * directions, N, H) each: one for every state of the cell
    state: tuple[Array, ...] | None  # initial states, shaped like d_state; None: zero


CASES = [
    Case("reviews", "lstm", 500, 64, 32, 100),  # film reviews padded to 500 words
    Case("emotion", "lstm", 64, 128, 256, 128),  # sentences, Embedding(.., 256) -> LSTM(128)
    Case("classifier", "lstm", 100, 32, 16, 64),  # the first LSTM of every tutorial
    Case("lstm512", "lstm", 50, 64, 512, 512),
    Case("lstm1024", "lstm", 25, 64, 1024, 1024),
    Case("gru512", "gru", 50, 64, 512, 512),
    Case("gru1536", "gru", 50, 32, 1536, 1536),
    Case("rnn512", "rnn", 50, 64, 512, 512),
    Case("bi2", "lstm", 100, 32, 128, 256, layers=2, bidirectional=True),
    Case("n1h128", "lstm", 100, 1, 128, 128),  # one sequence: nothing to share a weight between
    Case("n1h512", "lstm", 100, 1, 512, 512),
    Case("n4h128", "lstm", 100, 4, 128, 128),
    Case("step", "lstm", 1, 1, 40, 128),  # one step: the cost of a call
    Case("stream", "lstm", 1, 1, 40, 128, streamed=True),  # the same as a frame of audio arrives, from the last state
    Case("ragged_reviews", "lstm", 500, 64, 32, 100, ragged=True),
    Case("ragged_emotion", "lstm", 64, 128, 256, 128, ragged=True),
    Case("reviews_f64", "lstm", 500, 64, 32, 100, dtype="float64"),
    Case("emotion_f64", "lstm", 64, 128, 256, 128, dtype="float64"),
    Case("classifier_f64", "lstm", 100, 32, 16, 64, dtype="float64"),
]
BY_NAME = {case.name: case for case in CASES}
GROUPS = {
    "floor": ["reviews", "emotion", "classifier", "lstm512"],
    "float64": [case.name for case in CASES if case.dtype == "float64"],
    "ragged": [case.name for case in CASES if case.ragged],
    "all": list(BY_NAME),
}


def select(names: list[str]) -> list[Case]:
    """Cases by name or by the name of a group; a ValueError says what there is."""
    expanded = [case for name in names for case in GROUPS.get(name, [name])]
    if unknown := [name for name in expanded if name not in BY_NAME]:
        raise ValueError(f"no case {', '.join(unknown)}; there are {', '.join(BY_NAME)}, and {', '.join(GROUPS)}")
    return [BY_NAME[name] for name in dict.fromkeys(expanded)]


def seed(case: Case) -> int:
    """By the name, which is the same in every process (Python's own hash is not)."""
    return zlib.crc32(case.name.encode())


def make_lengths(case: Case) -> Array | None:
    if not case.ragged:
        return None
    return np.random.default_rng([seed(case), 1]).integers(case.T // 4, case.T + 1, case.N)


def make_data(case: Case) -> Data:
    """Weights as PyTorch draws them, everything else normal."""
    rng = np.random.default_rng(seed(case))

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(case.dtype)

    weights = {}
    bound, rows = 1 / math.sqrt(case.H), case.about.gates * case.H
    for layer in range(case.layers):
        inputs = case.I if layer == 0 else case.directions * case.H
        for suffix in ["", "_reverse"][: case.directions]:
            for kind, shape in [
                ("weight_ih", (rows, inputs)),
                ("weight_hh", (rows, case.H)),
                ("bias_ih", (rows,)),
                ("bias_hh", (rows,)),
            ]:
                weights[f"{kind}_l{layer}{suffix}"] = rng.uniform(-bound, bound, shape).astype(case.dtype)

    x = normal(case.T, case.N, case.I)
    lengths = make_lengths(case)
    d_output = normal(case.T, case.N, case.directions * case.H)
    if lengths is not None:
        d_output[np.arange(case.T)[:, None] >= lengths] = 0
    states = len(case.about.states)
    state_shape = (case.layers * case.directions, case.N, case.H)
    d_state = tuple(normal(*state_shape) for _ in range(states))
    state = tuple(normal(*state_shape) for _ in range(states)) if case.initial else None
    if case.denormal:
        scale = np.finfo(case.dtype).smallest_normal / 64
        x, d_output = x * scale, d_output * scale
        d_state, state = tuple(s * scale for s in d_state), state and tuple(s * scale for s in state)
        weights = {name: value * (value.ndim > 1) for name, value in weights.items()}
    return Data(weights, x, lengths, d_output, d_state, state)
