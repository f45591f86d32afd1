"""Configs of Keras 1 in the words of its successors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_EVERYWHERE = {
    "bias": "use_bias", "border_mode": "padding", "inner_activation": "recurrent_activation", "p": "rate",
    "dropout_W": "dropout", "dropout_U": "recurrent_dropout", "subsample_length": "strides",
    "filter_length": "kernel_size", "nb_filter": "filters", "pool_length": "pool_size", "stride": "strides",
    "atrous_rate": "dilation_rate", "length": "size",
}  # fmt: skip
_SIZED = ("Dense", "TimeDistributedDense", "LSTM", "GRU", "SimpleRNN")  # whose output_dim are units


def modernised(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a layer's config under today's names."""
    found = {_EVERYWHERE.get(name, name): value for name, value in values.items()}
    if kind in _SIZED and "output_dim" in found:
        found["units"] = found.pop("output_dim")
    if kind == "Embedding" and found.get("dropout"):
        found.pop("dropout")  # of whole rows, in training alone
    return found
