"""Checks of scalar arguments: each returns the plain Python value or raises, naming the argument."""

from __future__ import annotations

import inspect
import math
import numbers
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

MOST_THREADS = 1024
MOST_LAYERS = 2**16
MOST_BYTES = 2**46  # of parameters: more than machines hold
MOST_SIZE = 2**63 - 1  # of an axis of an array


def integer(name: str, value: object, minimum: int = 1, maximum: int | None = None) -> int:
    """`value` as an int in minimum..maximum; bools and floats are refused."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {kind(value)}")
    number = int(value)
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {_shown(number)}")
    if maximum is not None and number > maximum:
        raise ValueError(f"{name} must be at most {maximum}, got {_shown(number)}")
    return number


def size(name: str, value: object, minimum: int = 1) -> int:
    """`value` as the length of an axis of an array."""
    return integer(name, value, minimum, MOST_SIZE)


def _shown(number: int) -> str:
    """As a message shows it: Python refuses to write out a number of many thousand digits."""
    return str(number) if number.bit_length() <= 256 else f"a number of {number.bit_length()} bits"


def threads(name: str, value: object) -> int:
    """A number of threads, at least 1; more than the core can split work over count as that many."""
    return min(integer(name, value), MOST_THREADS)


def flag(name: str, value: object) -> bool:
    """`value` as a bool; numbers and strings are refused, since they are a slip in the argument order."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {kind(value)}")
    return bool(value)


def probability(name: str, value: object) -> float:
    """`value` as a float in [0, 1]."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number in [0, 1], got {kind(value)}")
    number = _float(value)
    if not (math.isfinite(number) and 0.0 <= number <= 1.0):
        raise ValueError(f"{name} must be a number in [0, 1], got {number}")
    return number


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # of an int with more than 308 digits
        return math.inf if value > 0 else -math.inf


def number(name: str, value: object) -> float:
    """`value` as a finite float; bools are refused."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {kind(value)}")
    result = _float(value)
    if not math.isfinite(result):
        raise ValueError(f"{name} must be finite, got {result}")
    return result


def non_negative(name: str, value: object) -> float:
    """`value` as a finite float from 0."""
    result = number(name, value)
    if result < 0:
        raise ValueError(f"{name} must not be negative, got {result}")
    return result


def positive(name: str, value: object) -> float:
    """`value` as a finite float above 0."""
    result = number(name, value)
    if result <= 0:
        raise ValueError(f"{name} must be above 0, got {result}")
    return result


def choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    """`value` as one of `choices`."""
    expected = " or ".join(repr(c) for c in choices)
    if not isinstance(value, str):
        raise TypeError(f"{name} must be {expected}, got {kind(value)}")
    if value not in choices:
        raise ValueError(f"{name} must be {expected}, got {value!r}{did_you_mean(value, choices)}")
    return str(value)


def keywords(function: Callable[..., Any]) -> frozenset[str]:
    """What a function of somebody's can be given by name; nothing is known of one that is built in."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return frozenset()
    return frozenset(one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY))


# What people know some of our names by
_ALSO = {
    "absolute_error": "mae", "bce": "binary_cross_entropy", "ce": "cross_entropy", "crossentropy": "cross_entropy",
    "categorical_crossentropy": "cross_entropy", "l1": "mae", "l2": "mse", "log_loss": "cross_entropy",
    "mean_absolute_error": "mae", "mean_squared_error": "mse", "nll": "cross_entropy", "pinball": "quantile",
    "roc_auc": "auc", "smooth_l1": "huber", "sparse_categorical_crossentropy": "cross_entropy", "acc": "accuracy",
    "top_k_categorical_accuracy": "top_5", "top_k": "top_5", "root_mean_squared_error": "rmse",
    "sparse_categorical_accuracy": "accuracy", "categorical_accuracy": "accuracy", "binary_accuracy": "accuracy",
    "binary_crossentropy": "binary_cross_entropy", "ctc_loss": "ctc", "cer": "label_error_rate",
    "ler": "label_error_rate", "wer": "label_error_rate", "swish": "silu", "identity": "linear",
}  # fmt: skip


def did_you_mean(value: str, names: Collection[str]) -> str:
    """The end of an error about a name that is not among `names`: the nearest one, if one is near."""
    import difflib  # which takes longer than the rest of the library's imports

    word = value.lower().replace("-", "_").replace(" ", "_")
    found = [also] if (also := _ALSO.get(word)) in names else difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def real_dtype(name: str, value: Any) -> np.dtype[Any]:
    """`value` as the native dtype float32 or float64."""
    if value is not None:  # to NumPy None means float64
        try:
            dtype = np.dtype(value)
        except Exception:  # what NumPy tries on values of other kinds fails in many ways
            dtype = np.dtype(np.void)
        for known in (np.dtype(np.float32), np.dtype(np.float64)):
            if dtype == known:
                return known
    raise TypeError(f"{name} must be float32 or float64, got {value!r}")


def seed_value(name: str, value: object) -> int | None:
    """`value` as a non-negative int, or None for fresh entropy."""
    return None if value is None else integer(name, value, minimum=0)


def parameter_bytes(layer: object, shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype[Any]) -> None:
    """Raise ValueError if parameters of these shapes pass what machines hold."""
    size = sum(math.prod(shape) for shape in shapes.values()) * dtype.itemsize
    if size > MOST_BYTES:
        raise ValueError(f"{layer!r} would need {size >> 30:,} GiB for its parameters")


def text(name: str, value: object) -> str:
    """`value` as a str."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {kind(value)}")
    return str(value)


def path(name: str, value: object) -> Path:
    """`value`, a str or a path of str, as a path that the system can have."""
    if not isinstance(value, (str, os.PathLike)) or not isinstance(text := os.fspath(value), str):
        raise TypeError(f"{name} must be a path or a string, got {kind(value)}")
    try:
        if b"\0" not in os.fsencode(text):
            return Path(text)
        wrong = "a null character"
    except UnicodeEncodeError as error:
        wrong = str(error)
    raise ValueError(f"{name} {ascii(text)[:200]} cannot be a path: {wrong}")


def kind(value: object) -> str:
    """How an error message names a value of the wrong type."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return "None" if value is None else type(value).__name__
