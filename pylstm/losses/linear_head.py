"""Linear and cross-entropy in one: the loss of a vocabulary, without its logits in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _checks, _core
from .._arrays import Array, float_array, real_array
from ..layers.linear import LinearOutputs
from .classification import IGNORED, ClassWeight, ce_loss, counted_labels, weight_array
from .loss import Loss, checked_weights, inverse, spread

# Below, outputs are computed as a whole. Measured with 2 threads, loss and gradients, of 1 to 8,000 rows of 64 and 256
# numbers and 2 to 10,000 labels: with 4 labels or fewer the blocks take up to 1.9 times as long, since a tile is hardly
# filled, and with 1 to 32 rows of 1,000 labels or more up to 2.4 times, since packing the weight is most of the work.
# Above, they take 0.47 to 0.97 of the time, in evaluation 0.24 to 0.82.
FEWEST_LABELS, FEWEST_ROWS = 8, 48


def linear_cross_entropy(
    hidden: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    targets: ArrayLike,
    *,
    lengths: ArrayLike | None = None,
    class_weight: ClassWeight = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    sample_weight: Any = None,
    num_threads: int | None = None,
) -> tuple[float, tuple[Array, Array, Array | None]]:
    """The cross-entropy of hidden weightᵀ + bias, and its gradients.

    As `cross_entropy` of the outputs of a `Linear` layer, followed by the layer's backward pass; but the outputs (the
    logits) exist for a block of rows at a time, so that many labels need little memory: some 8 MB, and a copy of
    weight. Rows that do not count cost nothing.

    Args:
        hidden: (N, H) or (N, T, H), float32 or float64.
        weight: (C, H).
        bias: (C,) or None.
        targets: integers (N,) or (N, T) in 0..C-1.
        lengths: (N,) integers: steps beyond do not count, and their gradient is zero. For predictions per step.
        class_weight: a weight per label, {label: weight} (others 1) or (C,); the mean is then the weighted one.
        ignore_index: a target that does not count.
        label_smoothing: in 0..1, the share of the target that all labels have in common, as CrossEntropyLoss of
            PyTorch has it.
        sample_weight: (N,) or (N, T), from 0, times those of labels; not together with label_smoothing.
        num_threads: at most so many, instead of those of `set_num_threads`; the bits do not depend on it.

    Returns:
        The tuple (mean, (d_hidden, d_weight, d_bias)) of the mean over what counts, 0 if nothing does, and its
        gradients, shaped like hidden, weight and bias; d_bias is None where bias is.

    Raises TypeError or ValueError, naming the argument.
    """
    loss = head_loss(
        hidden, weight, bias, targets, lengths, class_weight=class_weight, ignore_index=ignore_index,
        label_smoothing=label_smoothing, num_threads=num_threads, sample_weight=checked_weights(sample_weight),
    )  # fmt: skip
    assert loss.gradient is not None
    return loss.total * inverse(loss.weight), loss.gradient


def ce_of_linear(
    outputs: LinearOutputs,
    targets: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    need_gradient: bool = True,
    need_largest: bool = False,
    **options: Any,
) -> Loss:
    """`ce_loss` of outputs that nobody has computed, with its options; its gradient is what their `backward` would
    give."""
    small = len(outputs.weight) < FEWEST_LABELS or outputs.x.size < FEWEST_ROWS * outputs.x.shape[-1]
    if small or (options.get("sample_weight") is not None and options.get("label_smoothing")):
        y = outputs.compute()
        loss = ce_loss(y, targets, lengths, need_gradient=need_gradient, **options)
        gradient = None if loss.gradient is None else outputs.backward(loss.gradient)
        return loss._replace(gradient=gradient, largest=y.argmax(axis=-1) if need_largest else None)
    loss = head_loss(
        outputs.x, outputs.weight, outputs.bias, targets, lengths, need_gradient=need_gradient, need_dx=outputs.need_dx,
        need_largest=need_largest, each="column of logits", **options,
    )  # fmt: skip
    if loss.gradient is None:
        return loss
    d_hidden, d_weight, d_bias = loss.gradient
    d_params = {"weight": d_weight} if d_bias is None else {"weight": d_weight, "bias": d_bias}
    return loss._replace(gradient=(d_hidden, d_params))


def head_loss(
    hidden: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    targets: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    class_weight: ClassWeight = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    need_gradient: bool = True,
    need_dx: bool = True,
    need_largest: bool = False,
    num_threads: int | None = None,
    each: str = "row of weight",
    sample_weight: Any = None,
) -> Loss:
    """`linear_cross_entropy` as a `Loss`, whose gradient is the tuple (d_hidden, d_weight, d_bias).

    need_dx: whether d_hidden is computed, or None. largest: shaped like targets, -1 where these do not count.
    """
    x = float_array("hidden", hidden)
    if x.ndim < 2:
        raise ValueError(f"hidden must have shape (N, H) or (N, T, H), got {x.shape}")
    matrix = _matrix("weight", weight, x)
    classes = len(matrix)
    offset = None
    if bias is not None:
        offset = np.ascontiguousarray(real_array("bias", bias, x.dtype))
        if offset.shape != (classes,):
            raise ValueError(f"bias must have shape ({classes},), one number per row of weight, got {offset.shape}")
    ignored = _checks.integer("ignore_index", ignore_index, minimum=-(2**63), maximum=2**64 - 1)
    smoothing = _checks.probability("label_smoothing", label_smoothing)
    threads = None if num_threads is None else _checks.threads("num_threads", num_threads)
    labels, counts = counted_labels(targets, x, classes, lengths, ignored, each)
    places = np.flatnonzero(counts)
    chosen = labels.reshape(-1)[places].astype(np.int64, copy=False)
    weights = np.ones(classes, x.dtype) if class_weight is None else weight_array(class_weight, classes, x.dtype)
    of_label = weights[chosen].astype(np.float64)
    if sample_weight is not None:
        if smoothing:
            raise ValueError("sample_weight and label_smoothing together are for cross_entropy")
        of_label *= np.broadcast_to(spread(sample_weight, labels.shape), labels.shape).reshape(-1)[places]
    total_weight = float(of_label.sum())
    share = (weights * (smoothing / classes)).astype(x.dtype, copy=False) if smoothing else None
    rows, scale = np.ascontiguousarray(x.reshape(labels.size, x.shape[-1])), inverse(total_weight)

    def of(some: NDArray[np.bool_], need_gradient: bool) -> Any:
        return _core.linear_cross_entropy(
            rows, matrix, offset, _indices(places[some]), _indices(chosen[some]), of_label[some] * (1.0 - smoothing),
            share, scale, need_gradient, need_dx, need_largest, threads,
        )  # fmt: skip

    kept = of_label != 0 if share is None else np.ones(len(places), np.bool_)
    losses, gradients, found = of(kept, need_gradient)  # what does not count may be anything, NaN included
    largest: Any = None
    if need_largest:
        largest = np.full(labels.size, -1, np.int64)
        largest[places[kept]] = found
        if not kept.all():
            largest[places[~kept]] = of(~kept, False)[2]
        largest = largest.reshape(labels.shape)
    if gradients is not None:
        gradients = (gradients[0].reshape(x.shape) if need_dx else None, *gradients[1:])
    return Loss(float(losses.sum()), total_weight, gradients, largest)


def _matrix(name: str, value: ArrayLike, hidden: Array) -> Array:
    array = real_array(name, value, hidden.dtype)
    if array.ndim != 2 or array.shape[1] != hidden.shape[-1] or len(array) < 1:
        raise ValueError(f"{name} must have shape (C, {hidden.shape[-1]}) for hidden {hidden.shape}, got {array.shape}")
    return np.ascontiguousarray(array)


def _indices(values: Array) -> NDArray[np.int64]:
    return np.ascontiguousarray(values, np.int64)
