"""Symbols drawn from logits."""

from __future__ import annotations

import math
import os
import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _arrays, _checks, _core

Random = np.random.Generator | np.random.SeedSequence | int | None

_FLOAT64 = np.dtype(np.float64)


def sample(
    logits: ArrayLike,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    rng: Random = None,
) -> Any:
    """A symbol for each row of logits, drawn from their softmax.

    In this order, as in Hugging Face's transformers: logits are divided by the temperature; all but the `top_k` largest
    are left out; of the softmax of what remains, all but the smallest set whose probability reaches `top_p` (nucleus
    sampling, Holtzman et al. 2020); from the softmax of what remains then, one is drawn. Of equal logits the first ones
    stay: as many remain as were asked for.

    Computed in float64. A row takes one number of `rng`, whatever is left out, and none where the temperature is 0: a
    batch draws what its rows draw one after another.

    Args:
        logits: (..., V), V symbols each; float32, float64, or what converts to float64. -inf is a symbol that is never
            drawn.
        temperature: below 1 likely symbols become more likely, above 1 less so; 0 takes the largest logit, the first
            one of several.
        top_k: at most so many symbols; None: all.
        top_p: 0 to 1: the probability that is enough; at least one symbol remains. None: all.
        rng: a `numpy.random.Generator`, which moves on; or a seed, with which the same logits give the same symbols; or
            None, for symbols that nobody can foretell.

    Returns:
        Of (V,) an int, else an int64 array of the shape without V.

    Raises TypeError or ValueError for a wrong argument, naming it: a row that holds NaN or +inf, or nothing but -inf,
    too.

    >>> sample([0.1, 2.5, 0.3], temperature=0)
    1
    >>> rng = np.random.default_rng(0)
    >>> sample(np.zeros((2, 3)), rng=rng).shape
    (2,)
    """
    return drawn(logits, way_of(temperature, top_k, top_p), generator(rng))


class Way(NamedTuple):
    """How to draw: checked arguments of `sample`."""

    temperature: float
    top_k: int | None
    top_p: float | None


def way_of(temperature: float, top_k: int | None, top_p: float | None) -> Way:
    """Raises TypeError or ValueError for a wrong one, naming it."""
    if type(temperature) is not float or not 0.0 < temperature < math.inf:
        temperature = _checks.non_negative("temperature", temperature)
    if top_k is not None:
        top_k = _checks.integer("top_k", top_k)
    if top_p is not None:
        top_p = _checks.probability("top_p", top_p)
    return Way(temperature, top_k, top_p)


class _Own(threading.local):
    """A thread's generator of numbers that nobody can foretell; a forked child takes another one than its parent."""

    process = 0
    rng: np.random.Generator


_own = _Own()


def generator(rng: Random) -> np.random.Generator:
    """Of what was given as `rng`."""
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, np.random.SeedSequence):
        return np.random.default_rng(rng)
    if rng is not None:
        try:
            return np.random.default_rng(_checks.seed_value("rng", rng))
        except TypeError:
            expected = "a numpy.random.Generator, a seed or None"
            raise TypeError(f"rng must be {expected}, got {_checks.kind(rng)}") from None
    if _own.process != (process := os.getpid()):
        _own.rng, _own.process = np.random.default_rng(), process
    return _own.rng


def drawn(logits: ArrayLike, way: Way, rng: np.random.Generator, name: str = "logits") -> Any:
    """What `sample` returns. name: of the logits, in errors."""
    array = _arrays.float_array(name, logits, _FLOAT64)
    shape = array.shape
    if not shape or shape[-1] == 0:
        raise ValueError(f"{name} must have shape (..., V), V at least 1, got {shape}")
    count = shape[-1]
    rows = np.ascontiguousarray(array.reshape(math.prod(shape[:-1]), count))
    symbols = np.empty(len(rows), np.int64)
    top_k = count if way.top_k is None else min(way.top_k, count)
    top_p = 1.0 if way.top_p is None else way.top_p
    wrong = _core.sample(rows, symbols, way.temperature, top_k, top_p, rng.random, None)
    if wrong >= 0:
        place = ", ".join(str(int(i)) for i in np.unravel_index(wrong, shape[:-1])) if len(shape) > 1 else ""
        raise ValueError(
            f"{name}{f'[{place}]' if place else ''} must hold a finite number and neither NaN nor +inf, "
            f"got {_fault(rows[wrong])}"
        )
    return int(symbols[0]) if len(shape) == 1 else symbols.reshape(shape[:-1])


def _fault(row: NDArray[Any]) -> str:
    return "NaN" if np.isnan(row).any() else "+inf" if (row > 0).any() else "nothing but -inf"
