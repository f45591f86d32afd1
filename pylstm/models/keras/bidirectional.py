"""Bidirectional of Keras, over our layers."""

from __future__ import annotations

from typing import Any

from ...files.keras.config import Config
from ...files.keras.recurrent import theirs
from ...files.keras.weights import LayerWeights
from ...graph.functions import concatenate, stack
from ...layers.layer import Layer
from ...layers.pooling import BothEnds
from .cells import KINDS
from .masked import packed
from .noise import training
from .recurrent import Recurrent, heeded, initial_states
from .recurrent_dropout import dropouts_of, stepwise
from .states import carried
from .step import Arrays, Mask, Step, Tensor, sequences_of


class Bidirectional(Step):
    def build(self, config: Config, weights: LayerWeights) -> None:
        inner = config.inner("layer")
        if inner.kind not in (*KINDS, "RNN"):
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
        self.stateful = inner.flag("stateful")
        self.forward.stateful = self.backward.stateful = False  # their states are kept here
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
        self.directions = [self.forward.directions[0], self.backward.directions[0]]
        self.drop = self.directions[0].dropout
        self.forward.own = self.backward.own = []
        self.layers = {"": self.both} if self.drop is None else {"cell": self.both, "dropout": self.drop}
        self.recurrent_dropout = any(one.recurrent for one in self.directions)
        if self.recurrent_dropout:
            self.layers = {"cell": self.both, **dropouts_of(self.directions)}

    def run(self, given: list[Tensor], options: dict[str, Any]) -> Tensor | list[Tensor]:
        self.check_options(options, ("initial_state",))
        x, mask = sequences_of(given, self)
        states = initial_states(given, options, self)
        kept = mask if self.sequences else None
        mask, before = heeded(mask, states, options, self), carried(options, self)
        if before is not None:
            found_before = before.of(self, x.shape[0])
            states = found_before if states is None else states
        sides, after = self._together(x, mask, states) if self.both is not None else self._apart(x, mask, states)
        if before is not None:
            before.put(self, after)
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
        stepping = self.recurrent_dropout and training()
        steps = packed(x if self.drop is None or stepping else self.drop(x), mask)
        if stepping:
            y, state = stepwise(self.both, self.directions, steps.x, state, steps.lengths)
        else:
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
        if self.both is None or self.merge != "concat" or self.state or self.stateful or self.recurrent_dropout:
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
