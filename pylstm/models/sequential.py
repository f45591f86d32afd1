"""Layers one after another, and what a user does with them: train, evaluate, predict, look at, save."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._active import ACTIVE
from .._arrays import Array, float_array
from ..files import saving
from ..layers.activation import Activation, activate
from ..layers.containers import Columns, Container
from ..layers.dropout import Dropout
from ..layers.layer import VJP, Layer, Outputs, Shape
from ..layers.pooling import LastStep, MaxOverTime, MeanOverTime
from ..layers.registry import built_in
from ..losses.by_name import loss_function
from ..losses.classification import ClassWeight, binary_cross_entropy, cross_entropy
from ..training import loop
from ..training.data import Sequences, Targets
from ..training.metrics import metric_functions
from ..training.optimizer import Optimizer
from ..training.schedules import as_schedule


@built_in
class Sequential(Container):
    """A model: each layer's output is the next one's input.

    Args:
        layers: any of the library's or of yours, `LSTM`, `GRU`, `RNN` with batch_first=True among them.
        seed: draw all their parameters anew from this number; without it they stay as they are.

    Raises TypeError or ValueError for a wrong argument, and ValueError for sizes that do not fit each other.

    Attributes:
        layers: a tuple.
        metadata: a dict of your own, e.g. the vocabulary, in JSON's types; saved with the model.
        dtype: of the parameters, float32 or float64.

    >>> model = Sequential([Embedding(1000, 32), LSTM(32, 64, batch_first=True), LastStep(), Linear(64, 1)], seed=0)
    >>> x, y = [[7, 2], [7, 3, 2], [8, 1], [8]], np.array([1, 1, 0, 0])            # words by number, and labels
    >>> history = model.fit(x, y, loss="binary_cross_entropy", optimizer=Adam(1e-2), epochs=20, verbose=0)
    >>> (model.predict(x) > 0)[:, 0]
    array([ True,  True, False, False])
    """

    def __init__(self, layers: Iterable[Layer], *, seed: int | None = None) -> None:
        self._configure(layers)
        if (number := _checks.seed_value("seed", seed)) is not None:
            self._reseed(np.random.SeedSequence(number))

    def _configure(self, layers: Iterable[Layer]) -> None:
        super()._configure(layers)
        self.metadata: dict[str, Any] = {}
        self._loss: Any = None  # what fit was given: evaluate takes the same
        self._metrics: Sequence[object] | None = None
        self.shapes()  # raises if sizes do not fit

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """Inference on one batch.

        Args:
            x: (N, T) integers for an embedding, else (N, T, F) or (N, F), or one sequence without N.
            lengths: (N,) integers in 0..T, or None.

        Returns:
            The last layer's output.

        Raises TypeError or ValueError, naming the argument.
        """
        y: Array = self._run(self._floats(x), lengths)
        return y

    def vjp(
        self, x: ArrayLike, state: Any = None, *, lengths: ArrayLike | None = None, need_dx: bool = True
    ) -> tuple[Outputs, VJP]:
        return self._run_vjp(self._floats(x), state, lengths, need_dx)

    def _floats(self, x: ArrayLike) -> ArrayLike:
        """What has no dtype of its own gets the model's, where the first layer has none to give it."""
        if isinstance(_first(self), _SHAPELESS) and ACTIVE.get() is None:
            return float_array("x", x, self.dtype)
        return x

    def _without_dropout(self) -> Layer:
        return Sequential([layer._without_dropout() for layer in self.layers])

    # ---- training ------------------------------------------------------------------------------------------------

    def fit(
        self,
        x: Any,
        y: Any,
        *,
        loss: Any,
        optimizer: Optimizer,
        batch_size: int = 32,
        epochs: int = 1,
        lengths: ArrayLike | None = None,
        validation_data: Any = None,
        metrics: Sequence[object] | None = None,
        class_weight: ClassWeight | str = None,
        callbacks: Iterable[object] = (),
        clip_norm: float | None = None,
        clip_value: float | None = None,
        schedule: Any = None,
        truncate: int | None = None,
        shuffle: bool = True,
        seed: int | None = None,
        resume: str | os.PathLike[str] | None = None,
        verbose: int = 1,
    ) -> dict[str, list[float]]:
        """Train the model.

        Args:
            x: an array (N, ...), with `lengths` if it is padded, or a list of sequences of differing length, which are
                batched by length.
            y: one target per sequence (N, ...), or per step: a list like x, or (N, T, ...).
            loss: "binary_cross_entropy", "cross_entropy" (labels), "mse" or a function (output, targets, lengths=) ->
                (value, gradient).
            optimizer: e.g. `Adam(1e-3)`; its state lives in it, so that a second fit goes on.
            batch_size: sequences per update.
            epochs: how often to go through the data.
            lengths: (N,) integers, of a padded x.
            validation_data: (x, y) or (x, y, lengths): examples that are not trained on.
            metrics: a list of "accuracy" (the default for classification) and functions (output, targets, lengths) ->
                value.
            class_weight: {label: weight}, or "balanced" for weights that make up for classes of different size.
            callbacks: `EarlyStopping`, `ModelCheckpoint`, functions (epoch, logs), which end training by returning
                True.
            clip_norm: the most that the gradients' global norm may be.
            clip_value: the most that any number of the gradients may be.
            schedule: a learning-rate schedule.
            truncate: update after every so many steps and carry the states on (truncated back-propagation through
                time): for long or endless sequences, with one target per step.
            shuffle: draw a new order every epoch.
            seed: everything random here, the order and the masks of dropout, follows from it: with the same initial
                weights the same bits, whatever the number of threads. None: not reproducible.
            resume: a file of `ModelCheckpoint`: go on after its epoch, up to `epochs`, as if never interrupted.
            verbose: 1: a bar on a terminal, one line an epoch elsewhere; 2: lines; 0: nothing.

        Returns:
            The history, a dict with one number per epoch under each of the names loss, accuracy, val_loss,
            val_accuracy, lr, seconds. Ctrl-C ends training after the current batch and returns it, too.

        Raises:
            TypeError: an argument of the wrong kind, which is named.
            ValueError: an argument of the wrong shape or value, which is named.
            FloatingPointError: the loss or the gradients are not finite; the weights are as before that batch.
        """
        batch_size, epochs, verbose = loop.batch_arguments(batch_size, epochs, verbose)
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer must be an optimizer, e.g. pylstm.Adam(1e-3), got {_checks.kind(optimizer)}")
        inputs, targets = self._pair(x, y, lengths)
        validation = None if validation_data is None else self._validation(validation_data)
        if resume is not None:
            _checks.path("resume", resume)
        if isinstance(class_weight, str):
            if loss not in ("binary_cross_entropy", "cross_entropy", binary_cross_entropy, cross_entropy):
                raise ValueError("class_weight='balanced' is for the losses binary_cross_entropy and cross_entropy")
            class_weight = _balanced(class_weight, y, inputs.lengths if self.keeps_time else None)
        run = loop.Training(
            self,
            optimizer,
            loss_function(loss, class_weight),
            metric_functions(metrics, loss),
            as_schedule(schedule),
            callbacks,
            remembered=(loss, metrics),
            seed=_checks.seed_value("seed", seed),
            clip_norm=clip_norm,
            clip_value=clip_value,
            truncate=None if truncate is None else _checks.integer("truncate", truncate),
        )
        return run.run(
            inputs, targets, validation,
            batch_size=batch_size, epochs=epochs, shuffle=_checks.flag("shuffle", shuffle), verbose=verbose,
            resume=resume,
        )  # fmt: skip

    def evaluate(
        self,
        x: Any,
        y: Any,
        *,
        lengths: ArrayLike | None = None,
        loss: Any = None,
        metrics: Sequence[object] | None = None,
        batch_size: int = 128,
    ) -> dict[str, float]:
        """The mean loss and the metrics over x and y.

        Args:
            x: as fit takes it.
            y: as fit takes it.
            lengths: as fit takes them.
            loss: by default that of fit.
            metrics: by default those of fit.
            batch_size: sequences that are computed together.

        Returns:
            A dict, name -> number, of the loss and the metrics.

        Raises TypeError or ValueError, naming the argument.
        """
        loss = self._loss if loss is None else loss
        if loss is None:
            raise ValueError("the model has not been trained with fit: say which loss")
        metrics = self._metrics if metrics is None and loss == self._loss else metrics
        inputs, targets = self._pair(x, y, lengths)
        size = _checks.integer("batch_size", batch_size)
        return loop.evaluate(self, inputs, targets, size, loss_function(loss), metric_functions(metrics, loss))

    def predict(
        self,
        x: Any,
        *,
        lengths: ArrayLike | None = None,
        activation: str | None = None,
        batch_size: int = 128,
    ) -> Any:
        """The model's outputs, in the order of x.

        Args:
            x: as fit takes it.
            lengths: as fit takes them.
            activation: None for what the model gives, of a classifier logits; "sigmoid" or "softmax" for probabilities;
                "relu" or "tanh".
            batch_size: sequences that are computed together.

        Returns:
            An array (N, ...); a list of arrays (T_i, ...) for a list and an output per step. An output per step is
            zero past a sequence's length.

        Raises TypeError or ValueError, naming the argument.
        """
        inputs = Sequences(x, lengths, rows=self._takes_rows())
        size = _checks.integer("batch_size", batch_size)
        if activation is not None:
            _checks.choice("activation", activation, _ACTIVATIONS)
        rows = inputs.sorted_batches(size)
        found: list[Array] = [np.empty(0)] * len(inputs)
        per_step = self.keeps_time and inputs.lengths is not None
        for some in rows:
            array, lens = inputs.batch(some)
            y = self(array, lengths=lens)
            y = y if activation is None else activate(activation, y)
            for k, i in enumerate(some.tolist()):
                found[i] = y[k, : lens[k]] if per_step and lens is not None else y[k]
        if per_step and inputs.is_list:
            return found
        if not per_step:
            return np.stack(found) if found else np.zeros((0, *self._known_output()), self.dtype)
        out = np.zeros((len(inputs), inputs.steps or 0, *self._known_output()[1:]), self.dtype)
        for row, value in zip(out, found, strict=True):
            row[: len(value)] = value
        return out

    def _known_output(self) -> tuple[int, ...]:
        return tuple(size or 0 for size in self.shapes()[-1][1:])

    def _pair(self, x: Any, y: Any, lengths: ArrayLike | None = None) -> tuple[Sequences, Targets]:
        inputs = Sequences(x, lengths, rows=self._takes_rows())
        if len(inputs) == 0:
            raise ValueError("x holds no sequences")
        return inputs, Targets(y, inputs, self.keeps_time)

    def _validation(self, data: Any) -> tuple[Sequences, Targets]:
        if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
            raise ValueError(f"validation_data must be (x, y) or (x, y, lengths), got {_checks.kind(data)}")
        try:
            return self._pair(*data)
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation_data: {error}") from error

    def _takes_rows(self) -> bool | None:
        """Whether a list of numbers is a row of features (True) or a sequence of symbols (False); None: either."""
        for layer in self.layers:
            if (shape := layer.input_shape()) is not None:
                return shape[1] is not None if len(shape) == 2 else None
            if not isinstance(_first(layer), _SHAPELESS):
                break  # a layer of the user's, which takes what it takes
        return None

    # ---- looking at it -------------------------------------------------------------------------------------------

    def shapes(self) -> list[Shape]:
        """The shapes of the input and of every layer's output: a list of tuples.

        None stands for any size: batch and time.
        """
        start = next((shape for layer in self.layers if (shape := layer.input_shape()) is not None), (None, None))
        try:
            return self._shapes_from(start)
        except ValueError:
            if len(start) != 2 or start[1] is None:
                raise
            return self._shapes_from((start[0], None, start[1]))  # the first layer takes both: (N, F) and (N, T, F)

    def _shapes_from(self, shape: Shape) -> list[Shape]:
        shapes = [shape]
        try:
            for layer in self.layers:
                shapes.append(layer.output_shape(shapes[-1]))
        except ValueError as error:
            raise ValueError(f"layer {len(shapes) - 1} does not fit: {error}") from None
        return shapes

    def summary(self) -> str:
        """A table of the layers, their output shapes and numbers of parameters, and the total. None: any size."""
        rows = [("Layer", "Output shape", "Parameters"), *_rows(self, self.shapes()[0], "")]
        width = min(60, max(len(row[0]) for row in rows))
        middle = max(len(row[1]) for row in rows)
        last = max(len(row[2]) for row in rows)
        lines = []
        for name, shape_text, number in rows:
            pieces = [name[at : at + width] for at in range(0, len(name), width)]
            lines.append(f"{pieces[0]:{width}}  {shape_text:{middle}}  {number:>{last}}")
            lines += pieces[1:]
        rule = "-" * (width + middle + last + 4)
        size = self.num_parameters * self.dtype.itemsize
        lines = [lines[0], rule, *lines[1:], rule]
        return "\n".join([*lines, f"Total: {self.num_parameters:,} parameters, {size / 2**20:.2f} MiB ({self.dtype})"])

    def saliency(
        self, x: ArrayLike, target: int | None = None, *, lengths: ArrayLike | None = None, signed: bool = False
    ) -> Array:
        """How much each step matters to one output: the norm of that output's gradient to the step's vector.

        For a model that ends in one vector per sequence; for integer input, a step's vector is the first layer's
        output. Dropout is off.

        Args:
            x: (N, T) or (N, T, F), or one sequence.
            target: which output; None: for each sequence its largest.
            lengths: (N,) integers in 0..T, or None.
            signed: gradient times vector, summed: how much the step speaks for (above 0) or against the output, to
                first order (Shrikumar et al. 2016).

        Returns:
            An array (N, T), or (T,) for one sequence, which is zero past a length.

        Raises TypeError or ValueError, naming the argument, and ValueError for a model with an output per step.
        """
        from ..inspect.saliency import saliency

        return saliency(self, x, target, lengths, signed)

    # ---- saving --------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str], *, metadata: Mapping[str, Any] | None = None) -> None:
        """Write structure, parameters and `metadata` to one file. Read it with `pylstm.load`.

        Written beside its place and renamed, so that no half-written file is ever found, whoever else writes it at the
        same time; a file that is there keeps its mode, and a link stays one.

        Args:
            path: ends in .npz, or in .safetensors (an optional extra).
            metadata: a dict of your own, kept as `model.metadata`; None: that of the model as it is. It is loaded equal
                to what was saved: dicts with str keys, lists (a tuple becomes a list), str, bool, None, finite floats,
                integers of up to 1000 digits; less than 200 deep, and with the structure 4 MiB of text at most.

        Raises:
            TypeError: metadata of other kinds, naming its place; layers and subclasses of `Sequential` that are not the
                library's own.
            ValueError: what cannot be loaded again.
            OSError: the file cannot be written.

        After an error nothing has changed.
        """
        _checks.path("path", path)
        before = self.metadata
        if metadata is not None:
            self.metadata = saving.metadata_of(metadata, "metadata")
        try:
            saving.save(self, path)
        except BaseException:
            self.metadata = before
            raise

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        own = state["attributes"]
        if callable(own["_loss"]) or any(map(callable, own["_metrics"] or ())):
            own["_loss"] = own["_metrics"] = None  # functions may be local ones, which do not pickle
        return state


