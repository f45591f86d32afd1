"""The kinds of recurrent layers, and which biases they may have."""

from __future__ import annotations

from typing import NamedTuple


class Variant(NamedTuple):
    """A kind of layer: the class' name and the options that make it."""

    name: str
    cls: str
    options: dict
    projection: bool = False
    in_torch: bool = True  # whether torch.nn has it

    def make(self, module, input_size, hidden_size, **options):
        if self.projection:
            options["proj_size"] = hidden_size * 2 // 3  # 0, that is none, for the smallest layers
        return getattr(module, self.cls)(input_size, hidden_size, **self.options, **options)


VARIANTS = [
    Variant("lstm", "LSTM", {}),
    Variant("lstm_projection", "LSTM", {}, projection=True),
    Variant("gru_after", "GRU", {"reset_after": True}),
    Variant("gru_before", "GRU", {"reset_after": False}, in_torch=False),
    Variant("rnn_tanh", "RNN", {"nonlinearity": "tanh"}),
    Variant("rnn_relu", "RNN", {"nonlinearity": "relu"}),
    Variant(
        "lstm_general", "LSTM",
        {"activation": ("scaled_tanh", 0.9, 1.1), "recurrent_activation": "hard_sigmoid",
         "output_activation": "softsign", "peephole": True, "clip": 2.5}, in_torch=False,
    ),
    Variant("lstm_coupled", "LSTM", {"coupled": True, "peephole": True, "activation": "elu"}, in_torch=False),
    Variant(
        "gru_after_general", "GRU",
        {"activation": "softsign", "recurrent_activation": ("hard_sigmoid", 1 / 6, 0.5), "clip": 2.5}, in_torch=False,
    ),
    Variant("gru_before_general", "GRU", {"reset_after": False, "activation": ("leaky_relu", 0.3)}, in_torch=False),
    Variant("rnn_general", "RNN", {"nonlinearity": "silu", "clip": 2.5}, in_torch=False),
]  # fmt: skip
BIASES = {"both": {}, "single": {"recurrent_bias": False}, "none": {"bias": False}}
