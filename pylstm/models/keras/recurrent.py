"""LSTM, GRU, SimpleRNN, RNN of cells and Bidirectional of Keras, over our layers."""

from __future__ import annotations

import re
import warnings
from typing import Any

from ...files.keras.config import Config, layer_config
from ...files.keras.recurrent import GATES, from_cudnn, ours, theirs
from ...files.keras.weights import LayerWeights, read
from ...graph.functions import concatenate, stack
from ...layers.compiled import GRU, LSTM, RNN
from ...layers.dropout import Dropout
from ...layers.layer import Layer
from ...layers.pooling import BothEnds, LastStep
from . import activations
from .masked import packed
from .step import MASK_SAID, Arrays, Mask, Step, Tensor, value_of

_KINDS = {"LSTM": "LSTM", "GRU": "GRU", "SimpleRNN": "RNN", "CuDNNLSTM": "LSTM", "CuDNNGRU": "GRU"}
_CLASSES: dict[str, Any] = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}


class Cell:
    """What one cell of Keras is here.

    Attributes:
        kind: "LSTM", "GRU" or "RNN".
        arguments: of our layer.
        params: its parameters, without suffix.
        dropout: of what goes in.
    """

    def __init__(self, config: Config, weights: LayerWeights, way: str, dtype: str) -> None:
        kind = config.kind.removesuffix("Cell")
        if kind not in _KINDS:
            raise config.wrong("only LSTM, GRU and SimpleRNN, and cells of these kinds, are read")
        self.config, self.kind, self.way = config, _KINDS[kind], way
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
        self.dropout = config.number("dropout", 0.0)
        if not 0 <= self.dropout <= 1:
            raise config.wrong(f"dropout must be in 0..1, got {self.dropout}")
        if config.number("recurrent_dropout", 0.0):
            warnings.warn(
                f"{config!r} has recurrent_dropout, which training here leaves out; what it predicts is the same",
                stacklevel=2,
            )

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


class Names:
    """Names of groups as Keras counts them: lstm_cell, lstm_cell_1 .."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def of(self, kind: str) -> str:
        name = snake(kind)
        count = self._counts[name] = self._counts.get(name, -1) + 1
        return f"{name}_{count}" if count else name


def snake(name: str) -> str:
    """As Keras makes names of classes: "BatchNormalization" -> "batch_normalization", "LSTMCell" -> "lstm_cell"."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _numbered(layers: list[Layer]) -> dict[str, Any]:
    return {"": layers[0]} if len(layers) == 1 else {f"cell_{i}": layer for i, layer in enumerate(layers)}


