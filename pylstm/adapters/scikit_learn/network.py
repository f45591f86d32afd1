"""The model that an estimator's parameters mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import numpy as np

from ... import _checks
from ...layers.compiled import GRU, LSTM, RNN
from ...layers.dropout import Dropout
from ...layers.embedding import Embedding
from ...layers.layer import Layer
from ...layers.linear import Linear
from ...layers.pooling import BothEnds, LastStep, MaxOverTime, MeanOverTime
from ...models.sequential import Sequential
from ...training.optimizer import Optimizer
from ...training.optimizers import as_optimizer

_CELLS: dict[str, Callable[..., Layer]] = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
_POOLINGS: dict[str, Callable[[], Layer]] = {"last": LastStep, "mean": MeanOverTime, "max": MaxOverTime}
_RATE = 1e-2  # of optimizers by name


def embedding_of(estimator: Any) -> tuple[int | None, int] | None:
    """(number, size) of the parameter `embedding`; a number of None is to be found in the data."""
    value = estimator.embedding
    if value is None:
        return None
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"embedding must be a size, or (number, size), got {value!r}")
        return _checks.size("embedding[0]", value[0]), _checks.size("embedding[1]", value[1])
    return None, _checks.size("embedding", value)


def structure(estimator: Any) -> tuple[Any, ...]:
    """What the layers depend on, checked."""
    return (
        _checks.choice("cell", estimator.cell, tuple(_CELLS)),
        _checks.size("hidden_size", estimator.hidden_size),
        _checks.integer("num_layers", estimator.num_layers, 1, _checks.MOST_LAYERS),
        _checks.flag("bidirectional", estimator.bidirectional),
        _checks.choice("pooling", estimator.pooling, tuple(_POOLINGS)),
        _checks.probability("dropout", estimator.dropout),
        embedding_of(estimator),
        estimator.dtype if estimator.dtype is None else _checks.real_dtype("dtype", estimator.dtype),
    )


def network(estimator: Any, symbols: int | None, features: int, outputs: int, dtype: Any, seed: int) -> Sequential:
    """A new model. symbols: how many an embedding has; None: steps are vectors of so many features."""
    return Sequential(_layers(estimator, symbols, features, outputs, dtype), seed=seed)


def _layers(estimator: Any, symbols: int | None, features: int, outputs: int, dtype: Any) -> Iterator[Layer]:
    cell, size, count, both, pooling, dropout, embedding, _ = structure(estimator)
    if embedding is not None and symbols is not None:
        features = embedding[1]
        yield Embedding(symbols, features, dtype=dtype)
    between = dropout if count > 1 else 0.0
    yield _CELLS[cell](features, size, count, batch_first=True, dropout=between, bidirectional=both, dtype=dtype)
    yield BothEnds() if both and pooling == "last" else _POOLINGS[pooling]()
    if dropout:
        yield Dropout(dropout)
    yield Linear(2 * size if both else size, outputs, dtype=dtype)


def rate_of(estimator: Any) -> float | None:
    """The parameter `learning_rate`, checked."""
    return None if estimator.learning_rate is None else _checks.non_negative("learning_rate", estimator.learning_rate)


def optimizer_of(estimator: Any) -> Optimizer:
    """A new optimizer: one by its name, or a copy of the one that was given, whose state is its owner's."""
    rate = rate_of(estimator)
    found = as_optimizer(estimator.optimizer)
    if isinstance(estimator.optimizer, Optimizer):
        found = deepcopy(found)
    elif rate is None:
        rate = _RATE
    if rate is not None:
        found.lr = rate
    return found


def dtype_of(estimator: Any, data: np.dtype[Any]) -> np.dtype[Any]:
    """Of the parameters: as the estimator says, else as X has it; with symbols float32."""
    if estimator.dtype is not None:
        return _checks.real_dtype("dtype", estimator.dtype)
    return np.dtype(np.float64 if data == np.float64 else np.float32)
