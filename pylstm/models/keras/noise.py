"""What Keras' layers draw in training, and those that add or multiply noise: GaussianNoise, GaussianDropout and
AlphaDropout. In inference they do nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..._active import ACTIVE
from ..._arrays import Array
from ...files.keras.config import Config
from ...files.keras.weights import LayerWeights
from ...layers.dropout import Dropout
from ...layers.layer import Layer
from .step import Step, value_of

_SELU_FLOOR = -1.6732632423543772 * 1.0507009873554805  # what selu goes to at -infinity (Klambauer et al. 2017)


def training() -> bool:
    """Whether what is computed is recorded for a backward pass."""
    run = ACTIVE.get()
    return run is not None and run.tape is not None


def drawn(dropout: Dropout, shape: tuple[int, ...], dtype: Any) -> Any:
    """The factors of a dropout, as a value."""
    run: Any = ACTIVE.get()
    return dropout(run.constant(np.ones(shape, dtype), "mask"))


class NormalFactors(Dropout):
    """Numbers of the normal distribution with mean 1 in place of a mask; they follow from the seed as masks do."""

    def __init__(self, deviation: float) -> None:
        super().__init__(0.5)  # which nobody asks, but that it is not 0
        self.deviation = deviation

    def _factors(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        bits = np.random.Philox(key=self._seed, counter=np.array([0, 0, 0, self._counter.next()], np.uint64))
        return np.asarray(1 + self.deviation * np.random.Generator(bits).standard_normal(shape), dtype)


class Noise(Step):
    passes_mask = True

    def build(self, config: Config, weights: LayerWeights) -> None:  # noqa: ARG002
        name = "stddev" if config.kind == "GaussianNoise" else "rate"
        self.rate = rate = config.number(name, 0.0)
        most = math.inf if name == "stddev" else 1.0
        if not 0 <= rate < most:
            raise config.wrong(f"{name} must be at least 0 and less than {most:g}, got {rate!r}")
        if config.get("noise_shape") is not None:
            raise config.wrong(f"noise_shape {config.get('noise_shape')!r:.80} is not known here: leave it None")
        if config.kind == "AlphaDropout":
            self.layers = {"": Dropout(rate)}
        else:
            self.layers = {"": NormalFactors(rate if name == "stddev" else math.sqrt(rate / (1 - rate)))}

    def compute(self, x: Any) -> Any:
        if not self.rate or not training():
            return x
        x = value_of(x, self.dtype)
        factors = drawn(self.layers[""], x.shape, x.dtype)
        if self.config.kind == "GaussianNoise":
            return x + (factors - 1)
        if self.config.kind == "GaussianDropout":
            return x * factors
        kept = factors * (1 - self.rate)
        a = ((1 - self.rate) * (1 + self.rate * _SELU_FLOOR**2)) ** -0.5
        return (x * kept + _SELU_FLOOR * (1 - kept)) * a - a * _SELU_FLOOR * self.rate

    def chain(self) -> list[Layer] | None:
        return None if self.rate else []
