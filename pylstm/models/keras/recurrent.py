"""LSTM, GRU, SimpleRNN and RNN of cells of Keras, over our layers."""

from __future__ import annotations

from typing import Any

from ...files.keras.config import Config
from ...files.keras.recurrent import theirs
from ...files.keras.weights import LayerWeights
from ...layers.layer import Layer
from ...layers.pooling import LastStep
from .cells import cells_of
from .masked import packed
from .noise import training
from .recurrent_dropout import Direction, dropouts_of, drops_of, stepwise
from .states import carried
from .step import MASK_SAID, Arrays, Mask, Step, Tensor, sequences_of, value_of


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
        self.directions = [Direction(cell, *drops_of(cell)) for cell in self.cells]
        if dropped := dropouts_of(self.directions):
            if len(self.own) == 1:
                self.layers["cell"] = self.layers.pop("")
            self.layers.update(dropped)
        self.sequences, self.state = config.flag("return_sequences"), config.flag("return_state")
        self.stateful = config.flag("stateful")
        self.backwards, self.zero = config.flag("go_backwards"), config.flag("zero_output_for_mask")

    def run(self, given: list[Tensor], options: dict[str, Any]) -> Tensor | list[Tensor]:
        self.check_options(options, ("initial_state",))
        x, mask = sequences_of(given, self)
        states = initial_states(given, options, self)
        heed, before = heeded(mask, states, options, self), carried(options, self)
        if before is not None:
            kept = before.of(self, x.shape[0])
            states = kept if states is None else states
        y, after = self.computed(x, heed, states, self.backwards, self.zero)
        if before is not None:
            before.put(self, after)
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
        for direction, layer in zip(self.directions, self.own, strict=True):
            cell = direction.cell
            count = 2 if cell.kind == "LSTM" else 1
            state = None
            if states is not None:
                own, states = [one[None] for one in states[:count]], states[count:]
                state = tuple(own) if count == 2 else own[0]
            if direction.recurrent is not None and training():
                y, state = stepwise(layer, [direction], y, state, steps.lengths)
            else:
                y = y if direction.dropout is None else direction.dropout(y)
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
        if self.backwards or self.state or self.stateful or any(one.recurrent for one in self.directions):
            return None
        found: list[Layer] = []
        for layer, direction in zip(self.own, self.directions, strict=True):
            found += [layer] if direction.dropout is None else [direction.dropout, layer]
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
