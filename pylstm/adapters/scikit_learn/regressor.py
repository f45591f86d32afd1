"""Numbers of sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import _check_y

from ... import _checks
from ..._arrays import Array
from .estimator import SequenceEstimator

_LOSSES = ("mse", "mae", "huber")


class SequenceRegressor(RegressorMixin, SequenceEstimator):  # type: ignore[misc, unused-ignore]
    """A number, or several, for each sequence, by a recurrent network: a scikit-learn regressor.

    Args:
        hidden_size: units of each layer.
        cell: "lstm", "gru" or "rnn".
        num_layers: recurrent layers, one on top of the other.
        bidirectional: read the sequences from their ends, too; twice as many units.
        dropout: the probability that a number is left out in training: between the layers and before the output.
        pooling: what becomes of a sequence's steps: "last", the state at its end (with `bidirectional` at both ends);
            "mean" or "max" over all of them.
        embedding: None: X holds numbers. A size, or (number, size): X holds symbols, integers from 0, and each has a
            vector of that size. Without their number there are as many as X of the first fit has, and more in `predict`
            are an error.
        loss: "mse", "mae" or "huber".
        normalize_y: train on y less its mean, divided by its standard deviation, so that y may be of any size.
        epochs: how often to go through the data.
        batch_size: sequences per update.
        learning_rate: None: 0.01, or that of an optimizer that is given as an object.
        optimizer: "adam", "adamw", "rmsprop", "adagrad", "sgd", or an object as `pylstm.AdamW(1e-3)`, which is copied.
        clip_norm: the most that the gradients' global norm may be; None: anything.
        early_stopping: put `validation_fraction` of the sequences aside, end when their loss
            has not got better for `patience` epochs, and take the weights of the best epoch.
        validation_fraction: see there.
        patience: see there.
        warm_start: go on with the network that an earlier `fit` has trained.
        dtype: "float32" or "float64" for the network; None: as X, float32 or else float64 (which takes twice the time),
            and float32 for symbols.
        random_state: an integer: the same result each time, to the bit, with any number of threads. None or a
            `RandomState` as everywhere in scikit-learn.
        verbose: 1: a bar on a terminal, one line an epoch elsewhere; 2: lines; 0: nothing.

    X is what scikit-learn has, and what it has not: a table (N, T), array or data frame, whose columns are steps of one
    number; an array (N, T, F); a list of arrays (T_i, F), or (T_i,), of differing length, for which no work is done on
    padding. NaN and infinity are errors. Numbers are best around 0 and 1: scale tables in a `Pipeline`.

    Attributes:
        model_: the `pylstm.Sequential`, which may be looked into, saved, or streamed. With `normalize_y` its outputs
            times `y_scale_` plus `y_mean_` are the predictions.
        history_: dict of lists, a number per epoch: loss, val_loss ..
        n_iter_: epochs that were trained.
        n_features_in_: T of a table, else F.
        feature_names_in_: names of the columns of a data frame.

    >>> from pylstm.sklearn import SequenceRegressor
    >>> X = np.random.default_rng(0).standard_normal((200, 6))            # 200 sequences of 6 steps, a number each
    >>> regressor = SequenceRegressor(cell="gru", epochs=80, random_state=0).fit(X, X.sum(axis=1))
    >>> bool(regressor.score(X, X.sum(axis=1)) > 0.95)
    True
    """

    y_mean_: Array
    y_scale_: Array
    _flat: bool  # y was (N,)

    def __init__(
        self,
        hidden_size: int = 32,
        *,
        cell: str = "lstm",
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        pooling: str = "last",
        embedding: Any = None,
        loss: str = "mse",
        normalize_y: bool = True,
        epochs: int = 50,
        batch_size: int = 64,
        learning_rate: float | None = None,
        optimizer: Any = "adam",
        clip_norm: float | None = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        warm_start: bool = False,
        dtype: Any = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.hidden_size = hidden_size
        self.cell = cell
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.pooling = pooling
        self.embedding = embedding
        self.loss = loss
        self.normalize_y = normalize_y
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.clip_norm = clip_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.warm_start = warm_start
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SequenceRegressor:
        """Train on sequences and their numbers.

        Args:
            X: a table (N, T), an array (N, T, F), or a list of arrays (T_i, F) or (T_i,).
            y: (N,), or (N, K) for several numbers each.
            sample_weight: (N,) numbers from 0; one of 0 is as if the sequence were not there.

        Returns the estimator itself.

        Raises ValueError or TypeError for wrong data and parameters; nothing has changed then. FloatingPointError where
        the loss is not finite.
        """
        self._fit(X, y, sample_weight)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> SequenceRegressor:
        """Go on training with these sequences, once through them.

        Args:
            X: as `fit` takes it; a table has the same columns each time.
            y: as `fit` takes it. With `normalize_y`, mean and scale are those of the first call.
            sample_weight: as `fit` takes it.

        Returns the estimator itself. Raises as `fit` does.
        """
        self._fit(X, y, sample_weight, partial=True)
        return self

    def predict(self, X: Any) -> Array:
        """The number of each sequence, (N,), or (N, K) as y was."""
        found: Array = self._outputs(X) * self.y_scale_ + self.y_mean_
        return found[:, 0] if self._flat else found

    # ---- what y is -----------------------------------------------------------------------------------------------

    def _loss(self) -> str:
        return str(self.loss)

    def _checked_targets(self, y: Any) -> Array:
        _checks.choice("loss", self.loss, _LOSSES)
        _checks.flag("normalize_y", self.normalize_y)
        found: Array = np.asarray(_check_y(y, multi_output=True, y_numeric=True, estimator=self), np.float64)
        if found.ndim not in (1, 2) or not found.size:
            raise ValueError(f"y must have shape (N,) or (N, K), got {found.shape}")
        return found

    def _learn_targets(self, y: Array, weights: Array | None, classes: Any, going_on: bool) -> int:  # noqa: ARG002
        columns = y.reshape(len(y), -1)
        if going_on:
            if (y.ndim == 1, columns.shape[1]) != (self._flat, len(self.y_mean_)):
                before = "(N,)" if self._flat else f"(N, {len(self.y_mean_)})"
                raise ValueError(f"y must have the shape {before} that it had before, got {y.shape}")
            return columns.shape[1]
        self._flat = y.ndim == 1
        self.y_mean_, self.y_scale_ = np.zeros(columns.shape[1]), np.ones(columns.shape[1])
        if self.normalize_y:
            self.y_mean_ = np.average(columns, axis=0, weights=weights)
            scale = np.sqrt(np.average((columns - self.y_mean_) ** 2, axis=0, weights=weights))
            self.y_scale_ = np.where(scale > 0, scale, 1.0)
        return columns.shape[1]

    def _targets(self, y: Array) -> Array:
        found: Array = (y.reshape(len(y), -1) - self.y_mean_) / self.y_scale_
        return found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
