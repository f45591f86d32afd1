from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras

from models import keras_model


class Peer(keras_model.Model):
    version = f"{keras.__version__} on JAX {jax.__version__}"  # its threads are as many as the cores of the process
