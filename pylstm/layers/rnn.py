"""RNN: signature and equations, for whatever computes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import _checks
from .._arrays import Array
from .recurrent import Recurrent


class RNNFront(Recurrent[Array]):
    """The plain recurrent network (Elman 1990), as torch.nn.RNN.

    With W, R = weight_ih, weight_hh::

        h' = tanh(W x + b + R h + b')      or, with nonlinearity="relu", max(0, ...)

    Arguments, parameters and initial values (uniform within ±1/sqrt(hidden_size), from `seed`) as in PyTorch;
    `recurrent_bias=False` leaves out bias_hh. `dtype`: float32 or float64. The state is h.

    >>> rnn = RNN(8, 16, nonlinearity="relu", seed=0)
    >>> output, h = rnn(np.zeros((5, 3, 8)))                  # x: (T, N, 8), output: (T, N, 16), h: (1, N, 16)
    >>> output.shape, h.shape
    ((5, 3, 16), (1, 3, 16))
    """

    _gates = 1
    _config_names = (*Recurrent._config_names[:3], "nonlinearity", *Recurrent._config_names[3:])
    nonlinearity: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        recurrent_bias: bool = True,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        self._build(
            seed, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers, nonlinearity=nonlinearity,
            bias=bias, batch_first=batch_first, dropout=dropout, bidirectional=bidirectional,
            recurrent_bias=recurrent_bias, dtype=dtype,
        )  # fmt: skip

    def _configure_cell(self, config: dict[str, Any]) -> dict[str, Any]:
        return {"nonlinearity": _checks.choice("nonlinearity", config["nonlinearity"], ("tanh", "relu"))}
