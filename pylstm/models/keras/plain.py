"""Layers of Keras that look at one step at a time, or only at the form: Dense, Embedding, Activation, Reshape .."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...files.keras.config import Config
from ...files.keras.weights import LayerWeights, read
from ...graph.functions import concatenate, stack, where
from ...graph.values import Value
from ...layers.activation import Activation
from ...layers.dropout import Dropout
from ...layers.embedding import Embedding
from ...layers.layer import Layer
from ...layers.linear import Linear
from . import activations
from .step import Arrays, Step, Tensor, one_output, value_of

_MOST = 2**16  # steps that a layer adds: what a damaged config says is not believed


class InputStep(Step):
    passes_mask = True

    def compute(self, x: Any) -> Any:
        return x

    def chain(self) -> list[Layer]:
        return []


class Identity(Step):
    """What does nothing in inference, and only adds to the loss in training."""

    passes_mask = True

    def compute(self, x: Any) -> Any:
        return x

    def chain(self) -> list[Layer]:
        return []


class DropoutStep(Step):
    passes_mask = True

    def build(self, config: Config, weights: LayerWeights) -> None:  # noqa: ARG002
        rate = config.number("rate", 0.5)
        if not 0 <= rate <= 1:
            raise config.wrong(f"rate must be in 0..1, got {rate!r}")
        shape = config.get("noise_shape")
        same = config.kind == "SpatialDropout1D"
        if shape is not None and not same:
            if not (isinstance(shape, list) and len(shape) == 3 and shape[1] == 1 and shape[0] is None):
                raise config.wrong(f"noise_shape {shape!r:.80} is not known: none, or [None, 1, None]")
            same = True
        self.layers = {"": Dropout(rate, same_for_all_steps=same)}

    def run(self, given: list[Tensor], options: dict[str, Any]) -> Tensor | list[Tensor]:
        found = super().run(given, options)
        assert isinstance(found, Tensor)
        return found if self.config.kind != "SpatialDropout1D" else Tensor(found.value)

    def compute(self, x: Any) -> Any:
        return self.layers[""](value_of(x, self.dtype))

    def chain(self) -> list[Layer]:
        return [self.layers[""]]


class Dense(Step):
    passes_mask = True

    def build(self, config: Config, weights: LayerWeights) -> None:
        bias = config.flag("use_bias", True)
        taken = weights.take("", 1 + bias)
        kernel = read(taken[0], (None, config.size("units")), f"the kernel of {config!r}")
        layer = Linear(kernel.shape[0], kernel.shape[1], bias=bias, dtype=self.dtype, seed=0)
        state = {"weight": kernel.T}
        if bias:
            state["bias"] = read(taken[1], (kernel.shape[1],), f"the bias of {config!r}")
        layer.load_state_dict(state)
        self.layers = {"": layer}
        self.activation = activations.name_of(config, "activation", "linear")

    def compute(self, x: Any) -> Any:
        y = self.layers[""](value_of(x, self.dtype))
        function = activations.function(self.activation)
        return y if function is None else function(y)

    def chain(self) -> list[Layer] | None:
        if self.activation == "linear":
            return [self.layers[""]]
        return [self.layers[""], Activation(self.activation)] if self.activation in activations.OURS else None

    def arrays(self) -> Arrays:
        params = self.layers[""].params
        return [("", [params["weight"].T, *([params["bias"]] if "bias" in params else [])])]


class EmbeddingStep(Step):
    def build(self, config: Config, weights: LayerWeights) -> None:
        self.mask_zero = config.flag("mask_zero")
        if config.get("lora_rank") is not None or config.get("quantization_config") is not None:
            raise config.wrong("its weights are quantised, or in two parts (LoRA): save it with plain ones")
        table = read(weights.take("", 1)[0], (None, config.size("output_dim")), f"the table of {config!r}")
        layer = Embedding(*table.shape, dtype=self.dtype, seed=0)
        layer.load_state_dict({"weight": table})
        self.layers = {"": layer}

    def run(self, given: list[Tensor], options: dict[str, Any]) -> Tensor | list[Tensor]:  # noqa: ARG002
        x, mask = given[0]
        ids = self._symbols(x.numpy()) if isinstance(x, Value) else x
        if self.mask_zero:
            mask = (ids != 0) if mask is None or mask.shape != ids.shape else (ids != 0) & mask
        return Tensor(self.layers[""](ids), mask)

    def _symbols(self, x: Any) -> Any:
        """Floats as integers."""
        wrong = ~((x == np.floor(x)) & (np.abs(x) < 2**53))
        if wrong.any():
            raise ValueError(f"{self.config!r} takes symbols, whole numbers from 0 on, got {x[wrong][0]}")
        return x.astype(np.int64)

    def chain(self) -> list[Layer] | None:
        return None if self.mask_zero else [self.layers[""]]

    def arrays(self) -> Arrays:
        return [("", [self.layers[""].params["weight"]])]


class ActivationStep(Step):
    """Activation, ReLU, LeakyReLU, ELU and Softmax."""

    passes_mask = True

    def build(self, config: Config, weights: LayerWeights) -> None:  # noqa: ARG002
        kind = config.kind
        self.axis = -1
        if kind == "Activation":
            self.name = activations.name_of(config, "activation", "linear")
        elif kind == "Softmax":
            self.name, self.axis = "softmax", config.size("axis", -1, minimum=-8)
        else:
            self.name = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "ELU": "elu"}[kind]
            slope = config.number("negative_slope", config.number("alpha", 0.3)) if kind == "LeakyReLU" else 0.0
            self.slope = slope
            if kind == "ReLU":
                self.slope = config.number("negative_slope", 0.0)
                if config.get("max_value") is not None or config.number("threshold", 0.0):
                    raise config.wrong("max_value and threshold are not read")
            if kind == "ELU" and config.number("alpha", 1.0) != 1.0:
                raise config.wrong("an alpha other than 1 is not read")

    def run(self, given: list[Tensor], options: dict[str, Any]) -> Tensor | list[Tensor]:
        if self.config.kind == "Softmax" and given and given[0].mask is not None:
            raise ValueError(f"{self.config!r} has a mask, which it would have to leave out: this is not computed here")
        return super().run(given, options)

    def compute(self, x: Any) -> Any:
        x = value_of(x, self.dtype)
        if self.config.kind in ("ReLU", "LeakyReLU"):
            return x.relu() - (-x).relu() * self.slope if self.slope else x.relu()
        if self.name == "softmax":
            return x.softmax(axis=self.axis)
        function = activations.function(self.name)
        return x if function is None else function(x)

    def chain(self) -> list[Layer] | None:
        if self.name == "linear":
            return []
        plain = self.name in activations.OURS and self.axis == -1 and not getattr(self, "slope", 0.0)
        return [Activation(self.name)] if plain else None


class Masking(Step):
    def build(self, config: Config, weights: LayerWeights) -> None:  # noqa: ARG002
        self.value = config.number("mask_value", 0.0)

    def run(self, given: list[Tensor], options: dict[str, Any]) -> Tensor | list[Tensor]:  # noqa: ARG002
        x, mask = value_of(given[0].value, self.dtype), given[0].mask
        own = np.any(x.numpy() != x.dtype.type(self.value), axis=-1)
        if mask is not None:
            own &= mask
        return Tensor(where(own[..., None], x, 0.0), own)


class Reshaping(Step):
    """Flatten, Reshape, Permute, RepeatVector, ZeroPadding1D, Cropping1D, UpSampling1D."""

    def build(self, config: Config, weights: LayerWeights) -> None:  # noqa: ARG002
        kind = config.kind
        if config.get("data_format") == "channels_first":
            raise config.wrong("data_format is channels_first, and channels_last is read")
        key = {"Reshape": "target_shape", "Permute": "dims"}.get(kind)
        if key is not None:
            found = config.get(key)
            if not isinstance(found, list) or len(found) > 8 or any(type(n) is not int for n in found):
                raise config.wrong(f"{key} is damaged: {found!r:.80}")
            self.shape = tuple(found)
            if kind == "Permute" and sorted(found) != list(range(1, len(found) + 1)):
                raise config.wrong(f"dims must be the axes from 1 on, got {found!r:.80}")
        elif kind in ("ZeroPadding1D", "Cropping1D"):
            found = config.get("padding" if kind == "ZeroPadding1D" else "cropping", 1)
            found = [found, found] if type(found) is int else found
            if (
                not isinstance(found, list)
                or len(found) != 2
                or any(type(n) is not int or not 0 <= n <= _MOST for n in found)
            ):
                raise config.wrong(f"how much is added or cut off is damaged: {found!r:.80}")
            self.ends = tuple(found)
        elif kind in ("RepeatVector", "UpSampling1D"):
            self.count = config.size("n" if kind == "RepeatVector" else "size", 2, most=_MOST)

    def compute(self, x: Any) -> Any:
        x = value_of(x, self.dtype)
        kind, size = self.config.kind, x.shape[0]
        if kind == "Flatten":
            return x.reshape(size, math.prod(x.shape[1:]))
        if kind == "Reshape":
            return x.reshape(size, *self.shape)
        if kind == "Permute":
            if len(self.shape) != x.ndim - 1:
                raise ValueError(f"{self.config!r} orders {len(self.shape)} axes, and its input has {x.ndim - 1}")
            return x.transpose(0, *self.shape)
        if kind == "RepeatVector":
            return x[:, None][:, np.zeros(self.count, np.int64)]
        if kind == "UpSampling1D":
            return x[:, np.repeat(np.arange(x.shape[1]), self.count)]
        if kind == "Cropping1D":
            return x[:, self.ends[0] : x.shape[1] - self.ends[1]]
        return padded(x, *self.ends)

    def chain(self) -> list[Layer] | None:
        return None


def padded(x: Value, left: int, right: int) -> Value:
    """Steps of zeros before and behind."""
    parts: list[Any] = [np.zeros((x.shape[0], count, *x.shape[2:]), x.dtype) for count in (left, right)]
    wanted = [parts[0]] * (left > 0) + [x] + [parts[1]] * (right > 0)
    made: Value = concatenate(wanted, axis=1) if len(wanted) > 1 else x
    return made


class TimeDistributed(Step):
    """A layer for every step, as if each were a sequence of its own."""

    passes_mask = True

    def __init__(self, config: Config, weights: LayerWeights, dtype: str, inner: Step) -> None:
        self.inner = inner
        if inner.stateful:
            raise config.wrong("the layer in it is stateful, which is not read: its steps share no state")
        super().__init__(config, weights, dtype)
        self.layers = inner.layers

    def run(self, given: list[Tensor], options: dict[str, Any]) -> Tensor | list[Tensor]:
        if not self.inner.states or len(given) != 1:
            return super().run(given, options)
        x, mask = value_of(given[0].value, self.dtype), given[0].mask  # statistics are those of one step at a time
        found = [one_output(self.inner, [Tensor(x[:, t], None if mask is None else mask[:, t])]).value
                 for t in range(x.shape[1])]  # fmt: skip
        return Tensor(stack(found, axis=1), mask)

    def compute(self, x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            x = value_of(x, self.dtype)
        size, steps = x.shape[:2]
        if isinstance(self.inner, (Dense, ActivationStep)) and not isinstance(x, np.ndarray):
            return self.inner.compute(x)  # looks at the last axis only
        y = one_output(self.inner, [Tensor(x.reshape(size * steps, *x.shape[2:]))]).value
        return y.reshape(size, steps, *y.shape[1:])

    def chain(self) -> list[Layer] | None:
        return self.inner.chain() if isinstance(self.inner, (Dense, ActivationStep)) else None

    def arrays(self) -> Arrays:
        return [(f"layer/{way}".rstrip("/"), own) for way, own in self.inner.arrays()]

    @property
    def states(self) -> int:
        return self.inner.states