class Recurrent(Step):
    """LSTM, GRU, SimpleRNN, RNN."""

    def build(self, config: Config, weights: LayerWeights) -> None:
        self.cells = cells_of(config, weights, "cell", self.dtype)
        self.own = [cell.layer() for cell in self.cells]
        for cell in self.cells:
            cell.params = {}
        self.layers = _numbered(self.own)
        self.drops = [Dropout(cell.dropout, same_for_all_steps=True) if cell.dropout else None for cell in self.cells]
        if any(self.drops):
            self.layers = {**_numbered(self.own), "dropout": [one for one in self.drops if one]}
            if len(self.own) == 1:
                self.layers["cell"] = self.layers.pop("")
        self.sequences, self.state = config.flag("return_sequences"), config.flag("return_state")
        self.backwards, self.zero = config.flag("go_backwards"), config.flag("zero_output_for_mask")

    def run(self, given: list[Tensor], options: dict[str, Any]) -> Tensor | list[Tensor]:
        self.check_options(options, ("initial_state",))
        x, mask = value_of(given[0].value, self.dtype), given[0].mask
        states = initial_states(given, options, self)
        y, after = self.computed(x, heeded(mask, states, options, self), states, self.backwards, self.zero)
        first = Tensor(y, mask if self.sequences else None)
        return [first, *(Tensor(one) for one in after)] if self.state else first

    def computed(
        self, x: Any, mask: Mask, states: list[Any] | None, backwards: bool, zero: bool
    ) -> tuple[Any, list[Any]]:
        """The output, of all steps in the order in which they were computed or of the last one, and the states."""
        if backwards:
            x, mask = x[:, ::-1], None if mask is None else mask[:, ::-1]
        steps = packed(x, mask)
        y, after = steps.x, []
        for cell, layer, drop in zip(self.cells, self.own, self.drops, strict=True):
            y = y if drop is None else drop(y)
            count = 2 if cell.kind == "LSTM" else 1
            state = None
            if states is not None:
                own, states = [one[None] for one in states[:count]], states[count:]
                state = tuple(own) if count == 2 else own[0]
            y, state = layer(y, state, lengths=steps.lengths)
            parts = state if count == 2 else (state,)
            after += [one[0] for one in parts]
        last = after[-2 if self.cells[-1].kind == "LSTM" else -1]
        return (steps.unpacked(y, zero) if self.sequences else steps.last(last)), after

    @property
    def count(self) -> int:
        """Of the states."""
        return sum(2 if cell.kind == "LSTM" else 1 for cell in self.cells)

    def chain(self) -> list[Layer] | None:
        if self.backwards or self.state:
            return None
        found: list[Layer] = []
        for layer, drop in zip(self.own, self.drops, strict=True):
            found += [layer] if drop is None else [drop, layer]
        return found if self.sequences else [*found, LastStep()]

    def arrays(self) -> Arrays:
        return [
            (cell.way, theirs(cell.kind, layer.params, "_l0", cell.after))
            for cell, layer in zip(self.cells, self.own, strict=True)
        ]


def heeded(mask: Mask, states: list[Any] | None, options: dict[str, Any], step: Step) -> Mask:
    """The mask that it computes with. Keras 3 hands none to a layer that is called with several tensors, of which the
    states are some, unless it is said; what comes out has the mask still."""
    unsaid = states is not None and MASK_SAID not in options and step.config.generation == 3
    return None if unsaid else mask


def initial_states(given: list[Tensor], options: dict[str, Any], step: Any) -> list[Any] | None:
    found: list[Any] = list(given[1:])
    initial = options.get("initial_state")
    if initial is not None:
        found = list(initial) if isinstance(initial, (list, tuple)) and not isinstance(initial, Tensor) else [initial]
    flat: list[Any] = []
    for one in found:
        flat += one if isinstance(one, list) else [one]
    if not flat:
        return None
    if len(flat) != step.count or not all(isinstance(one, Tensor) for one in flat):
        raise ValueError(f"{step.config!r} has {step.count} states, and is given {len(flat)}")
    return [value_of(one.value, step.dtype) for one in flat]


