"""Sampled softmax: cross-entropy over the label and a few classes drawn at random, for the training of large
vocabularies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _checks, _core
from .._arrays import Array
from ..layers.linear import LinearOutputs
from ..layers.row_gradient import sum_rows
from .candidates import Candidates, checked_probabilities, log_uniform
from .classification import IGNORED, ClassWeight, ce_loss, check_labels, counted_labels, label_array, weight_array
from .linear_head import ce_of_linear
from .loss import Loss, counted, inverse, one_output, spread
from .loss_function import LossFunction
from .targets import Form, as_labels, check_labels_of
from .weighted import apart


class SampledSoftmax:
    """Cross-entropy in training over each row's label and `num_samples` classes drawn at random: a loss for `fit`.

    For models with many classes whose last layer is a `Linear`: `fit(loss=SampledSoftmax(512))`. One set of distinct
    classes is drawn for each batch. For a row h of the layer's input with label t, samples s and Q(k), how often class
    k was to be expected among the samples::

        z(k) = h weight[k] + bias[k] - log Q(k)
        loss = -log(exp z(t) / (exp z(t) + sum of exp z(s) over the samples s other than t))

    as `tf.nn.sampled_softmax_loss` with remove_accidental_hits (Jean, Cho, Memisevic & Bengio 2015, section 3; Bengio &
    Senécal 2008). Classes are drawn until there are num_samples different ones; if that took n draws, each from
    probabilities p, then Q(k) = 1 - (1 - p(k))^n, as TensorFlow's `log_uniform_candidate_sampler` with unique=True. The
    gradients to weight and bias are a `RowGradient`: of the samples and the labels in the batch.

    The value is not that of cross_entropy: to be compared only with itself. `evaluate`, validation and all metrics take
    the softmax over all classes, and `fit` measures metrics on its validation data only. -100 is a target that does not
    count, `lengths` and `class_weight` count as with cross_entropy. What is drawn follows from fit's `seed`.

    A class that is seldom drawn keeps its first logit for long. With tens of thousands of them, begin the last layer's
    bias at the logarithm of the frequencies; without, the softmax over all classes takes many steps to become good.

    SGD without momentum and Adagrad touch only the rows drawn, and so does `Adam(lazy=True)`; `Adam()` moves all rows
    in each step, of which a part of the speed is lost; see `Optimizer`.

    Args:
        num_samples: how many classes to draw for each batch, at most as many as there are.
        distribution: what they are drawn from. "log_uniform": class k with probability log((k + 2) / (k + 1)) /
            log(C + 1), for vocabularies sorted by falling frequency; "unigram": the frequencies in fit's targets, which
            are counted before training, with 1 for a class that is not there; or an array (C,) of probabilities or
            counts above 0, whose sum may be anything.

    Raises TypeError or ValueError, naming the argument.

    >>> model = Sequential([Embedding(50, 8), LSTM(8, 16, batch_first=True), Linear(16, 50)], seed=0)
    >>> x = (np.arange(12)[None] + np.arange(40)[:, None]) % 50              # each step's target is the next number
    >>> history = model.fit(x, (x + 1) % 50, loss=SampledSoftmax(10), optimizer=Adam(2e-2), epochs=40, batch_size=10,
    ...                     seed=0, verbose=0)
    >>> model.evaluate(x, (x + 1) % 50)["accuracy"] > 0.9
    True
    """

    _evaluated_as = "cross_entropy"

    def __init__(self, num_samples: int, distribution: str | ArrayLike = "log_uniform") -> None:
        self._num_samples = _checks.size("num_samples", num_samples)
        self._distribution: str | NDArray[np.float64]
        if isinstance(distribution, str):
            self._distribution = _checks.choice("distribution", distribution, ("log_uniform", "unigram"))
        else:
            self._distribution = checked_probabilities("distribution", distribution)
            _check_number(self._num_samples, len(self._distribution))
            self._distribution.flags.writeable = False

    @property
    def num_samples(self) -> int:
        """How many classes are drawn for each batch."""
        return self._num_samples

    @property
    def distribution(self) -> str | NDArray[np.float64]:
        """What was given; of an array a copy, scaled so that its largest number is 1."""
        found = self._distribution
        return found if isinstance(found, str) else found.copy()

    def __repr__(self) -> str:
        own = self._distribution
        return f"SampledSoftmax({self._num_samples}, {repr(own) if isinstance(own, str) else f'array of {len(own)}'})"


class Sampling(LossFunction):
    """`SampledSoftmax` in one run of fit or evaluate, as a `LossFunction`: where gradients are needed the sampled one,
    else the full one."""

    name, takes_linear, label_ignored = "SampledSoftmax", True, IGNORED

    def __init__(self, loss: SampledSoftmax, class_weight: ClassWeight = None) -> None:
        self._number, self._distribution = loss._num_samples, loss._distribution
        self._class_weight = class_weight
        self.counts_labels = isinstance(loss._distribution, str) and loss._distribution == "unigram"
        self._counted: list[tuple[Array, Array]] = []  # labels and how many of each
        self._candidates: Candidates | None = None
        self._rng: np.random.Generator | None = None

    def fitted(self, shape: tuple[int, ...], targets: Any, lengths: Any) -> Any:
        return as_labels(targets, shape, lengths)

    def check_outputs(self, outputs: Any) -> None:
        one_output(self.name, outputs)

    def check_targets(self, form: Form, part: Any) -> None:
        check_labels_of(part, form, IGNORED, self._class_weight)

    def count(self, targets: Any, lengths: Any) -> None:
        """Hear of some of the targets that there will be."""
        labels = label_array(targets, np.shape(targets))
        inside = (counted(labels.shape, lengths, np.dtype(np.float32)) != 0) & (labels != IGNORED)
        self._counted.append(np.unique(labels[inside], return_counts=True))

    def begin_epoch(self, seed: np.random.SeedSequence) -> None:
        """From here on what is drawn follows from this seed."""
        self._rng = np.random.default_rng(seed)

    def __call__(
        self,
        y: Any,
        targets: Any,
        lengths: Any = None,
        *,
        need_gradient: bool = True,
        need_largest: bool = False,
        more: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> Loss:
        targets, given = apart(targets)
        options: dict[str, Any] = {"class_weight": self._class_weight, "need_gradient": need_gradient}
        if given is not None:
            options["sample_weight"] = given
        if type(y) is LinearOutputs:
            if not need_gradient:
                return ce_of_linear(y, targets, lengths, need_largest=need_largest, **options)
            return self._sampled(y, targets, lengths, given)
        one_output(self.name, y)
        if need_gradient:
            raise ValueError(
                "SampledSoftmax draws rows of the weight of a Linear, which has to be the model's last layer and "
                "compute what a Linear computes; this model ends otherwise"
            )
        return ce_loss(y, targets, lengths, **options)

    def _sampled(self, outputs: LinearOutputs, targets: Any, lengths: Any, sample_weight: Any) -> Loss:
        x, classes = outputs.x, len(outputs.weight)
        if x.ndim < 2:
            raise ValueError(f"the last layer's input must have shape (N, H) or (N, T, H), got {x.shape}")
        labels, counts = counted_labels(targets, x, classes, lengths, IGNORED, "column of logits")
        if self._candidates is None:
            self._candidates = self._made(classes)
        if self._rng is None:
            self._rng = np.random.default_rng()
        candidates = self._candidates
        sampled, tries = candidates.draw(self._rng)
        weights = None if self._class_weight is None else weight_array(self._class_weight, classes, x.dtype)
        chosen = labels[counts].astype(np.int64, copy=False)
        of_label = None if weights is None else weights[chosen]
        if sample_weight is not None:
            of_row = np.broadcast_to(spread(sample_weight, labels.shape), labels.shape)[counts]
            of_label = of_row if of_label is None else of_label * of_row
        return sampled_loss(
            outputs, counts, chosen, of_label, sampled,
            candidates.log_expected(sampled, tries), candidates.log_expected(chosen, tries),
        )  # fmt: skip

    def _made(self, classes: int) -> Candidates:
        _check_number(self._number, classes)
        p = self._distribution
        if isinstance(p, str):
            p = self._frequencies(classes) if self.counts_labels else log_uniform(classes)
        if len(p) != classes:
            raise ValueError(
                f"distribution holds numbers for {len(p)} classes, and the model's last layer has {classes}"
            )
        return Candidates(p, self._number)

    def _frequencies(self, classes: int) -> NDArray[np.float64]:
        found = np.ones(classes)
        labels = np.concatenate([labels for labels, _ in self._counted] or [np.zeros(0, np.int64)])
        check_labels(labels, classes, "column of logits")
        if len(labels):
            number = np.concatenate([number for _, number in self._counted])
            found = np.maximum(np.bincount(labels.astype(np.int64), weights=number, minlength=classes), 1.0)
        return found


def _check_number(number: int, classes: int) -> None:
    if number > classes:
        raise ValueError(f"num_samples must be at most the number of classes, {classes}, got {number}")


def sampled_loss(
    outputs: LinearOutputs,
    counts: NDArray[np.bool_],
    labels: NDArray[np.int64],
    weights: Array | None,
    sampled: NDArray[np.int64],
    log_sampled: Array,
    log_label: Array,
) -> Loss:
    """The loss and its gradients, from samples.

    counts: which rows of the outputs count (..), R of them. labels (R,), their weights (R,) or None: all 1. sampled:
    (S,), ascending, each once. log_sampled (S,), log_label (R,): log Q of the samples and of the labels.

    The gradient is what `LinearOutputs.backward` gives, with a `RowGradient` for each parameter.
    """
    weight, bias, dtype = outputs.weight, outputs.bias, outputs.x.dtype
    every = bool(counts.all())
    x = np.ascontiguousarray(outputs.x.reshape(-1, weight.shape[1]) if every else outputs.x[counts])
    w_sampled, w_label = weight.take(sampled, axis=0), weight.take(labels, axis=0)
    add, add_label = -log_sampled, -log_label
    if bias is not None:
        add, add_label = add + bias[sampled], add_label + bias[labels]
    z = _core.linear(x, w_sampled, add.astype(dtype), None)  # (R, S)
    z_label = np.einsum("ri,ri->r", x, w_label) + add_label.astype(dtype)
    places = np.minimum(np.searchsorted(sampled, labels), len(sampled) - 1)
    hits = np.flatnonzero(sampled[places] == labels)
    z[hits, places[hits]] = -np.inf
    with np.errstate(over="ignore", invalid="ignore"):  # of what is not finite already; fit says so
        losses, others, sums = _softmax(z, z_label)
    scale = np.ones(len(labels)) if weights is None else weights.astype(np.float64)
    total = float(scale.sum())
    losses = np.where(scale != 0, losses * scale, 0.0)
    scale = (scale * inverse(total)).astype(dtype)
    z *= (scale / sums)[:, None]  # the gradient to z
    d_label = (-(others / sums) * scale)[:, None]
    d_x, d_sampled, d_bias = _core.linear_backward(x, w_sampled, z, outputs.need_dx, bias is not None, None)
    if d_x is not None:
        d_x += d_label * w_label
        if not every:
            whole = np.zeros(outputs.x.shape, dtype)
            whole[counts] = d_x
            d_x = whole
        d_x = d_x.reshape(outputs.x.shape)
    rows = np.concatenate([sampled, labels])
    d_params = {"weight": sum_rows(rows, np.concatenate([d_sampled, d_label * x]), weight.shape)}
    if bias is not None:
        d_params["bias"] = sum_rows(rows, np.concatenate([d_bias, d_label[:, 0]]), bias.shape)
    return Loss(float(losses.sum()), total, (d_x, d_params))


def _softmax(z: Array, z_label: Array) -> tuple[Array, Array, Array]:
    """z becomes its exponential, divided by one of each row; so do the sum without the label, and that with it, that
    are returned behind the losses."""
    largest = np.maximum(z.max(axis=1), z_label)
    z -= largest[:, None]
    z_label = z_label - largest
    np.exp(z, out=z)
    others = z.sum(axis=1)
    sums = others + np.exp(z_label)
    return (np.log(sums) - z_label).astype(np.float64), others, sums
