"""LSTM: signature and equations, for whatever computes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from .. import _checks
from .._arrays import Array
from .cell_functions import CellFunction, cell_function, clip_bound, differing
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

    The other options are those of ONNX' operator and of Keras. With f, a and q the functions `recurrent_activation`,
    `activation` and `output_activation`, and p the vectors weight_ci, weight_cf and weight_co of `peephole`, which let
    a gate see the cell of its own unit (Gers & Schmidhuber 2000)::

        i = f(Wi x + bi + Ri h + b'i + pi ⊙ c)         f = f(Wf x + bf + Rf h + b'f + pf ⊙ c), or with coupled, 1 - i
        g = a(Wg x + bg + Rg h + b'g)                  c' = f ⊙ c + i ⊙ g
        o = f(Wo x + bo + Ro h + b'o + po ⊙ c')        h' = o ⊙ q(c')

    `coupled` (CIFG of Greff et al. 2015, input_forget of ONNX) has three gates, i, g, o, and no rows of the forget
    gate in its parameters. `clip` cuts what goes into f and a off at ±clip, and not what goes into q, as ONNX Runtime
    does.

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
        activation: a, of the candidate: a name, or a tuple of the name and its parameters, such as
            ("leaky_relu", 0.1). The names, and what the parameters are if left out: "tanh", "sigmoid", "relu",
            "relu6", "linear", "affine" (1.0, 0.0), "leaky_relu" (0.01), "thresholded_relu" (1.0), "scaled_tanh"
            (1.0, 1.0), "hard_sigmoid" (0.2, 0.5), "elu" (1.0), "selu", "softsign", "softplus", "silu" and
            "exponential".
        recurrent_activation: f, of the gates.
        output_activation: q, of the cell on its way out; None: that of the candidate.
        peephole: whether the gates see the cell.
        coupled: whether the forget gate is 1 - i.
        clip: a bound above 0, or None for none.
        dtype: float32 or float64, of parameters, outputs and states.
        seed: the initial values, uniform within ±1/sqrt(hidden_size), and the masks of dropout follow from it.

    Raises TypeError or ValueError for a wrong argument, naming it.

    All arguments but the seed are attributes, fixed once the layer is made, and so are num_directions (1 or 2) and
    output_size, S, the size of h in one direction (proj_size, or hidden_size where that is 0).

    `params` has PyTorch's names, order and shapes; of layer k: weight_ih_l{k} (4H, I), weight_hh_l{k} (4H, S),
    bias_ih_l{k} and bias_hh_l{k} (4H,), with projection weight_hr_l{k} (S, H),
    with peepholes weight_ci_l{k}, weight_cf_l{k} and weight_co_l{k} (H,). With `coupled` the 4 is a 3, and there is no
    weight_cf.
    From the second layer on I is num_directions·S. Names of the reverse direction end in `_reverse`.

    >>> lstm = LSTM(8, 16, num_layers=2, seed=0)
    >>> output, (h, c) = lstm(np.zeros((5, 3, 8)))            # x: (T, N, 8), output: (T, N, 16)
    >>> output.shape, h.shape, c.shape                        # h and c: (2, N, 16)
    ((5, 3, 16), (2, 3, 16), (2, 3, 16))
    """

    _config_defaults: ClassVar[dict[str, Any]] = {
        "activation": "tanh", "recurrent_activation": "sigmoid", "output_activation": None, "peephole": False,
        "coupled": False, "clip": None,
    }  # fmt: skip
    _config_names = (*Recurrent._config_names[:-2], "proj_size", "recurrent_bias", *_config_defaults, "dtype")
    proj_size: int
    activation: CellFunction
    recurrent_activation: CellFunction
    output_activation: CellFunction | None
    coupled: bool
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
        proj_size: int = 0,
        *,
        recurrent_bias: bool = True,
        activation: CellFunction = "tanh",
        recurrent_activation: CellFunction = "sigmoid",
        output_activation: CellFunction | None = None,
        peephole: bool = False,
        coupled: bool = False,
        clip: float | None = None,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        self._build(
            seed, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers, bias=bias,
            batch_first=batch_first, dropout=dropout, bidirectional=bidirectional, proj_size=proj_size,
            recurrent_bias=recurrent_bias, activation=activation, recurrent_activation=recurrent_activation,
            output_activation=output_activation, peephole=peephole, coupled=coupled, clip=clip, dtype=dtype,
        )  # fmt: skip

    @classmethod
    def _choose_cell(cls, config: Mapping[str, Any]) -> str:
        if config.get("coupled") is True:
            return "lstm_coupled"
        if differing(config, cls._config_defaults):
            return "lstm_general"
        return "lstm_projected" if config["proj_size"] else "lstm"

    def _configure_cell(self, config: dict[str, Any]) -> dict[str, Any]:
        proj_size = _checks.size("proj_size", config["proj_size"], minimum=0)
        if proj_size >= config["hidden_size"]:
            raise ValueError(f"proj_size must be smaller than hidden_size={config['hidden_size']}, got {proj_size}")
        own = {**self._config_defaults, **{name: config[name] for name in self._config_defaults if name in config}}
        for name in ("peephole", "coupled"):
            own[name] = _checks.flag(name, own[name])
        for name in ("activation", "recurrent_activation"):
            own[name] = cell_function(name, own[name])
        if own["output_activation"] is not None:
            output = cell_function("output_activation", own["output_activation"])
            own["output_activation"] = None if output == own["activation"] else output
        own["clip"] = clip_bound(own["clip"])
        if proj_size and (named := differing(own, self._config_defaults)):
            given = " and ".join(f"{name}={own[name]!r}" for name in named)
            raise ValueError(f"proj_size must be 0 with {given}: only the plain LSTM is projected, got {proj_size}")
        return {"proj_size": proj_size, "output_size": proj_size or config["hidden_size"], **own}

    def _chosen(self) -> dict[str, Any]:
        if not self._own_options():
            return {}
        output = self.activation if self.output_activation is None else self.output_activation
        return {"f": self.recurrent_activation, "g": self.activation, "h": output, "clip": self.clip}
