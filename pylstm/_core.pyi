from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

version: str
compiler: str
has_openmp: bool

class CellDescription(TypedDict):
    """Widths are "hidden", "output", "input" or, of a record, "one"; a parameter's second axis of "one" is none.

    parameters: name -> (kind, blocks, width of one, second axis, may be absent). Kinds are "matrix", "vector",
    "bias_of_x" (added to what x adds to) and "bias_of_states".
    """

    gates: tuple[str, ...]  # blocks of rows of the matrix that multiplies x
    states: dict[str, str]  # name -> width; the first is h
    records: dict[str, str]  # what a step keeps for the backward pass, but the states
    parameters: dict[str, tuple[str, int, str, str, bool]]
    constants: tuple[str, ...]  # numbers that are given when a network is made
    masks: tuple[str, ...]  # random rows; `train` needs a seed for them
    projects: bool  # whether h may be narrower than the cell
    functions: dict[str, str]  # of the states and records that are the value of one: exp, tanh, sigmoid or relu
    activations: int  # calls of exp, tanh, sigmoid and functions that are chosen in a step of a unit

def activations() -> list[str]:
    """The functions that a cell's constants choose, by number."""

def cells() -> dict[str, CellDescription]:
    """The cells by name, as their files in csrc/cells/ describe them."""

class Symbols:
    """Which rows of a table a batch names."""

    rows: NDArray[np.int64]  # ascending, each once
    places: NDArray[np.int32]  # (T, N), among them or in the table

class InputTable:
    """The input product of all rows of a table, for the network that made it."""

def symbols(
    ids: NDArray[np.int64], lengths: NDArray[np.int64] | None, count: int, width: int, in_table: bool = False
) -> Symbols | None:
    """The symbols `ids` (T, N) of a table of `count` rows with `width` numbers each, or None where too few of them
    repeat; with `in_table`, for an `InputTable`, in any case. Raises IndexError."""

class Network:
    """Packed weights of a stack of layers, for the ISA in use when it was made. Immutable."""

    def __init__(
        self,
        cell: str,
        dtype: np.dtype[Any],
        input_size: int,
        hidden_size: int,
        output_size: int,
        num_layers: int,
        bidirectional: bool,
        params: list[list[Array | None]],
        constants: Sequence[float] = (),
    ) -> None: ...
    def infer(
        self,
        x: Array | tuple[Array | InputTable, Symbols],  # (T, N, I), or a table (num, I) and symbols
        states: tuple[Array | None, ...],
        lengths: NDArray[np.int64] | None,
        out: Array,
        num_threads: int | None,
    ) -> tuple[Array, ...]: ...
    def train(
        self,
        x: Array | tuple[Array, Symbols],
        states: tuple[Array | None, ...],
        lengths: NDArray[np.int64] | None,
        out: Array,
        dropout: tuple[float, int, int] | None,
        num_threads: int | None,
    ) -> tuple[tuple[Array, ...], Tape]: ...
    def plan(self, steps: int, batch: int, backward: bool, num_threads: int) -> tuple[tuple[int, int, int], int, float]:
        """What the cost model would do: (rows, units, directions), rows of an input chunk (0: fused), cycles."""
    def stream(self, batch_size: int, num_threads: int | None) -> Stream: ...
    def multiplied(self, table: Array, num_threads: int | None) -> InputTable: ...
    def multiplied_bytes(self, rows: int) -> int:
        """The memory of `multiplied` for a table of so many rows."""

class Stream:
    """A state and everything a step needs, laid out once. `states` are the arrays that every step updates."""

    def step(self, x: object, out: object) -> bool:
        """One step, (N, I) -> (N, S); False, and nothing done, where an array has to be converted first."""
    def step_symbols(self, table: InputTable, x: object) -> Array | None:
        """One step, symbols (N,) of int64 -> (N, S), or an int -> (S,); None, and nothing done, where x is neither,
        names no row of the table, or the table is of another network."""
    def hold(self, anew: bool) -> AbstractContextManager[tuple[Array, ...]]:
        """The states are the caller's within `with`. RuntimeError: another thread has them, or they are half a step's,
        which does not matter where they are set anew."""
    def put(self, values: tuple[Array, ...]) -> None:
        """Within `hold`: set all states, or none if one does not fit (TypeError, ValueError)."""
    @property
    def states(self) -> tuple[Array, ...]: ...

class Tape:
    """What a training pass left for the backward pass."""

    def backward(
        self,
        d_output: Array | None,
        d_states: tuple[Array | None, ...],
        need_dx: bool,
        num_threads: int | None,
        into: list[list[Array | None]] | None = None,
        need_params: bool = True,
        x: Array | None = None,
        output: Array | None = None,
    ) -> tuple[Array | None, tuple[Array, ...], list[list[Array | None]]]:
        """into: gradients to the parameters that another pass returned; this one's are added to them in place.
        need_params: whether these are computed; else None stands for each. x, output: the numbers of the forward pass,
        where they are no longer in its arrays."""

