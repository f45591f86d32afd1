"""GRU: signature and equations, for whatever computes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import _checks
from .._arrays import Array
from .recurrent import Recurrent


class GRUFront(Recurrent[Array]):
    """Gated recurrent unit (Cho et al. 2014), as torch.nn.GRU.

    With s the logistic function, ⊙ the element-wise product and W, R the rows of weight_ih and weight_hh, in the gate
    order r, z, n::

        r = s(Wr x + br + Rr h + b'r)                     reset gate
        z = s(Wz x + bz + Rz h + b'z)                     update gate
        n = tanh(Wn x + bn + r ⊙ (Rn h + b'n))            candidate, reset_after=True (PyTorch, cuDNN)
        n = tanh(Wn x + bn + Rn (r ⊙ h) + b'n)            candidate, reset_after=False (the first paper;
        h' = (1 - z) ⊙ n + z ⊙ h                          ONNX linear_before_reset=0)

    Arguments, parameters and initial values (uniform within ±1/sqrt(hidden_size), from `seed`) as in PyTorch;
    `recurrent_bias=False` leaves out bias_hh. `dtype`: float32 or float64. The state is h.

    >>> gru = GRU(8, 16, batch_first=True, seed=0)
    >>> output, h = gru(np.zeros((3, 5, 8)))                  # x: (N, T, 8), output: (N, T, 16), h: (1, N, 16)
    >>> output.shape, h.shape
    ((3, 5, 16), (1, 3, 16))
    """

    _gates = 3
    _config_names = (*Recurrent._config_names[:-2], "reset_after", *Recurrent._config_names[-2:])
    reset_after: bool

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        reset_after: bool = True,
        recurrent_bias: bool = True,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        self._build(
            seed, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers, bias=bias,
            batch_first=batch_first, dropout=dropout, bidirectional=bidirectional, reset_after=reset_after,
            recurrent_bias=recurrent_bias, dtype=dtype,
        )  # fmt: skip

    def _configure_cell(self, config: dict[str, Any]) -> dict[str, Any]:
        return {"reset_after": _checks.flag("reset_after", config["reset_after"])}
