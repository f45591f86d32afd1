"""LSTM: signature and equations, for whatever computes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import _checks
from .._arrays import Array
from .recurrent import Recurrent


class LSTMFront(Recurrent[tuple[Array, Array]]):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with forget gate (Gers et al. 2000), as torch.nn.LSTM.

    With s the logistic function, ⊙ the element-wise product and W, R the rows of weight_ih and weight_hh, in the gate
    order i, f, g, o::

        i = s(Wi x + bi + Ri h + b'i)      input gate         c' = f ⊙ c + i ⊙ g
        f = s(Wf x + bf + Rf h + b'f)      forget gate        m  = o ⊙ tanh(c')
        g = tanh(Wg x + bg + Rg h + b'g)   candidate          h' = m, or with proj_size > 0 (Sak et al. 2014):
        o = s(Wo x + bo + Ro h + b'o)      output gate        h' = weight_hr m

    Arguments, parameters and initial values (uniform within ±1/sqrt(hidden_size), from `seed`) as in PyTorch;
    `recurrent_bias=False` leaves out bias_hh (as Keras does). `dtype`: float32 or float64. The state is (h, c).

    >>> lstm = LSTM(8, 16, num_layers=2, seed=0)
    >>> output, (h, c) = lstm(np.zeros((5, 3, 8)))            # x: (T, N, 8), output: (T, N, 16)
    >>> output.shape, h.shape, c.shape                        # h and c: (2, N, 16)
    ((5, 3, 16), (2, 3, 16), (2, 3, 16))
    """

    _gates = 4
    _state_names = ("h", "c")
    _config_names = (*Recurrent._config_names[:-2], "proj_size", *Recurrent._config_names[-2:])
    proj_size: int

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        recurrent_bias: bool = True,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        self._build(
            seed, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers, bias=bias,
            batch_first=batch_first, dropout=dropout, bidirectional=bidirectional, proj_size=proj_size,
            recurrent_bias=recurrent_bias, dtype=dtype,
        )  # fmt: skip

    def _configure_cell(self, config: dict[str, Any]) -> dict[str, Any]:
        proj_size = _checks.size("proj_size", config["proj_size"], minimum=0)
        if proj_size >= config["hidden_size"]:
            raise ValueError(f"proj_size must be smaller than hidden_size={config['hidden_size']}, got {proj_size}")
        return {"proj_size": proj_size}
