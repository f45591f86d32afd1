"""LayerNormalization and BatchNormalization of Keras."""

from __future__ import annotations

from typing import Any

from ...files.keras.config import Config
from ...files.keras.weights import LayerWeights, read
from ...layers.layer import Layer
from ...layers.normalization import LayerNorm
from .batch_norm import MOVING, BatchNorm
from .step import Arrays, Step, Tensor, value_of


def _check_axis(config: Config) -> None:
    axis = config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    shape = config.get("build_shape")
    last = len(shape) - 1 if isinstance(shape, list) else None
    if axis != -1 and axis != last:
        raise config.wrong(f"it normalises the axis {axis!r:.80}, and only the last one (-1) is read")


def _epsilon(config: Config) -> float:
    epsilon = config.number("epsilon", 1e-3)
    if not 0 < epsilon < 1e6:
        raise config.wrong(f"epsilon must be above 0, got {epsilon}")
    return epsilon


class LayerNormalization(Step):
    passes_mask = True

    def build(self, config: Config, weights: LayerWeights) -> None:
        _check_axis(config)
        if config.flag("rms_scaling"):
            raise config.wrong("rms_scaling is not read")
        self.scaled, self.centred = config.flag("scale", True), config.flag("center", True)
        if not self.scaled and not self.centred:
            raise config.wrong("without scale and center it does not say how many features it has")
        arrays = [read(one, (None,), f"the weights of {config!r}")
                  for one in weights.take("", self.scaled + self.centred)]  # fmt: skip
        layer = LayerNorm(len(arrays[0]), _epsilon(config), dtype=self.dtype)
        state = layer.state_dict()
        if self.scaled:
            state["weight"] = arrays[0]
        if self.centred:
            state["bias"] = arrays[-1]
        layer.load_state_dict(state)
        if not (self.scaled and self.centred):
            layer.trainable = False  # else what Keras does not have would be learned
        self.layers = {"": layer}

    def compute(self, x: Any) -> Any:
        return self.layers[""](value_of(x, self.dtype))

    def chain(self) -> list[Layer]:
        return [self.layers[""]]

    def arrays(self) -> Arrays:
        params = self.layers[""].params
        return [("", [params["weight"]] * self.scaled + [params["bias"]] * self.centred)]


class BatchNormalization(Step):
    passes_mask = True

    def build(self, config: Config, weights: LayerWeights) -> None:
        _check_axis(config)
        if config.get("mode", 0):
            raise config.wrong(f"its mode {config.get('mode')!r:.80} is not read: only 0")
        if config.flag("renorm"):
            raise config.wrong("renorm is not read")
        momentum = config.number("momentum", 0.99)
        if not 0 <= momentum <= 1:
            raise config.wrong(f"momentum must be in 0..1, got {momentum}")
        scaled, centred = config.flag("scale", True), config.flag("center", True)
        taken = weights.take("", scaled + centred + 2, state=2)
        names = [*("weight",) * scaled, *("bias",) * centred, *MOVING]
        arrays = {name: read(one, (None,), f"the weights of {config!r}")
                  for name, one in zip(names, taken, strict=True)}  # fmt: skip
        if len({one.shape for one in arrays.values()}) > 1:
            raise config.wrong("its weights differ in shape")
        if not (arrays["moving_variance"] >= 0).all():
            raise config.wrong("its variance is below 0")
        size = len(arrays["moving_mean"])
        layer = BatchNorm(size, _epsilon(config), momentum, scaled, centred, dtype=self.dtype)
        layer.load_state_dict(arrays)
        self.layers = {"": layer}

    def run(self, given: list[Tensor], options: dict[str, Any]) -> Tensor | list[Tensor]:  # noqa: ARG002
        if len(given) != 1:
            raise ValueError(f"{self.config!r} takes one input, got {len(given)}")
        x, mask = given[0]
        return Tensor(self.layers[""](value_of(x, self.dtype), mask=mask), mask)

    def arrays(self) -> Arrays:
        return [("", list(self.layers[""].params.values()))]

    @property
    def states(self) -> int:
        return 2
