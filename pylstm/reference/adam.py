"""Adam (Kingma & Ba 2015, algorithm 1), with its weight decay or that of AdamW (Loshchilov & Hutter 2019)."""

from __future__ import annotations

import math

import numpy as np

from .._arrays import Array


def adam_factors(
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
    step: int,
    scale: float = 1.0,
    limit: float = math.inf,
) -> tuple[float, ...]:
    """What step number `step` (from 1) multiplies with, in the order in which `adam` takes them.

    The textbook's quotient lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps), multiplied through by sqrt(1-b2^t), is
    m / (sqrt(v) + eps') rate: the corrections of the bias are two numbers a step.
    """
    b1, b2 = betas
    root = math.sqrt(1 - b2**step)
    shrink, decay = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    return (scale, limit, shrink, decay, b1, 1 - b1, b2, math.sqrt(1 - b2), eps * root, lr * root / (1 - b1**step))


def adam(p: Array, mean: Array, square: Array, g: Array, factors: tuple[float, ...]) -> tuple[Array, Array, Array]:
    """The new p, mean and square, all of the shape and dtype of p; factors from `adam_factors`."""
    scale, limit, shrink, decay, beta1, rest1, beta2, root2, eps, rate = (p.dtype.type(f) for f in factors)
    p = p * shrink
    g = np.clip(g, -limit, limit) * scale + p * decay
    mean = mean * beta1 + g * rest1
    root = g * root2
    square = square * beta2 + root * root
    return p - mean / (np.sqrt(square) + eps) * rate, mean, square