def adam(
    parameter: Array,
    value: Array,
    mean: Array,
    square: Array,
    gradient: Array,
    rows: NDArray[np.int64] | None,
    live: NDArray[np.uint8] | None,
    only_rows: bool,
    factors: Sequence[float],
    num_threads: int | None,
) -> None:
    """One step, from `value`, which may be `parameter` itself. rows: those of `parameter` that `gradient` holds. live:
    of every row, whether its state may be other than zero; None: all may. factors: as AdamStep in csrc/kernels.h."""

def sum_of_squares(x: Array, num_threads: int | None) -> float:
    """Of all numbers of an array in C order, as doubles; of float32 it is finite if and only if they are."""

def linear(x: Array, weight: Array, bias: Array | None, num_threads: int | None) -> Array:
    """x (rows, in), weight (out, in), bias (out,) -> (rows, out), fresh and in C order."""

class PackedLinear:
    """A copy of a linear layer's parameters, packed for the ISA in use: the bits of `linear`, sooner for few rows."""

    def __init__(self, weight: Array, bias: Array | None) -> None: ...
    def step(self, x: object, num_threads: int | None) -> Array | None:
        """(rows, in) -> (rows, out) or (in,) -> (out,); None where an array has to be converted first."""

def linear_backward(
    x: Array, weight: Array, d_y: Array, need_dx: bool, need_bias: bool, num_threads: int | None
) -> tuple[Array | None, Array, Array | None]:
    """d_y (rows, out) -> d_x (rows, in), d_weight (out, in), d_bias (out,)."""

def matmul(a: Array, b: Array, sum_of_rows: bool, num_threads: int | None) -> Array:
    """a (..., rows, k) @ b (..., k, columns), batch axes broadcast; in each matrix rows or columns are contiguous.

    sum_of_rows: k counts the rows of a batch; the sums are cut into chains as those of weight gradients are."""

def ctc(
    logits: Array,
    lengths: NDArray[np.int64],
    labels: NDArray[np.int64],
    target_lengths: NDArray[np.int64],
    blank: int,
    scale: NDArray[np.float64],
    zero_infinity: bool,
    need_gradient: bool,
    num_threads: int | None,
) -> tuple[NDArray[np.float64], Array | None]: ...
def linear_cross_entropy(
    hidden: Array,
    weight: Array,
    bias: Array | None,
    places: NDArray[np.int64],
    labels: NDArray[np.int64],
    label_weight: NDArray[np.float64],
    share: Array | None,
    scale: float,
    need_gradients: bool,
    need_dx: bool,
    need_largest: bool,
    num_threads: int | None,
) -> tuple[NDArray[np.float64], tuple[Array | None, Array, Array | None] | None, NDArray[np.int64] | None]:
    """hidden (rows, in), weight (out, in), bias (out,), share (out,); of hidden's rows at places (ascending) the losses

        -label_weight log p[label] - sum of share log p,    p = softmax(hidden weightᵀ + bias)

    the gradients of their sum times scale, to hidden (zero in other rows), weight and bias, and the classes of their
    largest logits: the first one of several, and of NaN, as np.argmax has it."""

def sample(
    logits: Array,
    drawn: NDArray[np.int64],
    temperature: float,
    top_k: int,
    top_p: float,
    random: Callable[[int], NDArray[np.float64]],
    num_threads: int | None,
) -> int:
    """A symbol for each row of logits (rows, symbols), in C order, into drawn (rows,): -1, or the first row with NaN,
    +inf or nothing but -inf, where nothing is drawn and `random` not called. top_k: 1..symbols; top_p: 1 keeps all."""

def xla_handler(called: Callable[[str, tuple[Any, ...], tuple[Any, ...]], None]) -> object: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def threads_now() -> int:
    """Of the next call of this thread that does not say otherwise: 1 where others have the cores."""

def empty(shape: Sequence[int], dtype: np.dtype[Any]) -> Array: ...
def sealable(shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """As `empty`, but once the array is read-only, NumPy lets nobody make it or its bases writeable again."""

def release_memory() -> None: ...
def available_isas() -> list[str]: ...
def isa() -> str: ...
def use_isa(name: str) -> None: ...
def activation(name: str, x: Array) -> Array: ...
def force_plan(split: tuple[int, int, int] | None = None, chunk_rows: int = -1, once: int = -1) -> None: ...
def plan_counts() -> tuple[int, int, int]:
    """Plans made since the process began, plans kept, and kept at most."""
