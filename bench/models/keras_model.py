"""Keras on the backend that KERAS_BACKEND names: batches are padded to one length, so that XLA compiles once, and
masked where they are ragged."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from cases import Array
from models import ModelPeer
from models.batches import Batch, Data
from models.cases import ModelCase
from models.data import PADDING
from peers import Unsupported

# Keras adds epsilon to a root that is not corrected for its beginning at 0, and so smaller: 0.03 to 0.09 of the others'
# in the first steps, where their 1e-8 counts.
EPSILON = 5e-10
# Keras' LSTM has PyTorch's order of gates: i f g o; its weights are transposed.
LOSSES = {
    "cross_entropy": lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "binary_cross_entropy": lambda: keras.losses.BinaryCrossentropy(from_logits=True),
    "mse": keras.losses.MeanSquaredError,
}


class Model(ModelPeer):
    """jit_compile as the backend's module asks; `train_on_batch` and `predict_on_batch` on prepared batches."""

    optimizer: Any = keras.optimizers.Adam

    def __init__(self, case: ModelCase, data: Data, *, training: bool, threads: int) -> None:  # noqa: ARG002
        if case.translates:
            raise Unsupported("a translator is no chain of Keras' layers, and is left out")
        if case.loss == "ctc":
            raise Unsupported("labels without places are left out")
        self.case, self.data, self.training = case, data, training
        self.model = build(case, data.weights)
        self.model.compile(loss=LOSSES[case.loss](), optimizer=self.optimizer(1e-3, epsilon=EPSILON), jit_compile=True)
        self.batches = [prepared(case, batch) for batch in data.batches]

    def run(self) -> Any:
        if self.training:
            return [float(np.asarray(self.model.train_on_batch(*batch))) for batch in self.batches]
        for x, _ in self.batches:
            outputs = self.model.predict_on_batch(x)
        return outputs

    def losses(self) -> list[float]:
        found: list[float] = self.run()
        return found

    def outputs(self) -> Array:
        return np.asarray(self.model.predict_on_batch(self.batches[0][0]))


def prepared(case: ModelCase, batch: Batch) -> tuple[Array, Array]:
    widths = [(0, 0), (0, case.T - batch.steps), (0, 0)]
    x = np.pad(batch.x, widths[: batch.x.ndim], constant_values=PADDING)
    x = x.astype(np.int32) if case.vocabulary else x
    if case.per_step:
        return x, np.pad(batch.y, widths[:2]).astype(np.int32)
    return x, batch.y if case.loss == "mse" else batch.y.astype(np.float32)[:, None]


def build(case: ModelCase, weights: dict[str, Array]) -> Any:
    """The model with these weights."""
    shape = (case.T,) if case.vocabulary else (case.T, case.E)
    layers: list[Any] = [keras.layers.Input(shape, case.N, "int32" if case.vocabulary else "float32")]
    values: list[Array] = []
    if case.vocabulary:
        layers.append(keras.layers.Embedding(case.vocabulary, case.E, mask_zero=case.ragged))
        values.append(weights["embedding"])
    for k in range(case.layers):
        lstm = keras.layers.LSTM(case.H, return_sequences=case.per_step or k + 1 < case.layers)
        layers.append(keras.layers.Bidirectional(lstm) if case.bidirectional else lstm)
        for suffix in [f"l{k}", f"l{k}_reverse"][: case.directions]:
            values += [weights[f"weight_{kind}_{suffix}"].T for kind in ("ih", "hh")]
            values.append(weights[f"bias_ih_{suffix}"])
    layers.append(keras.layers.Dense(case.C))
    model = keras.Sequential(layers)
    model.set_weights([*values, weights["head.weight"].T, weights["head.bias"]])
    return model
