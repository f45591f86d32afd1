"""What a user does with a whole model: train, evaluate, predict; `savable` has what goes into files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, ClassVar

from .. import _checks
from ..data.series import Windows
from ..layers.drawing import redraw
from ..losses.by_name import loss_function
from ..losses.classification import ClassWeight
from ..training import loop
from ..training.batches import gives_batches, planned
from ..training.carrying import check_stateful
from ..training.checks import check_weights_used
from ..training.data import Inputs
from ..training.evaluation import evaluate
from ..training.metrics import metric_functions
from ..training.optimizer import Optimizer
from ..training.optimizers import as_optimizer
from ..training.schedules import as_schedule
from ..training.splitting import Data
from ..training.under_way import refuse_again
from ..training.updates import Reduce
from .arguments import class_weights, pair, pairs
from .classes import Classes
from .in_batches import in_batches
from .predicting import predicted
from .predictions import ACTIVATIONS, activated
from .savable import Savable
from .tuning import Tunable
from .unknown_loss import which_loss


class Trainable(Tunable, Savable):
    """A layer that is a whole model: `Sequential` and `Model`."""

    _several: ClassVar[bool] = True  # whether a tuple or dict of inputs (of targets) is several of them
    _own_steps: ClassVar[bool] = (
        False  # whether targets are sequences of lengths of their own, whatever the input's are
    )
    _target_name: ClassVar[str] = "y"  # of fit's argument
    _is_chain: ClassVar[bool] = False  # whether training can cut sequences and carry the states on
    _loss: Any = None  # what fit was given: evaluate takes the same
    _metrics: Sequence[object] | None = None
    _own_loss: str | None = None  # where _loss is None: what a function was called that a file or pickle did not hold

    def redraw(self, seed: int | None = None) -> None:
        """Draw all parameters anew, those that were trained or loaded, too, and the seeds of dropout.

        A `Sequential` is then as `Sequential(layers, seed=seed)` makes it of new layers. Train it with a new optimizer:
        the state of the old one belongs to the old parameters.

        Args:
            seed: the same number, the same bits; None: other ones each time.

        Raises TypeError for a layer of your own with parameters that it cannot draw; nothing has changed then.
        """
        redraw(self, _checks.seed_value("seed", seed))

    # ---- training ------------------------------------------------------------------------------------------------

    def fit(
        self,
        x: Any,
        y: Any = None,
        *,
        loss: Any,
        optimizer: Optimizer | str = "adam",
        batch_size: int = 32,
        epochs: int = 1,
        lengths: Any = None,
        target_lengths: Any = None,
        sample_weight: Any = None,
        missing: str | None = None,
        validation_data: Any = None,
        validation_split: float | None = None,
        metrics: Sequence[object] | None = None,
        class_weight: ClassWeight | str = None,
        callbacks: Iterable[object] = (),
        clip_norm: float | None = None,
        clip_value: float | None = None,
        schedule: Any = None,
        truncate: int | None = None,
        stateful: bool = False,
        shuffle: bool = True,
        seed: int | None = None,
        resume: str | os.PathLike[str] | None = None,
        reduce: Reduce | None = None,
        micro_batch_size: int | None = None,
        check_finite: bool = True,
        steps_per_epoch: int | None = None,
        verbose: int = 1,
    ) -> dict[str, list[float]]:
        """Train the model.

        All that can be known to fail is looked at first, in all of the data: nothing has been trained then.

        Args:
            x: an array (N, ...), with `lengths` if it is padded, or a list of sequences of differing length, which are
                batched by length. Of a `Model` also a tuple of several inputs, or a dict of them by the names that its
                `run` has for them. Or what gives batches, (x, y) and what else `validation_data` has, or dicts of
                these, each as fit takes all data, without y beside it: a function that returns an iterator over them
                (with `epoch`, from 0, if it has a parameter of that name), called in each epoch; an object to be gone
                through in each; an iterator, for one epoch. They are trained on as they come, one update for each.
            y: one target per sequence (N, ...), or per step: a list like x, or (N, T, ...). Of a `Model`
                that does not say `keeps_time` also a list of sequences of lengths of their own; of a model of several
                outputs a tuple or dict of targets. For cross_entropy labels: integers, floats that are whole, with a
                last axis of 1, or one-hot; other losses also take several axes where the outputs hold them in one:
                (N, H, F) for (N, H * F). For ctc a list of sequences of labels of any lengths, or an array (N, S), with
                target_lengths if it is padded. Metrics are given what the loss is given.
            loss: "binary_cross_entropy", "cross_entropy" (labels), "ctc" (labels without places, `ctc_loss`), "mse",
                "mae", "huber", "quantile" (the median), an object (`CrossEntropy`, `CTC`, `Huber`, `QuantileLoss`, or
                of many labels `SampledSoftmax`) or a function
                (output, targets, lengths=) -> value, computed from the output with operations as in `Model.run`, whose
                gradient is recorded; or -> (value, gradient). The mean is over sequences, or over a weight that stands
                last: (value, weight), (value, gradient, weight). lengths are the outputs' per step, or those of targets
                that have their own. A function with such parameters also gets `target_lengths` (y may be a list of any
                lengths then), `input_lengths`, `inputs`, `mask` (N, T): which steps count, None for all; and
                `sample_weight`, where there are weights.
            optimizer: e.g. `Adam(3e-3)`; its state lives in it, so that a second fit goes on. By name ("sgd", "adam",
                "adamw", "rmsprop", "adagrad") a new one with its defaults.
            batch_size: sequences per update. Where x gives batches, they count.
            epochs: how often to go through the data.
            lengths: (N,) integers, of a padded x. Of several inputs a tuple or dict as x, with None for an input
                without; the model gets those of the batch, in that form where more than one input has lengths.
            target_lengths: (N,) integers, of a padded y with lengths of its own.
            sample_weight: numbers from 0, per sequence (N,), per step (N, T) or as a list like y: the loss is the
                weighted mean, sum(w loss) / sum(w), and so are metrics by name. A function of yours gets those of the
                batch if it has a parameter `sample_weight`, and is refused without.
            missing: "nan": a NaN in y is no target; it counts neither in the loss nor in metrics by name.
            validation_data: (x, y), (x, y, lengths), (x, y, lengths, target_lengths) or these and sample_weight:
                examples that are not trained on. Or what gives batches of these, as x.
            validation_split: the share of the sequences that is put aside for validation: the last ones as they are
                given, before shuffling (of data in an order, such as of classes, they are no fair sample).
            metrics: a list of names and functions, each over the whole set. Of classification "accuracy" (the default),
                "precision", "recall", "f1" (of class 1; of more than two classes their mean, as "f1_macro"; also
                "_micro", "_weighted"), "auc" (of the ROC curve); of cross_entropy "top_5" (any number), "perplexity"
                (exp of the mean negative log-likelihood, without class_weight and smoothing); of ctc
                "label_error_rate" (of best paths); of numbers "mae", "mse", "rmse", "huber", "quantile". Functions are
                (output, targets, lengths) -> value, averaged by the number of sequences. They, "auc", "top_5" and
                errors get the outputs, which are not computed as a whole otherwise where a `Linear` is the last layer
                and the loss is cross_entropy: with many labels, these take memory for all of them.
            class_weight: {label: weight}, or "balanced" for weights that make up for classes of different size.
            callbacks: `EarlyStopping`, `ModelCheckpoint`, `EMA` or `SWA`, functions (epoch, logs), which end training
                by returning True, and objects of your own classes of `Callback`.
            clip_norm: the most that the gradients' global norm may be.
            clip_value: the most that any number of the gradients may be.
            schedule: a learning-rate schedule, or a function of (epoch), (step) or (epoch, batch, batches), all from
                0, that gives what the optimizer's rate is multiplied by.
            truncate: update after every so many steps and carry the states on (truncated back-propagation through
                time): for long or endless sequences, with one target per step. Of a `Sequential` only.
            stateful: each sequence goes on where the one in its place in the batch before has ended: the states are
                handed on from batch to batch, in training and in validation, and are zero when either begins; of an
                iterator of which steps_per_epoch batches are an epoch, when training begins. The order is kept, and all
                batches are of one size. `pylstm.text_batches` cuts a long text so; of `pylstm.windows` only such that
                follow one another, batch_size strides to a window, are taken. With `truncate`, too; of a `Sequential`
                only.
            shuffle: draw a new order every epoch. Where x gives batches, they keep theirs; with `stateful`, too.
            seed: everything random here, the order and the masks of dropout, follows from it: with the same initial
                weights the same bits, whatever the number of threads. None: not reproducible.
            resume: a file of `ModelCheckpoint`: go on after its epoch, up to `epochs`, as if never interrupted; a path
                with {epoch} or figures means the newest of its files. "auto": the newest of those that a
                `ModelCheckpoint` in `callbacks` writes; without one, training begins. Files that are damaged, or none
                of this training's, are left out, with a warning. A training that a callback has ended adds nothing.
                The file's learning rate, seed and states count; of callbacks, and of the options of optimizer and
                schedule, those that are given here. Where they differ, a warning says which counts.
            reduce: for training in several processes, each with a part of every batch: a function (grads, weight) ->
                (grads, weight) that returns the sums over all of them, called once per batch. grads: name -> gradient
                of the batch's *summed* loss, arrays or `RowGradient` (which add with +); weight: what the mean is
                over. The update takes the quotient, before clipping: k processes go the way of one with all the data,
                up to rounding. The history's figures are those of the own part.
            micro_batch_size: compute a batch in pieces of so many sequences, whose gradients add up to that of the
                batch: memory is that of a piece. Lengths, masks and weights count as in one batch, so that the gradient
                is the same up to rounding (some units in the last place of its largest parts). Masks of dropout and the
                classes of a `SampledSoftmax` are drawn for each piece, a loss function of your own and metrics are
                called with each, and so are validation data computed. Not with `truncate`.
            check_finite: look for NaN and infinity in x and y, within the lengths, and in the weights before training,
                which takes a pass over them, and refuse them by their place. Not done with `reduce`: the other
                processes would wait. Of batches the first one is looked at before training, and each when it comes.
            steps_per_epoch: where x gives batches, how many of them are an epoch. An iterator goes on in the next epoch
                where it was.
            verbose: 1: a bar on a terminal, one line an epoch elsewhere; 2: lines; 0: nothing.

        Returns:
            The history, a dict with one number per epoch under each of the names loss, accuracy, val_loss,
            val_accuracy, lr, seconds. Ctrl-C ends training after the current batch and returns it, too.

        Raises:
            TypeError: an argument of the wrong kind, which is named.
            ValueError: an argument of the wrong shape or value, which is named; so are NaN and infinity (check_finite).
            IndexError: symbols in x that an embedding does not have.
            OSError: a checkpoint's folder is not there, or cannot be written to.
            FloatingPointError: the loss or the gradients are not finite; the weights are as before that batch.
            RuntimeError: a callback of this model's own fit called it.
        """
        refuse_again(self)
        batch_size, epochs, verbose = loop.batch_arguments(batch_size, epochs, verbose)
        optimizer = as_optimizer(optimizer)
        data = Data(x, y, lengths, target_lengths, sample_weight)
        (inputs, targets), validation = pairs(self, data, loss, missing, validation_data, validation_split)
        planned(inputs, validation, epochs, steps_per_epoch, class_weight)
        class_weight = class_weights(class_weight, loss, targets, self.keeps_time)
        run = loop.Training(
            self,
            optimizer,
            loss_function(loss, class_weight),
            metric_functions(metrics, loss, class_weight),
            as_schedule(schedule),
            callbacks,
            remembered=(loss, metrics),
            seed=_checks.seed_value("seed", seed),
            clip_norm=clip_norm,
            clip_value=clip_value,
            truncate=None if truncate is None else _checks.integer("truncate", truncate),
            stateful=_checks.flag("stateful", stateful),
            reduce=reduce,
            micro=None if micro_batch_size is None else _checks.integer("micro_batch_size", micro_batch_size),
        )
        return run.run(
            inputs, targets, validation,
            batch_size=batch_size, epochs=epochs, shuffle=_checks.flag("shuffle", shuffle), verbose=verbose,
            resume=resume, check_finite=_checks.flag("check_finite", check_finite) and reduce is None,
        )  # fmt: skip

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        *,
        lengths: Any = None,
        target_lengths: Any = None,
        sample_weight: Any = None,
        missing: str | None = None,
        loss: Any = None,
        metrics: Sequence[object] | None = None,
        batch_size: int = 128,
        stateful: bool = False,
    ) -> dict[str, float]:
        """The mean loss and the metrics over x and y.

        Args:
            x: as fit takes it, batches among it.
            y: as fit takes it.
            lengths: as fit takes them.
            target_lengths: as fit takes them.
            sample_weight: as fit takes it.
            missing: as fit takes it, to be said again.
            loss: by default that of fit, if it is known: a file holds no function of yours, and the error says so.
            metrics: by default those of fit.
            batch_size: sequences that are computed together.
            stateful: the states are handed on from batch to batch, as fit does it; of one size, in the given order.

        Returns:
            A dict, name -> number, of the loss and the metrics.

        Raises TypeError or ValueError, naming the argument.
        """
        loss = self._loss if loss is None else loss
        if loss is None:
            raise ValueError(which_loss(self._own_loss))
        metrics = self._metrics if metrics is None and loss == self._loss else metrics
        function = loss_function(loss)
        inputs, targets = pair(self, Data(x, y, lengths, target_lengths, sample_weight), function, missing)
        size = _checks.integer("batch_size", batch_size)
        figures = metric_functions(metrics, loss)
        check_weights_used(targets, function, figures)
        if _checks.flag("stateful", stateful):
            check_stateful(self, inputs, size)
        return evaluate(self, inputs, targets, size, function, figures, looked=False, stateful=stateful)

    def predict(
        self,
        x: Any,
        *,
        lengths: Any = None,
        activation: str | None = None,
        batch_size: int | None = None,
    ) -> Any:
        """The model's outputs, in the order of x.

        Args:
            x: as fit takes it: several sequences. One alone, (T, F), is refused: give x[None], or call the model. What
                gives batches may give x alone, or, in tuples, what fit takes.
            lengths: as fit takes them.
            activation: None for what the model gives, of a classifier logits; "sigmoid" or "softmax" for probabilities;
                "relu" or "tanh".
            batch_size: sequences that are computed together, which shows in time and memory, and not in the bits.
                None: so many that the inputs and outputs of all layers take 256 MiB at most (or one sequence, that
                takes more), as far as the layers say how wide they are, and no more than are of use.

        Returns:
            An array (N, ...); a list of arrays (T_i, ...) for a list and an output per step. An output per step is
            zero past a sequence's length. Of a model of several outputs, those in the form that it gives them in.

        Raises ValueError for sequences of differing length and a `Model` that does not say `keeps_time`.
        Raises TypeError or ValueError for a wrong argument, naming it.
        """
        if gives_batches(x):
            return in_batches(x, lengths, lambda some, lens: self.predict(
                some, lengths=lens, activation=activation, batch_size=batch_size))  # fmt: skip
        inputs = self._inputs(x, lengths)
        size = None if batch_size is None else _checks.integer("batch_size", batch_size)
        if activation is not None:
            _checks.choice("activation", activation, ACTIVATIONS)
        return predicted(self, inputs, size, partial(activated, activation))

    def predict_classes(
        self,
        x: Any,
        *,
        lengths: Any = None,
        threshold: float | None = None,
        batch_size: int | None = None,
    ) -> Any:
        """The classes that the model's outputs stand for, in the order of x.

        Of cross_entropy the number of the largest output (the first of several); of binary_cross_entropy 1 where the
        probability is above `threshold`, else 0. With a loss of your own, or none that is known, the outputs tell: one
        alone is decided by `threshold`, and of several the largest is taken, or with `threshold` each is decided.

        Args:
            x: as `predict` takes it.
            lengths: as fit takes them.
            threshold: a probability; None is 0.5.
            batch_size: as `predict` takes it.

        Returns:
            Integers (N,), per step (N, T), zero past a sequence's length, or for a list a list of arrays (T_i,). Where
            several outputs are decided each alone: (N, K), (N, T, K) or (T_i, K) of 0 and 1.

        Raises ValueError for a model that was trained with a loss that is not of classes, as mse; FloatingPointError
        where outputs are NaN; and as `predict` does.
        """
        if gives_batches(x):
            return in_batches(x, lengths, lambda some, lens: self.predict_classes(
                some, lengths=lens, threshold=threshold, batch_size=batch_size))  # fmt: skip
        inputs = self._inputs(x, lengths)
        size = None if batch_size is None else _checks.integer("batch_size", batch_size)
        classes = Classes(self._loss, threshold, self._gives_probabilities())
        return predicted(self, inputs, size, classes, counted=True)

    # ---- arguments -----------------------------------------------------------------------------------------------

    def _data(self, data: Data) -> Data:
        """What fit and evaluate are given, as `_inputs` and the loss take it."""
        return data

    def _as_inputs(self, x: Any) -> Any:
        """x, where a class takes several inputs in another form, too."""
        return x

    def _inputs(self, x: Any, lengths: Any) -> Inputs:
        x = self._as_inputs(x.x if isinstance(x, Windows) else x)
        inputs = Inputs(x, lengths, several=self._several, rows=self._takes_rows())
        if len(inputs):
            self._output_form(inputs)
        return inputs
