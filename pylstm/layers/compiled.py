"""LSTM, GRU and RNN as people use them: signatures and calls over the compiled core. Thin: no arithmetic here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .._arrays import Array
from .._cells import CELLS, suffixes
from .cell_functions import constants
from .gru import GRUFront
from .layer import Layer
from .lstm import LSTMFront
from .recurrent import Recurrent, RunBackward, States
from .registry import built_in
from .rnn import RNNFront
from .row_gradient import RowGradient
from .stream import Stepper, Stream
from .table_rows import TableRows, int64

MOST_KEPT = 2**26  # bytes of a table's products


class _Kept:
    """Of a network and an edition of a table: how many rows were multiplied, and the products of all, if kept. Threads
    may lose a count."""

    __slots__ = ("edition", "network", "rows", "table")

    def __init__(self, network: _core.Network, edition: object) -> None:
        self.network, self.edition, self.rows = network, edition, 0
        self.table: _core.InputTable | None = None


class _Compiled(Recurrent[Any]):
    """The backend hooks, over a `_core.Network`: the packed weights, made on first use after a change."""

    def _kinds(self) -> list[str]:
        """The parameters of a layer and direction, in the core's order."""
        return list(CELLS[self._cell_name]["parameters"])

    def _constants(self) -> list[float]:
        """Those of the cell, in the core's order."""
        names = CELLS[self._cell_name]["constants"]
        if not names:
            return []
        found = constants(self._chosen())
        return [found[name] for name in names]

    def _suffixes(self) -> list[str]:
        return suffixes(self.num_layers, self.bidirectional)

    def _parameters_changed(self) -> None:
        self._pack: tuple[object, _core.Network] | None = None  # the parameters and what was packed from them
        self._kept: _Kept | None = None

    def _packed(self) -> _core.Network:
        pack, params = self._pack, self._params
        if pack is None or pack[0] is not params:  # two threads may both pack: the same result
            arrays = [[params._arrays.get(kind + suffix) for kind in self._kinds()] for suffix in self._suffixes()]
            network = _core.Network(
                self._cell_name, self.dtype, self.input_size, self.hidden_size, self.output_size,
                self.num_layers, self.bidirectional, arrays, self._constants(),
            )  # fmt: skip
            self._pack = pack = params, network
        return pack[1]

    def _runs_alike(self) -> bool:
        return (self.dropout == 0.0 or self.num_layers == 1) and self._runs(_WRITTEN)

    def _takes_table_rows(self) -> bool:
        return self._runs(_WRITTEN)

    def _takes_ends(self) -> bool:
        return self._runs(_WRITTEN)

    def _given(self, x: TableRows, lengths: NDArray[np.int64] | None) -> Any:
        """x as the core takes it: rows of a table by symbol where enough of them repeat."""
        symbols = _core.symbols(int64(x.symbols), lengths, *x.table.shape)
        return x._taken() if symbols is None else (x.table, symbols)  # the core has looked at all that count

    def _inferred(
        self, x: TableRows, lengths: NDArray[np.int64] | None, network: _core.Network, num_threads: int | None
    ) -> Any:
        """The same for inference, in which the products of a whole table are kept as soon as that many of its rows
        have been multiplied: so it never takes more than twice the time of what would have been best."""
        if (edition := x._edition()) is None:
            return self._given(x, lengths)
        kept = self._products(network, edition, x.table, num_threads)
        if kept.table is not None:
            num, width = x.table.shape
            return kept.table, _core.symbols(int64(x.symbols), lengths, num, width, in_table=True)
        given = self._given(x, lengths)
        kept.rows += x.symbols.size if type(given) is not tuple else len(given[1].rows)
        return given

    def _products(self, network: _core.Network, edition: object, table: Array, num_threads: int | None) -> _Kept:
        kept = self._kept
        if kept is None or kept.network is not network or kept.edition is not edition:
            self._kept = kept = _Kept(network, edition)
        if kept.table is None and kept.rows >= len(table) and network.multiplied_bytes(len(table)) <= MOST_KEPT:
            kept.table = network.multiplied(table, num_threads)
        return kept

    def _symbol_step(self, stream: Stream, embedding: Layer) -> Callable[[Any], Array]:
        """A step of `stream` for what `embedding` takes. The products of the table are kept as those of calls are."""

        def step(x: Any) -> Array:
            if (found := embedding._one_table()) is not None:
                edition, table = found
                kept, network = self._kept, self._packed()
                if kept is None or kept.table is None or kept.edition is not edition or kept.network is not network:
                    kept = self._products(network, edition, table, stream._num_threads)
                    kept.rows += stream.batch_size
                if kept.table is not None and (y := stream._step_symbols(kept.table, x)) is not None:
                    return y
            return stream.step(embedding(x))

        return step

    def _infer(
        self,
        x: Array | TableRows,
        states: tuple[Array | None, ...],
        lengths: NDArray[np.int64] | None,
        out: Array,
        num_threads: int | None,
    ) -> States:
        try:
            network = self._packed()
            given: Any = self._inferred(x, lengths, network, num_threads) if type(x) is TableRows else x
            return network.infer(given, states, lengths, out, num_threads)
        except MemoryError as error:
            raise _no_memory(x) from error

    def _train(
        self,
        x: Array | TableRows,
        states: tuple[Array | None, ...],
        lengths: NDArray[np.int64] | None,
        out: Array,
        dropout_key: tuple[int, int] | None,
        need_dx: bool,
        num_threads: int | None,
    ) -> tuple[States, RunBackward]:
        dropout = None if dropout_key is None else (self.dropout, *dropout_key)
        try:
            given: Any = self._given(x, lengths) if type(x) is TableRows else x
            new_states, tape = self._packed().train(given, states, lengths, out, dropout, num_threads)
        except MemoryError as error:
            raise _no_memory(x) from error

        rows = (x, given[1].rows) if type(given) is tuple and isinstance(x, TableRows) else None
        need_params = self._trainable

        def run_backward(
            d_output: Array | None, d_states: tuple[Array | None, ...], into: dict[str, Array] | None
        ) -> tuple[Array | RowGradient | None, States, dict[str, Array]]:
            sums = None
            if into is not None:
                sums = [[into.get(kind + suffix) for kind in self._kinds()] for suffix in self._suffixes()]
            dx, d_initial, arrays = tape.backward(d_output, d_states, need_dx, num_threads, sums, need_params)
            d_params = {
                kind + suffix: array
                for suffix, row in zip(self._suffixes(), arrays, strict=True)
                for kind, array in zip(self._kinds(), row, strict=True)
                if array is not None
            }
            if rows is not None and dx is not None:
                return rows[0]._row_gradient(rows[1].copy(), dx), d_initial, d_params
            return dx, d_initial, d_params

        return new_states, run_backward

    def _empty(self, shape: tuple[int, ...]) -> Array:
        return _core.empty(shape, self.dtype)

    def _stepper(self, batch_size: int, num_threads: int | None) -> Stepper:
        return self._packed().stream(batch_size, num_threads)


_WRITTEN: dict[str, Any] = {name: getattr(Recurrent, name) for name in ("__call__", "forward", "vjp")}


def _no_memory(x: Array | TableRows) -> MemoryError:
    return MemoryError(f"not enough memory for {x.shape[0]} steps of {x.shape[1]} sequences, {x.shape[2]} numbers each")


@built_in
class LSTM(_Compiled, LSTMFront):
    __doc__ = LSTMFront.__doc__
    _outputs_own = True


@built_in
class GRU(_Compiled, GRUFront):
    __doc__ = GRUFront.__doc__
    _outputs_own = True


@built_in
class RNN(_Compiled, RNNFront):
    __doc__ = RNNFront.__doc__
    _outputs_own = True
