"""The CTC loss of one sequence with its gradient, as the equations say it (Graves 2012, chapter 7.3)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def ctc_of_one(logits: Array, target: list[int], blank: int = 0) -> tuple[float, Array]:
    """The loss -log p(target | logits) of logits (T, C), and its gradient to them.

    The loss is inf, the gradient NaN, where no path reads as the target.
    """
    z = np.asarray(logits, np.float64)
    steps = len(z)
    log_y = z - z.max(axis=1, keepdims=True)
    log_y = log_y - np.log(np.exp(log_y).sum(axis=1, keepdims=True))
    states = [blank]  # l', with blanks before, between and behind the labels
    for label in target:
        states += [int(label), blank]
    count = len(states)
    skips = [s >= 2 and states[s] != blank and states[s] != states[s - 2] for s in range(count)]
    ends = [s for s in (count - 1, count - 2) if s >= 0]
    if steps == 0:
        return (0.0 if not len(target) else np.inf), np.zeros_like(z)
    alpha = np.full((steps, count), -np.inf)
    beta = np.full((steps, count), -np.inf)  # of what comes behind a step, its own label left out
    with np.errstate(all="ignore"):
        for s in range(min(2, count)):
            alpha[0, s] = log_y[0, states[s]]
        for t in range(1, steps):
            for s in range(count):
                before = [s, s - 1, s - 2] if skips[s] else [s, s - 1]
                reached = [alpha[t - 1, other] for other in before if other >= 0]
                alpha[t, s] = np.logaddexp.reduce(reached) + log_y[t, states[s]]
        total = np.logaddexp.reduce([alpha[-1, s] for s in ends])
        if total == -np.inf:
            return np.inf, np.full_like(z, np.nan)
        beta[-1, ends] = 0.0
        for t in range(steps - 2, -1, -1):
            for s in range(count):
                behind = [s, s + 1, s + 2] if s + 2 < count and skips[s + 2] else [s, s + 1]
                gone_on = [beta[t + 1, other] + log_y[t + 1, states[other]] for other in behind if other < count]
                beta[t, s] = np.logaddexp.reduce(gone_on)
        gradient = np.exp(log_y)
        for s in range(count):
            gradient[:, states[s]] -= np.exp(alpha[:, s] + beta[:, s] - total)
    return float(-total), gradient
