"""Conv1D and the pooling layers of Keras."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...files.keras.config import Config
from ...files.keras.weights import LayerWeights, read
from ...graph.functions import where
from ...layers.activation import Activation
from ...layers.convolution import Conv1d
from ...layers.layer import Layer
from ...layers.pooling import MaxOverTime, MeanOverTime
from . import activations
from .plain import padded
from .step import Arrays, Step, Tensor, value_of


def _around(steps: int, span: int, stride: int) -> tuple[int, int]:
    """Zeros before and behind, of padding "same"."""
    total = max((-(-steps // stride) - 1) * stride + span + 1 - steps, 0)
    return total // 2, total - total // 2


def _check_format(config: Config) -> None:
    if config.get("data_format") == "channels_first":
        raise config.wrong("data_format is channels_first, and channels_last is read")


class Convolution(Step):
    def build(self, config: Config, weights: LayerWeights) -> None:
        _check_format(config)
        if config.size("groups", 1) != 1:
            raise config.wrong("groups other than 1 are not read")
        self.padding = config.text("padding", "valid")
        if self.padding not in ("valid", "same", "causal"):
            raise config.wrong(f"its padding {self.padding!r:.80} is not known")
        bias, width, filters = config.flag("use_bias", True), config.size("kernel_size"), config.size("filters")
        taken = weights.take("", 1 + bias)
        form: tuple[int | None, ...] = (width, None, filters)
        if config.generation == 1:
            kernel = read(taken[0], (width, 1, None, filters), f"the kernel of {config!r}")[:, 0]
        else:
            kernel = read(taken[0], form, f"the kernel of {config!r}")
        self.stride, self.dilation = config.size("strides", 1), config.size("dilation_rate", 1, most=2**16)
        span = self.dilation * (width - 1)
        even = self.padding == "same" and self.stride == 1 and not span % 2
        self.even, self.span = even, span
        layer = Conv1d(
            kernel.shape[1], filters, width, self.stride, span // 2 if even else 0, self.dilation,
            self.padding == "causal", bias, dtype=self.dtype, seed=0,
        )  # fmt: skip
        state = {"weight": kernel.transpose(2, 1, 0)}
        if bias:
            state["bias"] = read(taken[1], (filters,), f"the bias of {config!r}")
        layer.load_state_dict(state)
        self.layers = {"": layer}
        self.activation = activations.name_of(config, "activation", "linear")

    def compute(self, x: Any) -> Any:
        x = value_of(x, self.dtype)
        if self.padding == "same" and not self.even:
            x = padded(x, *_around(x.shape[1], self.span, self.stride))
        y = self.layers[""](x)
        function = activations.function(self.activation)
        return y if function is None else function(y)

    def chain(self) -> list[Layer] | None:
        if self.padding == "same" and not self.even:
            return None
        if self.activation == "linear":
            return [self.layers[""]]
        return [self.layers[""], Activation(self.activation)] if self.activation in activations.OURS else None

    def arrays(self) -> Arrays:
        params = self.layers[""].params
        return [("", [params["weight"].transpose(2, 1, 0), *([params["bias"]] if "bias" in params else [])])]


class GlobalPooling(Step):
    """GlobalMaxPooling1D, which looks at masked steps, too, and GlobalAveragePooling1D, which does not."""

    def build(self, config: Config, weights: LayerWeights) -> None:  # noqa: ARG002
        _check_format(config)
        self.keep = config.flag("keepdims")
        self.max = "Max" in config.kind

    def run(self, given: list[Tensor], options: dict[str, Any]) -> Tensor | list[Tensor]:  # noqa: ARG002
        x, mask = value_of(given[0].value, self.dtype), given[0].mask
        if self.max:
            return Tensor(x.max(axis=1, keepdims=self.keep))
        if mask is None:
            return Tensor(x.mean(axis=1, keepdims=self.keep))
        total = where(mask[..., None], x, 0.0).sum(axis=1, keepdims=self.keep)
        counts = mask.sum(axis=1).reshape(-1, *[1] * (total.ndim - 1))
        return Tensor(total / counts.astype(x.dtype))

    def chain(self) -> list[Layer] | None:
        return None if self.keep else [MaxOverTime() if self.max else MeanOverTime()]


class Pooling(Step):
    """MaxPooling1D and AveragePooling1D."""

    def build(self, config: Config, weights: LayerWeights) -> None:  # noqa: ARG002
        _check_format(config)
        self.max = "Max" in config.kind
        self.size = config.size("pool_size", 2, most=2**16)
        self.stride = config.size("strides", self.size) if config.get("strides") is not None else self.size
        self.padding = config.text("padding", "valid")
        if self.padding not in ("valid", "same"):
            raise config.wrong(f"its padding {self.padding!r:.80} is not known")

    def compute(self, x: Any) -> Any:
        x = value_of(x, self.dtype)
        steps, left, right = x.shape[1], 0, 0
        if self.padding == "same":
            left, right = _around(steps, self.size - 1, self.stride)
        starts = np.arange(-left, steps + right - self.size + 1, self.stride)
        places = starts[:, None] + np.arange(min(self.size, steps + left + right + 1))
        inside = (places >= 0) & (places < steps)
        windows = x[:, np.clip(places, 0, max(steps - 1, 0))]  # (N, T', size, F)
        if self.max:
            return where(inside[:, :, None], windows, -np.inf).max(axis=2)
        counts = inside.sum(axis=1)[:, None].astype(x.dtype)
        return where(inside[:, :, None], windows, 0.0).sum(axis=2) / counts
