"""What a recurrent module is, apart from its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..._cells import CELLS, parameter_shapes

CELL_OF_MODE = {"LSTM": "lstm", "GRU": "gru_after", "RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu"}
KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")  # in the order of PyTorch's modules


class Spec:
    """All that a call needs besides tensors. Never changed once made.

    Attributes:
        network: what the core's network is made with: the cell's name, the sizes of input, units and output (of h in
            one direction), the number of layers, whether there are two directions.
        bias: whether there are biases.
        batch_first: the layout of x and output.
        dropout: 0 but in training.
        state_rows: of a state, (state_rows, N, size).
        state_sizes: of h, or h and c.
        width: of the output.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        output_size: int,
        num_layers: int,
        bidirectional: bool,
        bias: bool,
        batch_first: bool,
        dropout: float,
    ) -> None:
        self.network = (cell, input_size, hidden_size, output_size, num_layers, bidirectional)
        self.bias, self.batch_first, self.dropout = bias, batch_first, dropout
        directions = 2 if bidirectional else 1
        self.width, self.state_rows = output_size * directions, num_layers * directions
        sizes = {"output": output_size, "hidden": hidden_size}
        self.state_sizes = tuple(sizes[width] for width in CELLS[cell]["states"].values())
        self._kinds = tuple(CELLS[cell]["parameters"])  # in the core's order
        self._present = tuple(kind for kind in KINDS if kind in self._kinds and (bias or not kind.startswith("bias")))

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of the parameters, in PyTorch's order."""
        cell, inputs, hidden, output, layers, both = self.network
        return list(parameter_shapes(cell, self._present, inputs, hidden, output, layers, both).values())

    def nested(self, flat: Sequence[Any]) -> list[list[Any]]:
        """What there is for every parameter, in PyTorch's order, as the core takes it: a list for every layer and
        direction, None for an absent bias."""
        count = len(self._present)
        rows = [dict(zip(self._present, flat[at : at + count], strict=True)) for at in range(0, len(flat), count)]
        return [[row.get(kind) for kind in self._kinds] for row in rows]

    def flat(self, nested: Sequence[Sequence[Any]]) -> list[Any]:
        """The way back."""
        rows = [dict(zip(self._kinds, row, strict=True)) for row in nested]
        return [row[kind] for row in rows for kind in self._present]
