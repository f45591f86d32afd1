"""The last part of the data, put aside for validation."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import _checks


class Data(NamedTuple):
    """What fit is given of data, as it is given."""

    x: Any
    y: Any
    lengths: Any = None
    target_lengths: Any = None
    sample_weight: Any = None


def split(data: Data, share: object, *, several: bool) -> tuple[Data, Data]:
    """The first part, and the last `share` of the sequences, rounded up, as Keras does; views where these are arrays.

    several: whether a tuple or dict is several inputs (targets). Raises TypeError or ValueError.
    """
    fraction = _checks.number("validation_split", share)
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"validation_split must be above 0 and below 1, got {fraction}")
    counts: dict[int, str] = {}
    for name, value in zip(("x", "y", *Data._fields[2:]), data, strict=True):
        for part in _parts(value, several) if value is not None else ():
            if part is not None:
                counts.setdefault(_count(name, part), name)
    if len(counts) > 1:
        (first, of_first), (other, of_other) = list(counts.items())[:2]
        raise ValueError(f"{of_first} holds {first} sequences and {of_other} {other}")
    count = next(iter(counts))
    at = int(count * (1.0 - fraction))
    if not 0 < at < count:
        raise ValueError(f"validation_split={fraction:g} leaves one part of {count} sequences empty")
    if any(_share_numbers(part, at) for part in _parts(data.y, several)):
        raise ValueError(
            "validation_split would leave numbers of y in both parts, as windows over a series have them in common: "
            "train, validation = pylstm.windows(..).split(0.8)"
        )
    before, behind = (
        Data(*(None if value is None else _cut(value, some, several) for value in data))
        for some in (slice(None, at), slice(at, None))
    )
    return before, behind


def _share_numbers(part: Any, at: int) -> bool:
    if not isinstance(part, np.ndarray):
        return False
    try:
        return np.shares_memory(part[:at], part[at:], max_work=10**5)  # type: ignore[arg-type]
    except Exception:  # too hard to tell, for strides that no window has
        return False


def _parts(value: Any, several: bool) -> list[Any]:
    if several and isinstance(value, dict):
        return list(value.values())
    return list(value) if several and isinstance(value, tuple) else [value]


def _count(name: str, part: Any) -> int:
    try:
        return len(part)
    except TypeError:
        raise TypeError(f"validation_split needs {name} that can be cut, got {_checks.kind(part)}") from None


def _cut(value: Any, some: slice, several: bool) -> Any:
    if several and isinstance(value, dict):
        return {key: None if part is None else part[some] for key, part in value.items()}
    if several and isinstance(value, tuple):
        return tuple(None if part is None else part[some] for part in value)
    return value[some]
