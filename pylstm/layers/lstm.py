"""LSTM: signature and equations, for whatever computes them."""

from __future__ import annotations

from collections.abc import Mapping
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

    The state is the tuple (h, c).

    Args:
        input_size: I, numbers per step that go in.
        hidden_size: H, hidden units.
        num_layers: layers on top of each other; each takes the output of the one below.
        bias: whether there are biases at all.
        batch_first: axes (N, T, ...) in place of (T, N, ...), for x and output; never for the state.
        dropout: probability with which the output of every layer but the last is dropped, in `forward` only.
        bidirectional: a second set of weights reads from the end to the beginning; both outputs, side by side.
        proj_size: 0, or the size (below hidden_size) that h is projected to.
        recurrent_bias: False leaves out bias_hh, as Keras does.
        dtype: float32 or float64, of parameters, outputs and states.
        seed: the initial values, uniform within ±1/sqrt(hidden_size), and the masks of dropout follow from it.

    Raises TypeError or ValueError for a wrong argument, naming it.

    All arguments but the seed are attributes, fixed once the layer is made, and so are num_directions (1 or 2) and
    output_size, S, the size of h in one direction (proj_size, or hidden_size where that is 0).

    `params` has PyTorch's names, order and shapes; of layer k: weight_ih_l{k} (4H, I), weight_hh_l{k} (4H, S),
    bias_ih_l{k} and bias_hh_l{k} (4H,), with projection weight_hr_l{k} (S, H).
    From the second layer on I is num_directions·S. Names of the reverse direction end in `_reverse`.

    >>> lstm = LSTM(8, 16, num_layers=2, seed=0)
    >>> output, (h, c) = lstm(np.zeros((5, 3, 8)))            # x: (T, N, 8), output: (T, N, 16)
    >>> output.shape, h.shape, c.shape                        # h and c: (2, N, 16)
    ((5, 3, 16), (2, 3, 16), (2, 3, 16))
    """

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

    @staticmethod
    def _choose_cell(config: Mapping[str, Any]) -> str:
        return "lstm_projected" if config["proj_size"] else "lstm"

    def _configure_cell(self, config: dict[str, Any]) -> dict[str, Any]:
        proj_size = _checks.size("proj_size", config["proj_size"], minimum=0)
        if proj_size >= config["hidden_size"]:
            raise ValueError(f"proj_size must be smaller than hidden_size={config['hidden_size']}, got {proj_size}")
        return {"proj_size": proj_size, "output_size": proj_size or config["hidden_size"]}
