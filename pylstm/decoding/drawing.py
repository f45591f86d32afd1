"""Sentences drawn at random from a model that writes symbol by symbol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .beams import log_sums
from .rows import Axis
from .sampling import Way, drawn
from .search import Hypothesis, Index, Scores, Search


def draw_sentences(
    step: Callable[..., Any],
    state: Any,
    begin: int,
    end: int,
    count: int,
    max_length: int,
    way: Way,
    rng: np.random.Generator,
    *,
    length_penalty: float = 0.0,
    axis: Axis = 0,
    shared: Any = None,
) -> list[list[Hypothesis]]:
    """`count` sentences for each input, the likeliest one first. Arguments as those of `beam_search`; scores are those
    of the model's own probabilities, whatever `way` makes of them."""
    search = _Drawing(
        step, state, begin, end, max_length, width=count, n_best=count, axis=axis, reorder=None, shared=shared,
        alpha=length_penalty, batch_size=None,
    )  # fmt: skip
    search.way, search.rng = way, rng
    return search.run()


class _Drawing(Search):
    way: Way
    rng: np.random.Generator

    def choose(self, logits: Any) -> tuple[Index, NDArray[np.int64], Scores]:
        count, width, classes = logits.shape
        rows = logits.reshape(-1, classes)
        symbols = drawn(rows, self.way, self.rng)
        found = rows[np.arange(len(rows)), symbols].astype(np.float64) - log_sums(rows)
        parents = np.broadcast_to(np.arange(width), (count, width))
        return parents, symbols.reshape(count, width), self.scores + found.reshape(count, width)
