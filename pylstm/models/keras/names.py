"""Names as Keras makes them of classes."""

from __future__ import annotations

import re


class Names:
    """Names of groups as Keras counts them: lstm_cell, lstm_cell_1 .."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def of(self, kind: str) -> str:
        name = snake(kind)
        count = self._counts[name] = self._counts.get(name, -1) + 1
        return f"{name}_{count}" if count else name


def snake(name: str) -> str:
    """As Keras makes names of classes: "BatchNormalization" -> "batch_normalization", "LSTMCell" -> "lstm_cell"."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
