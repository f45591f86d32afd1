"""Classes of sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import _check_y

from ..._arrays import Array
from .estimator import SequenceEstimator


class SequenceClassifier(ClassifierMixin, SequenceEstimator):  # type: ignore[misc, unused-ignore]
    """A class for each sequence, by a recurrent network: a scikit-learn classifier.

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
        epochs: how often to go through the data.
        batch_size: sequences per update.
        learning_rate: None: 0.01, or that of an optimizer that is given as an object.
        optimizer: "adam", "adamw", "rmsprop", "adagrad", "sgd", or an object as `pylstm.AdamW(1e-3)`, which is copied.
        clip_norm: the most that the gradients' global norm may be; None: anything.
        early_stopping: put `validation_fraction` of the sequences (of each class) aside, end when their
            loss has not got better for `patience` epochs, and take the weights of the best epoch.
        validation_fraction: see there.
        patience: see there.
        class_weight: {label: weight}, or "balanced" for weights that make up for classes of different size.
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
        classes_: the labels, sorted; the columns of `predict_proba`.
        model_: the `pylstm.Sequential`, which may be looked into, saved, or streamed. Its outputs are logits: of two
            classes one, of the second one.
        history_: dict of lists, a number per epoch: loss, accuracy, val_loss ..
        n_iter_: epochs that were trained.
        n_features_in_: T of a table, else F.
        feature_names_in_: names of the columns of a data frame.

    >>> from pylstm.sklearn import SequenceClassifier
    >>> X = [np.array(word, float) for word in ([0, 1], [0, 1, 2, 3], [3, 2, 1], [1, 0])]    # of differing length
    >>> classifier = SequenceClassifier(random_state=0).fit(X, ["up", "up", "down", "down"])
    >>> classifier.predict([[2, 3, 4], [2, 1, 0]])
    array(['up', 'down'], dtype='<U4')
    """

    classes_: Array

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
        epochs: int = 50,
        batch_size: int = 64,
        learning_rate: float | None = None,
        optimizer: Any = "adam",
        clip_norm: float | None = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        class_weight: Any = None,
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
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.clip_norm = clip_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SequenceClassifier:
        """Train on sequences and their labels.

        Args:
            X: a table (N, T), an array (N, T, F), or a list of arrays (T_i, F) or (T_i,).
            y: (N,), labels of any kind that can be sorted, such as strings.
            sample_weight: (N,) numbers from 0; one of 0 is as if the sequence were not there.

        Returns the estimator itself.

        Raises ValueError or TypeError for wrong data and parameters; nothing has changed then. FloatingPointError where
        the loss is not finite.
        """
        self._fit(X, y, sample_weight)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> SequenceClassifier:
        """Go on training with these sequences, once through them.

        Args:
            X: as `fit` takes it; a table has the same columns each time.
            y: as `fit` takes it.
            classes: all labels that there will be; needed in the first call.
            sample_weight: as `fit` takes it.

        Returns the estimator itself. Raises as `fit` does.
        """
        if classes is None and not hasattr(self, "classes_"):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        self._fit(X, y, sample_weight, classes, partial=True)
        return self

    def decision_function(self, X: Any) -> Array:
        """The network's logits: (N, K), of two classes (N,), above 0 for the second one."""
        outputs = self._outputs(X)
        return outputs[:, 0] if len(self.classes_) == 2 else outputs

    def predict(self, X: Any) -> Array:
        """The most probable class of each sequence, (N,)."""
        scores = self.decision_function(X)
        found: Array = self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]
        return found

    def predict_proba(self, X: Any) -> Array:
        """The probabilities of all classes, (N, K), in the order of `classes_`."""
        found: Array = np.exp(self.predict_log_proba(X))
        return found

    def predict_log_proba(self, X: Any) -> Array:
        """Their logarithms, (N, K), exact for small ones, too."""
        scores = self.decision_function(X)
        if scores.ndim == 1:
            scores = np.stack([np.zeros_like(scores), scores], axis=1)
        scores = scores - scores.max(axis=1, keepdims=True)
        found: Array = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return found

    # ---- what y is -----------------------------------------------------------------------------------------------

    def _loss(self) -> str:
        return "binary_cross_entropy" if len(self.classes_) == 2 else "cross_entropy"

    def _checked_targets(self, y: Any) -> Array:
        y = column_or_1d(y, warn=True)
        y = _check_y(y, y_numeric=False, estimator=self)
        check_classification_targets(y)
        found: Array = np.asarray(y)
        return found

    def _learn_targets(self, y: Array, weights: Array | None, classes: Any, going_on: bool) -> int:  # noqa: ARG002
        if not going_on:
            self.classes_ = unique_labels(y) if classes is None else unique_labels(classes)
        elif classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
            )
        if unknown := sorted(set(y.tolist()) - set(self.classes_.tolist())):
            raise ValueError(f"`y` has classes not in `self.classes_`, {self.classes_.tolist()}: {unknown}")
        if (count := len(self.classes_)) < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes in the data, but the data contains only "
                f"one class: {self.classes_[0]!r}"
            )
        return 1 if count == 2 else count

    def _targets(self, y: Array) -> Array:
        return np.searchsorted(self.classes_, y)

    def _strata(self, y: Array) -> Array | None:
        return y

    def _weights(self, y: Array, weights: Array | None, partial: bool) -> Array | None:
        if self.class_weight is None:
            return weights
        labels = np.unique(y)
        places = np.searchsorted(labels, y)
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            if partial:
                raise ValueError(
                    "class_weight='balanced' is not supported for partial_fit, which does not see all data: compute "
                    "the weights (sklearn.utils.compute_class_weight) and give them as a dict"
                )
            counts = np.bincount(places, weights)
            of_each = np.divide(counts.sum(), len(labels) * counts, out=np.zeros(len(labels)), where=counts > 0)
        else:
            given = self.class_weight
            if isinstance(given, dict):  # of labels that are not in y, too
                given = {label: weight for label, weight in given.items() if label in set(labels.tolist())}
            of_each = compute_class_weight(given, classes=labels, y=y)
        found: Array = of_each[places] if weights is None else weights * of_each[places]
        return found
