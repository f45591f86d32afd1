"""Losses of somebody's own that only say the value: the graph has the gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import _checks
from .._arrays import Array
from ..graph.recording import Run
from ..graph.structure import leaves, mapped
from ..graph.sweep import Sums, sweep
from ..graph.values import Slot, Value


class Found(NamedTuple):
    """value: of the function; weight: what the mean is over, None if it does not say; gradient: in the outputs'
    form."""

    value: float
    weight: Any
    gradient: Any


def is_value_alone(found: Any, outputs: Any) -> bool:
    """Whether a function has returned a number, or a number and its weight, and no gradient.

    outputs: that it was called with."""
    if isinstance(found, (tuple, list)):
        pair = len(found) == 2 and not isinstance(outputs, (tuple, list, dict)) and np.ndim(outputs) > 0
        return pair and _is_number(found[0]) and _is_number(found[1])
    return _is_number(found)


def _is_number(found: Any) -> bool:
    if isinstance(found, (bool, np.bool_, str)):
        return False
    return isinstance(found, (int, float, np.number)) or (
        isinstance(found, np.ndarray) and found.ndim == 0 and found.dtype.kind in "iuf"
    )


def looks_recorded(error: BaseException) -> bool:
    """Whether an array was asked for something that only a value has: `(y - targets).relu()`."""
    name, given = getattr(error, "name", None), getattr(error, "obj", None)
    if not isinstance(error, AttributeError) or not isinstance(given, (np.ndarray, np.generic)):
        return False
    return isinstance(name, str) and not name.startswith("_") and name in vars(Value)


def run_recorded(
    function: Callable[..., Any], outputs: Any, targets: Any, options: Mapping[str, Any], need_gradient: bool
) -> Found:
    """`function(outputs, targets, **options)` with values in place of the outputs' arrays of floats.

    Raises TypeError for what is no number of this run, ValueError where a layer's gradients would be lost.
    """
    run = Run(recording=need_gradient)

    def entered(array: Any) -> Any:
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            return array
        return run.leaf(array) if need_gradient else run.constant(array, "outputs")

    values = mapped(entered, outputs)
    found = run.within(function, values, targets, **options)
    weight = None
    if isinstance(found, (tuple, list)) and len(found) == 2 and isinstance(found[0], Value):
        found, weight = found
        if isinstance(weight, Value):
            weight = weight.numpy()
        if isinstance(weight, np.ndarray) and weight.ndim == 0:
            weight = weight[()]
    if not isinstance(found, Value):
        raise TypeError(
            "the loss function must return (value, gradient), or a number that is computed from the outputs with "
            f"operations of pylstm, whose gradient is then recorded; got {_checks.kind(found)}"
        )
    if found._run is not run or found.shape != ():
        raise TypeError(f"the loss function must return one number, e.g. its mean(), got an array of {found.shape}")
    for layer in run.used.values():
        if layer._param_shapes:
            raise ValueError(f"the loss function calls {layer!r}, whose gradients would be lost: call it in the model")
    value = float(found._data)
    if not need_gradient:
        return Found(value, weight, None)
    if found._slot is None:
        raise ValueError("the loss function's value does not depend on the outputs, so that nothing can be learned")
    assert run.tape is not None
    seed: Array = np.ones((), found.dtype)
    sums = Sums()
    sums.set(found._slot, seed)
    sweep(run.tape, sums, False)
    places = mapped(lambda one: one._slot if isinstance(one, Value) else None, values)
    gradients = sums.given_out([one for one in leaves(places) if isinstance(one, Slot)], [seed])
    return Found(value, weight, mapped(lambda one: None if one is None else gradients[one], places))
