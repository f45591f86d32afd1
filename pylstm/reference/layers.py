"""LSTM, GRU and RNN over the NumPy loop: the calls of the fast layers, and their results."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import Array
from ..layers.gru import GRUFront
from ..layers.lstm import LSTMFront
from ..layers.recurrent import Recurrent, RunBackward, States
from ..layers.rnn import RNNFront
from . import cells, sequence


class _NumPyBackend(Recurrent[Any]):
    def _parameters_changed(self) -> None:
        suffixes, make = ("", "_reverse")[: self.num_directions], cells.BY_NAME[self._cell_name]
        self._cells = [
            [make(self._own_params(f"_l{layer}{suffix}"), **self._chosen()) for suffix in suffixes]
            for layer in range(self.num_layers)
        ]

    def _own_params(self, suffix: str) -> dict[str, Array]:
        return {name[: -len(suffix)]: value for name, value in self.params.items() if name.endswith(suffix)}

    def _zeros(self, states: tuple[Array | None, ...], batch: int) -> States:
        count = self.num_layers * self.num_directions
        return tuple(
            np.zeros((count, batch, size), self.dtype) if state is None else state
            for state, size in zip(states, self._state_sizes, strict=True)
        )

    def _infer(
        self,
        x: Any,
        states: tuple[Array | None, ...],
        lengths: NDArray[np.int64] | None,
        out: Array,
        num_threads: int | None,  # noqa: ARG002
    ) -> States:
        x, out = _without_steps(np.asarray(x)), _without_steps(out)
        return sequence.run(self._cells, x, self._zeros(states, x.shape[1]), lengths, out)[0]

    def _train(
        self,
        x: Any,
        states: tuple[Array | None, ...],
        lengths: NDArray[np.int64] | None,
        out: Array,
        dropout_key: tuple[int, int] | None,
        need_dx: bool,
        num_threads: int | None,  # noqa: ARG002
    ) -> tuple[States, RunBackward]:
        x_shape = x.shape
        x, out = _without_steps(np.asarray(x)), _without_steps(out)
        drop = None if dropout_key is None else sequence.Dropout(self.dropout, dropout_key)
        new_states, run_back = sequence.run(self._cells, x, self._zeros(states, x.shape[1]), lengths, out, drop)

        def run_backward(
            d_output: Array | None, d_states: tuple[Array | None, ...], into: dict[str, Array] | None
        ) -> tuple[Array | None, States, dict[str, Array]]:
            d_out = np.zeros_like(out) if d_output is None else _without_steps(d_output)
            dx, d_initial, d_params = run_back(d_out, self._zeros(d_states, out.shape[1]))
            if into is not None:
                for name, gradient in d_params.items():
                    into[name] += gradient
                d_params = into
            return (dx.reshape(x_shape) if need_dx else None), d_initial, d_params

        return new_states, run_backward


def _without_steps(array: Array) -> Array:
    """Steps of no sequence at all, of which there may be more than a loop ends over, left out."""
    return array if array.shape[1] else array[:0]


class LSTM(_NumPyBackend, LSTMFront):
    __doc__ = LSTMFront.__doc__


class GRU(_NumPyBackend, GRUFront):
    __doc__ = GRUFront.__doc__


class RNN(_NumPyBackend, RNNFront):
    __doc__ = RNNFront.__doc__
