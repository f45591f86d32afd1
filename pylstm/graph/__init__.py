"""Models that are not a chain: layers and operations recorded as plain Python runs, and one reverse sweep.

| room | what it does |
|---|---|
| `operations.py` | the operations on arrays, each with its derivative |
| `values.py`, `functions.py` | what `run` computes with: methods and functions; refusals |
| `recording.py`, `layers.py` | a run and its tape; how layers are called in it |
| `sweep.py` | gradients added up, from the end of the tape |
"""

from .functions import (
    concatenate,
    exp,
    log,
    log_softmax,
    matmul,
    relu,
    sigmoid,
    softmax,
    sqrt,
    stack,
    stop_gradient,
    tanh,
    where,
)
from .values import Value

__all__ = [
    "Value",
    "concatenate",
    "exp",
    "log",
    "log_softmax",
    "matmul",
    "relu",
    "sigmoid",
    "softmax",
    "sqrt",
    "stack",
    "stop_gradient",
    "tanh",
    "where",
]
