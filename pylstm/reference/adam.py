"""Adam (Kingma & Ba 2015, algorithm 1), with its weight decay or that of AdamW (Loshchilov & Hutter 2019)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


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
    """The new p, mean and square, all of the shape and dtype of p; factors from `adam_factors`.

    As in the core, numbers below the smallest normal one (denormals) count as zero wherever they come up.
    """
    f = flushed
    scale, limit, shrink, decay, beta1, rest1, beta2, root2, eps, rate = (f(p.dtype.type(x)) for x in factors)
    p = f(f(p) * shrink)
    g = f(f(f(np.clip(f(g), -limit, limit)) * scale) + f(p * decay))
    mean = f(f(f(mean) * beta1) + f(g * rest1))
    root = f(g * root2)
    square = f(f(f(square) * beta2) + f(root * root))
    return f(p - f(f(mean / f(np.sqrt(square) + eps)) * rate)), mean, square


def flushed(a: Array) -> Array:
    """`a` with zeros of the same sign in place of denormals."""
    return np.asarray(np.where(np.abs(a) < np.finfo(a.dtype).tiny, np.copysign(a.dtype.type(0), a), a))
