"""The operations that Keras 3 writes into a graph for masks: on plain arrays, which no gradient flows through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...files.keras.config import Config
from .step import Tensor


def _axis(config: Config, default: Any = -1) -> Any:
    axis = config.get("axis", default)
    axis = tuple(axis) if isinstance(axis, list) else axis
    if axis is not None and not isinstance(axis, (int, tuple)):
        raise config.wrong(f"axis is damaged: {axis!r:.80}")
    return axis


_Function = Callable[..., Any]
OPERATIONS: dict[str, _Function] = {
    "NotEqual": lambda _, a, b: a != b,
    "Equal": lambda _, a, b: a == b,
    "Greater": lambda _, a, b: a > b,
    "GreaterEqual": lambda _, a, b: a >= b,
    "Less": lambda _, a, b: a < b,
    "LessEqual": lambda _, a, b: a <= b,
    "LogicalOr": lambda _, a, b: np.logical_or(a, b),
    "LogicalAnd": lambda _, a, b: np.logical_and(a, b),
    "LogicalNot": lambda _, a: np.logical_not(a),
    "Any": lambda config, a: np.any(a, axis=_axis(config, None), keepdims=config.flag("keepdims")),
    "All": lambda config, a: np.all(a, axis=_axis(config, None), keepdims=config.flag("keepdims")),
    "ExpandDims": lambda config, a: np.expand_dims(a, _axis(config)),
    "Squeeze": lambda config, a: np.squeeze(a, _axis(config, None)),
    "ZerosLike": lambda config, a: np.zeros(np.shape(a), bool),  # noqa: ARG005
    "OnesLike": lambda config, a: np.ones(np.shape(a), bool),  # noqa: ARG005
    "Concatenate": lambda config, *several: np.concatenate(several, axis=_axis(config)),
    "ConvertToTensor": lambda _, a: a,
    "Cast": lambda _, a: a,
}


class MaskOperation:
    """One of them, in the place of a `Step`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.layers: dict[str, Any] = {}

    def compute(self, args: list[Any]) -> Tensor:
        plain: list[Any] = []
        for one in args:
            plain += [_plain(part) for part in one] if isinstance(one, list) else [_plain(one)]
        try:
            return Tensor(np.asarray(OPERATIONS[self.config.kind](self.config, *plain)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.config!r} is called with what does not fit: {str(error)[:200]}") from None

    def arrays(self) -> list[Any]:
        return []


def _plain(given: Any) -> Any:
    if not isinstance(given, Tensor):
        return given
    return given.value if isinstance(given.value, np.ndarray) else given.value.numpy()


def mask_of(given: Any, config: Config) -> Any:
    """What is called `mask=`, as a mask."""
    if isinstance(given, Tensor):
        return np.asarray(_plain(given)).astype(bool)
    if given is None:
        return None
    raise ValueError(f"{config!r} is called with mask={given!r:.80}, and a tensor is wanted")
