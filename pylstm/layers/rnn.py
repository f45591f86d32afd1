"""RNN: signature and equations, for whatever computes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from .._arrays import Array
from .cell_functions import CellFunction, cell_function, clip_bound
from .recurrent import Recurrent


class RNNFront(Recurrent[Array]):
    """The plain recurrent network (Elman 1990), as torch.nn.RNN.

    With W, R = weight_ih, weight_hh::

        h' = tanh(W x + b + R h + b')      or another function by `nonlinearity`, e.g. "relu", max(0, ...)

    The state is h.

    Args:
        input_size: I, numbers per step that go in.
        hidden_size: H, hidden units.
        num_layers: layers on top of each other; each takes the output of the one below.
        nonlinearity: "tanh", "relu", or another function: a name, or a tuple of the name and its parameters; `LSTM` has
            their list.
        bias: whether there are biases at all.
        batch_first: axes (N, T, ...) in place of (T, N, ...), for x and output; never for the state.
        dropout: probability with which the output of every layer but the last is dropped, in `forward` only.
        bidirectional: a second set of weights reads from the end to the beginning; both outputs, side by side.
        recurrent_bias: False leaves out bias_hh.
        clip: a bound above 0 at which what goes into the function is cut off on both sides, as ONNX' operator does it;
            None for none.
        dtype: float32 or float64, of parameters, outputs and states.
        seed: the initial values, uniform within ±1/sqrt(hidden_size), and the masks of dropout follow from it.

    Raises TypeError or ValueError for a wrong argument, naming it.

    All arguments but the seed are attributes, fixed once the layer is made, and so are num_directions (1 or 2) and
    output_size, S, the size of h in one direction (hidden_size).

    `params` has PyTorch's names, order and shapes; of layer k: weight_ih_l{k} (H, I), weight_hh_l{k} (H, S),
    bias_ih_l{k} and bias_hh_l{k} (H,).
    From the second layer on I is num_directions·S. Names of the reverse direction end in `_reverse`.

    >>> rnn = RNN(8, 16, nonlinearity="relu", seed=0)
    >>> output, h = rnn(np.zeros((5, 3, 8)))                  # x: (T, N, 8), output: (T, N, 16), h: (1, N, 16)
    >>> output.shape, h.shape
    ((5, 3, 16), (1, 3, 16))
    """

    _config_defaults: ClassVar[dict[str, Any]] = {"clip": None}
    _config_names = (*Recurrent._config_names[:3], "nonlinearity", *Recurrent._config_names[3:-1], "clip", "dtype")
    nonlinearity: CellFunction
    clip: float | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: CellFunction = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        recurrent_bias: bool = True,
        clip: float | None = None,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        self._build(
            seed, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers, nonlinearity=nonlinearity,
            bias=bias, batch_first=batch_first, dropout=dropout, bidirectional=bidirectional,
            recurrent_bias=recurrent_bias, clip=clip, dtype=dtype,
        )  # fmt: skip

    @staticmethod
    def _choose_cell(config: Mapping[str, Any]) -> str:
        if config.get("clip") is not None or config["nonlinearity"] not in ("tanh", "relu"):
            return "rnn_general"
        return "rnn_relu" if config["nonlinearity"] == "relu" else "rnn_tanh"

    def _configure_cell(self, config: dict[str, Any]) -> dict[str, Any]:
        function = cell_function("nonlinearity", config["nonlinearity"])
        return {"nonlinearity": function, "clip": clip_bound(config.get("clip"))}

    def _chosen(self) -> dict[str, Any]:
        return {"f": self.nonlinearity, "clip": self.clip} if self._cell_name == "rnn_general" else {}

    def _own_options(self) -> list[str]:
        own = [] if self.nonlinearity in ("tanh", "relu") else ["nonlinearity"]
        return own + super()._own_options()
