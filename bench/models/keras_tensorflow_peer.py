from __future__ import annotations

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import tensorflow as tf

from models import keras_model
from models.batches import Data
from models.cases import ModelCase


class Adam(keras.optimizers.Adam):
    """The gradient of a table comes as rows, of which several may belong to one symbol. Keras would square them one by
    one, which is not Adam, nor what it does on JAX."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(tf.convert_to_tensor(gradient), variable, learning_rate)


class Peer(keras_model.Model):
    optimizer = Adam
    version = f"{keras.__version__} on TensorFlow {tf.__version__}"

    def __init__(self, case: ModelCase, data: Data, *, training: bool, threads: int) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        super().__init__(case, data, training=training, threads=threads)
