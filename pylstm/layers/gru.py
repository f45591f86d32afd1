"""GRU: signature and equations, for whatever computes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from .. import _checks
from .._arrays import Array
from .cell_functions import CellFunction, cell_function, clip_bound, differing
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

    The state is h. `recurrent_activation` stands in place of s, and `activation` in place of tanh; `clip` cuts what
    goes into them off at ±clip, as ONNX' operator does.

    Args:
        input_size: I, numbers per step that go in.
        hidden_size: H, hidden units.
        num_layers: layers on top of each other; each takes the output of the one below.
        bias: whether there are biases at all.
        batch_first: axes (N, T, ...) in place of (T, N, ...), for x and output; never for the state.
        dropout: probability with which the output of every layer but the last is dropped, in `forward` only.
        bidirectional: a second set of weights reads from the end to the beginning; both outputs, side by side.
        reset_after: which of the two candidates.
        recurrent_bias: False leaves out bias_hh.
        activation: of the candidate: a name, or a tuple of the name and its parameters; `LSTM` has their list.
        recurrent_activation: of the gates.
        clip: a bound above 0, or None for none.
        dtype: float32 or float64, of parameters, outputs and states.
        seed: the initial values, uniform within ±1/sqrt(hidden_size), and the masks of dropout follow from it.

    Raises TypeError or ValueError for a wrong argument, naming it.

    All arguments but the seed are attributes, fixed once the layer is made, and so are num_directions (1 or 2) and
    output_size, S, the size of h in one direction (hidden_size).

    `params` has PyTorch's names, order and shapes; of layer k: weight_ih_l{k} (3H, I), weight_hh_l{k} (3H, S),
    bias_ih_l{k} and bias_hh_l{k} (3H,).
    From the second layer on I is num_directions·S. Names of the reverse direction end in `_reverse`.

    >>> gru = GRU(8, 16, batch_first=True, seed=0)
    >>> output, h = gru(np.zeros((3, 5, 8)))                  # x: (N, T, 8), output: (N, T, 16), h: (1, N, 16)
    >>> output.shape, h.shape
    ((3, 5, 16), (1, 3, 16))
    """

    _config_defaults: ClassVar[dict[str, Any]] = {"activation": "tanh", "recurrent_activation": "sigmoid", "clip": None}
    _config_names = (*Recurrent._config_names[:-2], "reset_after", "recurrent_bias", *_config_defaults, "dtype")
    reset_after: bool
    activation: CellFunction
    recurrent_activation: CellFunction
    clip: float | None

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
        activation: CellFunction = "tanh",
        recurrent_activation: CellFunction = "sigmoid",
        clip: float | None = None,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        self._build(
            seed, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers, bias=bias,
            batch_first=batch_first, dropout=dropout, bidirectional=bidirectional, reset_after=reset_after,
            recurrent_bias=recurrent_bias, activation=activation, recurrent_activation=recurrent_activation, clip=clip,
            dtype=dtype,
        )  # fmt: skip

    @classmethod
    def _choose_cell(cls, config: Mapping[str, Any]) -> str:
        general = "_general" if differing(config, cls._config_defaults) else ""
        return ("gru_after" if config["reset_after"] else "gru_before") + general

    def _configure_cell(self, config: dict[str, Any]) -> dict[str, Any]:
        given = {**self._config_defaults, **config}
        return {
            "reset_after": _checks.flag("reset_after", config["reset_after"]),
            "activation": cell_function("activation", given["activation"]),
            "recurrent_activation": cell_function("recurrent_activation", given["recurrent_activation"]),
            "clip": clip_bound(given["clip"]),
        }

    def _chosen(self) -> dict[str, Any]:
        if not self._own_options():
            return {}
        return {"f": self.recurrent_activation, "g": self.activation, "clip": self.clip}
