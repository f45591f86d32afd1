from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import tensorflow as tf

from models import keras_model
from models.cases import ModelCase
from models.data import Data


class Peer(keras_model.Model):
    version = f"{keras.__version__} on TensorFlow {tf.__version__}"

    def __init__(self, case: ModelCase, data: Data, *, training: bool, threads: int) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        super().__init__(case, data, training=training, threads=threads)
