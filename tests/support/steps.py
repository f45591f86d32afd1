"""A layer and gradients for a step of an optimizer."""

from __future__ import annotations

import numpy as np

import pylstm

SHAPES = {"weight": (7, 5), "bias": (7,)}


def make_layer(dtype=np.float64, shape=(7, 5)):
    return pylstm.Linear(shape[1], shape[0], dtype=dtype, seed=0)


def gradients(rng):
    scale = 10.0 ** rng.uniform(-4, 1)  # large and tiny ones
    return {name: rng.standard_normal(shape) * scale for name, shape in SHAPES.items()}
