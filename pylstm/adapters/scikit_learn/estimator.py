"""What classifier and regressor share: fit, partial_fit and the network's outputs."""

from __future__ import annotations

import abc
import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from ... import _checks
from ..._arrays import Array
from ...layers.embedding import Embedding
from ...models.sequential import Sequential
from ...training.callbacks import EarlyStopping
from ...training.optimizer import Optimizer
from .inputs import Given, check_symbols, given, symbols_in
from .network import dtype_of, embedding_of, network, optimizer_of, rate_of, structure
from .threads import in_check

_SEEDS = 2**31 - 1


class SequenceEstimator(BaseEstimator, abc.ABC):  # type: ignore[misc, unused-ignore]
    """Base of both. A subclass says what y is. A fit sets all that ends in an underscore, or, failing, nothing."""

    model_: Sequential
    history_: dict[str, list[float]]
    n_iter_: int
    n_features_in_: int
    _columns: int | None  # of a table, whose columns are the steps; None: X held sequences, of any length
    _from_lists: bool  # whether X was a list
    _optimizer: Optimizer
    _structure: tuple[Any, ...]  # of the network, as parameters
    _random: np.random.RandomState

    # ---- what y is -----------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def _checked_targets(self, y: Any) -> Array:
        """y as an array, or an error in scikit-learn's words."""

    @abc.abstractmethod
    def _learn_targets(self, y: Array, weights: Array | None, classes: Any, going_on: bool) -> int:
        """Sets what has to be known to hand y to the network; returns how many outputs that has."""

    @abc.abstractmethod
    def _targets(self, y: Array) -> Array:
        """What the network learns."""

    @abc.abstractmethod
    def _loss(self) -> str:
        """By name."""

    def _weights(self, y: Array, weights: Array | None, partial: bool) -> Array | None:  # noqa: ARG002
        """Of each sequence."""
        return weights

    def _strata(self, y: Array) -> Array | None:  # noqa: ARG002
        """What is to be as frequent in the validation data as in the others."""
        return None

    # ---- training ------------------------------------------------------------------------------------------------

    @in_check
    def _fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None, *, partial: bool = False) -> None:
        new = object.__new__(type(self))  # which takes what is learned: a fit that fails changes nothing
        new.__dict__ = dict(vars(self))
        new._learn(X, y, sample_weight, classes, partial)
        self.__dict__ = new.__dict__

    def _learn(self, X: Any, y: Any, sample_weight: Any, classes: Any, partial: bool) -> None:
        going_on = _checks.flag("warm_start", self.warm_start) or partial
        going_on = going_on and hasattr(self, "model_")
        layers, options = structure(self), self._options(partial)
        if going_on and layers != self._structure:
            raise ValueError(
                "parameters of the network have changed since it was made: partial_fit and warm_start go on with that "
                "one; clone the estimator to begin anew"
            )
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        embedding = embedding_of(self)
        dtype = self.model_.dtype if going_on else self.dtype
        x = given(self, X, symbols=embedding is not None, reset=not going_on, dtype=dtype)
        y = self._checked_targets(y)
        check_consistent_length(x.data, y)
        weights = None if sample_weight is None else _sample_weight(sample_weight, x)
        weights = self._weights(y, weights, partial)  # raises before anything else
        outputs = self._learn_targets(y, weights, classes, going_on)
        symbols = self._symbols(x, embedding, going_on, partial)
        if not going_on:
            self._random = check_random_state(self.random_state)
            self.model_ = network(
                self, symbols, x.width, outputs, dtype_of(self, x.dtype), self._random.randint(_SEEDS)
            )
            self._structure, self.history_, self.n_iter_ = layers, {}, 0
        if not (going_on and partial):
            self._optimizer = optimizer_of(self)
        elif (rate := rate_of(self)) is not None:
            self._optimizer.lr = rate
        self._train(x, y, weights, options)

    def _train(self, x: Given, y: Array, weights: Array | None, options: dict[str, Any]) -> None:
        seed, targets, stopping = int(self._random.randint(_SEEDS)), self._targets(y), None
        if self.early_stopping:
            rows, kept = train_test_split(
                np.arange(len(x.data)), test_size=self.validation_fraction, stratify=self._strata(y),
                random_state=self._random,
            )  # fmt: skip
            of_kept = (x.part(kept).data, targets[kept], None, None)
            options["validation_data"] = (*of_kept[:2], *(() if weights is None else (None, None, weights[kept])))
            options["callbacks"] = [stopping := EarlyStopping(self.patience)]
            x, targets, weights = x.part(rows), targets[rows], None if weights is None else weights[rows]
        found = self.model_.fit(
            x.data, targets, loss=self._loss(), optimizer=self._optimizer, sample_weight=weights, seed=seed,
            **options,
        )  # fmt: skip
        epochs = len(found.get("loss", ()))
        if epochs < options["epochs"] and not (stopping is not None and stopping.is_over()):
            warnings.warn("Training interrupted by user.", stacklevel=6)
        self.history_ = {name: [*self.history_.get(name, ()), *values] for name, values in found.items()}
        self.n_iter_ += epochs

    def _options(self, partial: bool) -> dict[str, Any]:
        """Of the training, checked."""
        epochs = _checks.integer("epochs", self.epochs)
        if _checks.flag("early_stopping", self.early_stopping):
            if partial:
                raise ValueError("early_stopping is for fit: partial_fit does not end by itself")
            _checks.integer("patience", self.patience)
            share = _checks.probability("validation_fraction", self.validation_fraction)
            if share in (0.0, 1.0):
                raise ValueError(f"validation_fraction must be between 0 and 1, got {share}")
        optimizer_of(self)
        return {
            "epochs": 1 if partial else epochs,
            "batch_size": _checks.integer("batch_size", self.batch_size),
            "clip_norm": None if self.clip_norm is None else _checks.positive("clip_norm", self.clip_norm),
            "verbose": self.verbose,
        }

    def _symbols(self, x: Given, embedding: Any, going_on: bool, partial: bool) -> int | None:
        """How many symbols there are; None: X holds numbers."""
        if embedding is None:
            return None
        if embedding[0] is None and not going_on:
            if partial:
                raise ValueError("partial_fit cannot know how many symbols there will be: embedding=(number, size)")
            return symbols_in(x)
        num = int(embedding[0] if embedding[0] is not None else self.model_[0].num)
        check_symbols(x, num)
        return num

    # ---- prediction ----------------------------------------------------------------------------------------------

    @in_check
    def _outputs(self, X: Any) -> Array:
        """What the network gives, (N, K)."""
        check_is_fitted(self)
        first = self.model_[0]  # and not the parameter, which may have been set since
        x = given(self, X, symbols=isinstance(first, Embedding), reset=False, dtype=self.model_.dtype)
        if isinstance(first, Embedding):
            check_symbols(x, first.num)
        found: Array = self.model_.predict(x.data)
        return found

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        return tags


def _sample_weight(value: Any, x: Given) -> Array:
    found: Array = _check_sample_weight(value, x.data, dtype=np.float64, ensure_non_negative=True)
    if not found.any():
        raise ValueError("Sample weights must contain at least one non-zero number: all are zero.")
    return found
