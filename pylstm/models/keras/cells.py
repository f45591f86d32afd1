"""The cells of recurrent layers of Keras, as arguments and parameters of our layers."""

from __future__ import annotations

from typing import Any

from ...files.keras.config import Config, layer_config
from ...files.keras.recurrent import GATES, from_cudnn, ours
from ...files.keras.weights import LayerWeights, read
from ...layers.compiled import GRU, LSTM, RNN
from ...layers.layer import Layer
from . import activations
from .names import Names

KINDS = {"LSTM": "LSTM", "GRU": "GRU", "SimpleRNN": "RNN", "CuDNNLSTM": "LSTM", "CuDNNGRU": "GRU"}
_CLASSES: dict[str, Any] = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}


class Cell:
    """What one cell of Keras is here.

    Attributes:
        kind: "LSTM", "GRU" or "RNN".
        arguments: of our layer.
        params: its parameters, without suffix.
        dropout: of what goes in.
        recurrent_dropout: of what goes from step to step.
        functions: of the gates, and of what enters and leaves, as Keras calls them.
    """

    def __init__(self, config: Config, weights: LayerWeights, way: str, dtype: str) -> None:
        kind = config.kind.removesuffix("Cell")
        if kind not in KINDS:
            raise config.wrong("only LSTM, GRU and SimpleRNN, and cells of these kinds, are read")
        self.config, self.kind, self.way = config, KINDS[kind], way
        cudnn = kind.startswith("CuDNN")
        bias = cudnn or config.flag("use_bias", True)
        after = self.kind == "GRU" and (cudnn or config.flag("reset_after", config.generation == 3))
        self.after = after
        arrays = self._arrays(weights, bias, after, cudnn)
        self.params = ours(self.kind, arrays)
        self.arguments: dict[str, Any] = {
            "input_size": self.params["weight_ih"].shape[1], "hidden_size": self.params["weight_hh"].shape[1],
            "bias": bias, "recurrent_bias": "bias_hh" in self.params, "batch_first": True, "dtype": dtype, "seed": 0,
            **self._activations(config),
        }  # fmt: skip
        if self.kind == "GRU":
            self.arguments["reset_after"] = after
        self.dropout = self._rate("dropout")
        self.recurrent_dropout = self._rate("recurrent_dropout")

    def _rate(self, key: str) -> float:
        rate = self.config.number(key, 0.0)
        if not 0 <= rate <= 1:
            raise self.config.wrong(f"{key} must be in 0..1, got {rate}")
        return 0.0 if rate == 1 and self.kind != "RNN" else rate  # so does Keras: only its SimpleRNN drops everything

    def _arrays(self, weights: LayerWeights, bias: bool, after: bool, cudnn: bool) -> list[Any]:
        config, gates = self.config, GATES[self.kind]
        units = config.size("units")
        one_by_one = config.generation == 1 and gates > 1
        given = weights.take(self.way, 3 * gates if one_by_one else 2 + bias)
        if one_by_one:
            shapes: list[tuple[int | None, ...]] = [(None, units), (units, units), (units,)] * gates
        else:
            last = (2 * gates * units,) if cudnn else (2, gates * units) if after else (gates * units,)
            shapes = [(None, gates * units), (units, gates * units), last]
        arrays = [read(one, shape, f"the weights of {config!r}") for one, shape in zip(given, shapes, strict=False)]
        if len({a.shape for a in arrays[::3]}) > 1:
            raise config.wrong("the kernels of its gates differ in shape")
        return from_cudnn(self.kind, arrays) if cudnn else arrays

    def _activations(self, config: Config) -> dict[str, Any]:
        """Those arguments of our layers that say what it computes in its gates: here they are handed on."""
        cudnn = config.kind.startswith("CuDNN")
        inner = activations.name_of(config, "activation", "tanh")
        gates = activations.name_of(config, "recurrent_activation", "sigmoid") if self.kind != "RNN" else "sigmoid"
        if cudnn:
            inner, gates = "tanh", "sigmoid"
        found = {"activation": inner} if self.kind == "RNN" else {"activation": inner, "recurrent_activation": gates}
        for key, name in found.items():
            if name not in activations.IN_CELLS:
                raise config.wrong(
                    f"its {key} is {name!r}, and cells here have one of {', '.join(sorted(activations.IN_CELLS))}"
                )
        self.functions = (gates, inner)
        named = {key: activations.IN_CELLS[name] for key, name in found.items()}
        return {"nonlinearity": named["activation"]} if self.kind == "RNN" else named

    def layer(self) -> Layer:
        made: Layer = _CLASSES[self.kind](**self.arguments)
        made.load_state_dict({f"{name}_l0": value for name, value in self.params.items()})
        return made

    def both(self, backward: Cell) -> Layer | None:
        """One layer of two directions, where they are alike."""
        if (self.kind, self.arguments, self.dropout) != (backward.kind, backward.arguments, backward.dropout):
            return None
        made: Layer = _CLASSES[self.kind](**self.arguments, bidirectional=True)
        state = {f"{name}_l0": value for name, value in self.params.items()}
        state.update({f"{name}_l0_reverse": value for name, value in backward.params.items()})
        made.load_state_dict(state)
        return made


def cells_of(config: Config, weights: LayerWeights, way: str, dtype: str) -> list[Cell]:
    """Of LSTM, GRU, SimpleRNN: one; of RNN: that or those of its cell."""
    if config.flag("time_major"):
        raise config.wrong("time_major is not read: save the model with the batch first")
    if config.get("num_constants"):
        raise config.wrong("it is called with constants, which are not read")
    if config.kind != "RNN":
        return [Cell(config, weights, way, dtype)]
    cell = config.inner("cell")
    if cell.kind != "StackedRNNCells":
        return [Cell(cell, weights, way, dtype)]
    inner = cell.get("cells")
    if not isinstance(inner, list) or not inner or len(inner) > 256:
        raise cell.wrong("its list of cells is damaged")
    found, names = [], Names()
    for one in inner:
        own = layer_config(one, config.generation)
        found.append(Cell(own, weights, f"{way}/cells/{names.of(own.kind)}", dtype))
    return found