class Bidirectional(Step):
    def build(self, config: Config, weights: LayerWeights) -> None:
        inner = config.inner("layer")
        if inner.kind not in (*_KINDS, "RNN"):
            raise config.wrong(f"it wraps a {inner.kind[:80]}, and only recurrent layers are read")
        self.merge = config.text("merge_mode", "concat")
        if self.merge not in ("concat", "sum", "mul", "ave", None):
            raise config.wrong(f"its merge_mode {self.merge!r:.80} is not known")
        back = inner
        if config.get("backward_layer") is not None:
            back = config.inner("backward_layer")
        self.sequences, self.state = inner.flag("return_sequences"), inner.flag("return_state")
        if back.kind != inner.kind or back.flag("return_sequences") != self.sequences:
            raise config.wrong("its backward_layer is of another kind than its layer")
        self.forward = Recurrent(inner, weights.inside("forward_layer"), self.dtype)
        self.backward = Recurrent(back, weights.inside("backward_layer"), self.dtype)
        self.count = 2 * self.forward.count
        self.both: Any = None
        self.layers = {"forward": self.forward.layers, "backward": self.backward.layers}
        if len(self.forward.own) == 1:
            self._join()
        else:
            for name in self.layers:
                self.layers[name] = self.layers[name].get("", self.layers[name])

    def _join(self) -> None:
        """Both directions in one layer, which runs them side by side."""
        first, second = self.forward.cells[0], self.backward.cells[0]
        for cell, layer in ((first, self.forward.own[0]), (second, self.backward.own[0])):
            cell.params = {name.removesuffix("_l0"): value for name, value in layer.state_dict().items()}
        self.both = first.both(second)
        first.params = second.params = {}
        if self.both is None:
            raise self.config.wrong("its backward_layer has other sizes or arguments than its layer")
        self.drop = self.forward.drops[0]
        self.forward.own = self.backward.own = []
        self.layers = {"": self.both} if self.drop is None else {"cell": self.both, "dropout": self.drop}

    def run(self, given: list[Tensor], options: dict[str, Any]) -> Tensor | list[Tensor]:
        self.check_options(options, ("initial_state",))
        x, mask = value_of(given[0].value, self.dtype), given[0].mask
        states = initial_states(given, options, self)
        kept = mask if self.sequences else None
        mask = heeded(mask, states, options, self)
        sides, after = self._together(x, mask, states) if self.both is not None else self._apart(x, mask, states)
        found = [Tensor(one, kept) for one in self._merged(*sides)]
        if self.state:
            return found + [Tensor(one) for one in after]
        return found if len(found) > 1 else found[0]

    def _together(self, x: Any, mask: Mask, states: list[Any] | None) -> tuple[tuple[Any, Any], list[Any]]:
        state: Any = None
        lstm = self.forward.cells[0].kind == "LSTM"
        if states is not None:
            half = len(states) // 2
            parts = [stack([states[k], states[half + k]]) for k in range(half)]
            state = tuple(parts) if lstm else parts[0]
        steps = packed(x if self.drop is None else self.drop(x), mask)
        y, state = self.both(steps.x, state, lengths=steps.lengths)
        parts = list(state) if lstm else [state]
        after = [part[0] for part in parts] + [part[1] for part in parts]
        if not self.sequences:
            return (steps.last(parts[0][0]), steps.last(parts[0][1])), after
        y, width = steps.unpacked(y, zero=True), self.both.hidden_size
        return (y[..., :width], y[..., width:]), after

    def _apart(self, x: Any, mask: Mask, states: list[Any] | None) -> tuple[tuple[Any, Any], list[Any]]:
        half = self.forward.count
        first, second = (None, None) if states is None else (states[:half], states[half:])
        y, after = self.forward.computed(x, mask, first, False, zero=self.sequences)
        y_back, after_back = self.backward.computed(x, mask, second, True, zero=self.sequences)
        return (y, y_back[:, ::-1] if self.sequences else y_back), after + after_back

    def _merged(self, y: Any, back: Any) -> list[Any]:
        if self.merge is None:
            return [y, back]
        if self.merge == "concat":
            return [concatenate([y, back], axis=-1)]
        return [y + back if self.merge == "sum" else y * back if self.merge == "mul" else (y + back) / 2]

    def chain(self) -> list[Layer] | None:
        if self.both is None or self.merge != "concat" or self.state:
            return None
        found: list[Layer] = [self.both] if self.drop is None else [self.drop, self.both]
        return found if self.sequences else [*found, BothEnds()]

    def arrays(self) -> Arrays:
        if self.both is None:
            sides = (("forward_layer", self.forward), ("backward_layer", self.backward))
            return [(f"{name}/{way}", own) for name, side in sides for way, own in side.arrays()]
        kind, after, params = self.forward.cells[0].kind, self.forward.cells[0].after, self.both.params
        return [
            ("forward_layer/cell", theirs(kind, params, "_l0", after)),
            ("backward_layer/cell", theirs(kind, params, "_l0_reverse", after)),
        ]  # fmt: skip
