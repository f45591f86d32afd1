"""The kinds of recurrent layers, and which biases they may have."""

from __future__ import annotations

from typing import NamedTuple


class Variant(NamedTuple):
    """A kind of layer: the class' name and the options that make it."""

    name: str
    cls: str
    options: dict
    projection: bool = False

    def make(self, module, input_size, hidden_size, **options):
        if self.projection:
            options["proj_size"] = hidden_size * 2 // 3  # 0, that is none, for the smallest layers
        return getattr(module, self.cls)(input_size, hidden_size, **self.options, **options)


VARIANTS = [
    Variant("lstm", "LSTM", {}),
    Variant("lstm_projection", "LSTM", {}, projection=True),
    Variant("gru_after", "GRU", {"reset_after": True}),
    Variant("gru_before", "GRU", {"reset_after": False}),
    Variant("rnn_tanh", "RNN", {"nonlinearity": "tanh"}),
    Variant("rnn_relu", "RNN", {"nonlinearity": "relu"}),
]
BIASES = {"both": {}, "single": {"recurrent_bias": False}, "none": {"bias": False}}
