"""The three layers of the front: signatures and equations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from . import _checks
from ._arrays import Array
from ._recurrent import Recurrent


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
