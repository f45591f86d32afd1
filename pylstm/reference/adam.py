"""Adam (Kingma & Ba 2015) and AdamW (Loshchilov & Hutter 2019): as the papers have them, and as the core does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def textbook(
    p: Array,
    m: Array,
    v: Array,
    g: Array,
    step: int,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> tuple[Array, Array, Array]:
    """The new p, m and v of step number `step` (from 1), equation by equation.

    Algorithm 1 of Kingma & Ba; with weight decay algorithm 2 of Loshchilov & Hutter, which has both kinds. lr is their
    step size times the schedule's multiplier, and lr·weight_decay what they take off the weights, as in PyTorch.
    """
    b1, b2 = betas
    if not decoupled:
        g = g + weight_decay * p
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * g**2
    m_hat = m / (1 - b1**step)
    v_hat = v / (1 - b2**step)
    change = lr * m_hat / (np.sqrt(v_hat) + eps)
    if decoupled:
        change = change + lr * weight_decay * p
    return p - change, m, v


def adam(p: Array, mean: Array, square: Array, g: Array, factors: tuple[float, ...]) -> tuple[Array, Array, Array]:
    """The same to the bit of the core: the new p, mean and square, all of the shape and dtype of p.

    factors: what the core takes, scale, limit, shrink, decay, beta1, rest1, beta2, root2, eps and rate. As in the core,
    numbers below the smallest normal one (denormals) count as zero wherever they come up.
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
