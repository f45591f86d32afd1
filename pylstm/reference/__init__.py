"""The NumPy twin of the compiled layers: the same calls and results, plain enough to read beside the equations.

`cells` holds one time step of each cell, forward and backward, and `general_cells` those of cells whose functions are
chosen, which are in `activations`; `sequence` the loop over time, directions and layers;
`layers` the layers; `dropout` the masks; `linear` a linear layer, `linear_cross_entropy` and `sampled_softmax` its
losses, `ctc` that of labels without places, `attention`, `convolution` and `normalization` those layers, `sampling`
draws of symbols, `adam` the optimizer that the core has, too. It computes in the layer's dtype; with `dtype=np.float64`
it is what the compiled code is tested against. `num_threads` is accepted and has no effect.
"""

from typing import TYPE_CHECKING

from .._names import lazy

if TYPE_CHECKING:
    from . import (
        activations,
        adam,
        attention,
        cells,
        convolution,
        ctc,
        dropout,
        general_cells,
        linear,
        linear_cross_entropy,
        normalization,
        sampled_softmax,
        sampling,
        sequence,
    )
    from .layers import GRU, LSTM, RNN

__all__ = [
    "GRU", "LSTM", "RNN", "activations", "adam", "attention", "cells", "convolution", "ctc", "dropout", "general_cells",
    "linear", "linear_cross_entropy", "normalization", "sampled_softmax", "sampling", "sequence",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, dict.fromkeys(("GRU", "LSTM", "RNN"), "layers"))