def _rows(container: Container, shape: Shape, indent: str) -> Iterator[tuple[str, str, str]]:
    """Lines of a summary; layers in layers are indented."""
    columns = isinstance(container, Columns)  # its layers stand side by side, and each takes one column
    for layer in container.layers:
        before, after = (shape[:-1] if columns else shape), layer.output_shape(shape[:-1] if columns else shape)
        text = "(" + ", ".join(map(str, after)) + ")"
        if isinstance(layer, Container):
            yield indent + type(layer).__name__, text, ""
            yield from _rows(layer, before, indent + "  ")
        else:
            yield indent + repr(layer), text, f"{layer.num_parameters:,}"
        shape = shape if columns else after


_SHAPELESS = (Activation, Dropout, LastStep, MaxOverTime, MeanOverTime)  # layers that take any width and either dtype


def _first(layer: Layer) -> Layer:
    """The layer that sees the input first."""
    while isinstance(layer, Container) and not isinstance(layer, Columns):
        layer = layer.layers[0]
    return layer


_ACTIVATIONS = ("relu", "tanh", "sigmoid", "softmax")


def _balanced(word: str, y: Any, lengths: Any) -> dict[int, float]:
    """Weights N / (classes · count), as scikit-learn's "balanced"."""
    _checks.choice("class_weight", word, ("balanced",))
    if lengths is not None and not isinstance(y, (list, tuple)):
        y = [row[:length] for row, length in zip(y, lengths, strict=True)]
    try:
        labels = np.concatenate([np.ravel(row) for row in y]) if lengths is not None else np.ravel(y)
        whole = bool((labels == np.floor(labels)).all())
    except (TypeError, ValueError) as error:
        raise ValueError(f"class_weight='balanced' needs labels in y: {error}") from error
    counted = labels[labels >= 0]
    if not whole or not len(counted):
        raise ValueError("class_weight='balanced' needs labels in y, integers from 0")
    names, counts = np.unique(counted, return_counts=True)
    return {int(name): len(labels) / (len(names) * int(count)) for name, count in zip(names, counts, strict=True)}
