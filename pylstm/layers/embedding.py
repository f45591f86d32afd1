"""Embedding: a vector for every symbol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _arrays, _checks
from .._active import ACTIVE, refuse_in_training
from .._arrays import Array
from .layer import Backward, Layer, Params, SeedLike, Shape, generator, gradient_like, sizes
from .parameters import Params as ParamsView
from .registry import built_in
from .table_rows import Edition, TableRows, back_to_table, check_range, index_array


@built_in
class Embedding(Layer):
    """A vector for every symbol: y[...] = weight[x[...]], as torch.nn.Embedding.

    x: integers in 0..num-1 of any shape; y: (\\*x.shape, dim). A call raises TypeError for x that is not of integers,
    IndexError for numbers out of range.

    weight (num, dim) starts as normal numbers. The gradient is a `RowGradient`: the rows that x names.
    `params["weight"]` is a read-only view of the table, which training writes to in place: take `state_dict()` for a
    copy.

    Args:
        num: how many symbols.
        dim: numbers per symbol.
        padding_idx: a symbol that stands for "nothing here": its row is zero and gets no gradient.
        std: standard deviation of the initial values.
        dtype: float32 or float64.
        seed: the initial values follow from it.

    Raises TypeError or ValueError for a wrong argument, naming it.
    """

    _config_names = ("num", "dim", "padding_idx", "dtype")
    _fixed = ("num", "dim", "dtype")
    steps_apart = True
    _asks = True
    _outputs_own = True
    num: int
    dim: int
    padding_idx: int | None
    _edition: Edition | None = None  # another one whenever the table changes; None: it is about to

    def __init__(
        self,
        num: int,
        dim: int,
        padding_idx: int | None = None,
        *,
        std: float = 1.0,
        dtype: DTypeLike = np.float32,
        seed: SeedLike = None,
    ) -> None:
        self._configure(num=num, dim=dim, padding_idx=padding_idx, dtype=dtype)
        _checks.parameter_bytes(self, self._param_shapes, self.dtype)
        self._std = _checks.non_negative("std", std)
        self._draw(generator(seed))

    def _configure(self, *, num: int, dim: int, padding_idx: int | None, dtype: DTypeLike) -> None:
        self.num, self.dim = _checks.size("num", num), _checks.size("dim", dim)
        if padding_idx is not None:
            padding_idx = _checks.integer("padding_idx", padding_idx, -self.num, self.num - 1) % self.num
        self.padding_idx = padding_idx
        self.dtype = _checks.real_dtype("dtype", dtype)
        self._param_shapes = {"weight": (self.num, self.dim)}
        self._std = 1.0

    def _draw(self, rng: np.random.Generator) -> None:
        # drawn in float32 for both dtypes: layers that differ in dtype only start from the same values
        weight = rng.standard_normal((self.num, self.dim), dtype=np.float32) * np.float32(self._std)
        if self.padding_idx is not None:
            weight[self.padding_idx] = 0
        self._set_params({"weight": weight.astype(self.dtype, copy=False)})

    def _reseed(self, seed: np.random.SeedSequence) -> None:
        self._draw(generator(seed))

    def _prepared(self, arrays: Mapping[str, Array]) -> Callable[[], None]:
        room = _arrays.room(self._param_shapes["weight"], self.dtype)
        room[...] = arrays["weight"]
        table = room.view()  # stays writeable; nobody else gets at a view that is
        params = ParamsView({"weight": _arrays.sealed(room)})

        def put() -> None:
            self._edition = None
            self._table, self._params = table, params
            self._edition = Edition()

        return put

    def _begin_update(self, names: list[str]) -> dict[str, tuple[Array, Array]]:
        edition, self._edition = self._edition, None  # nobody keeps what was made of the table
        if edition is not None:
            edition.end()
        return dict.fromkeys(names, (self._table, self._table))  # in place: backward needs none of it

    def _end_update(self, arrays: dict[str, Array]) -> None:  # noqa: ARG002
        self._edition = Edition()
        self._learned = True

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        if (run := ACTIVE.get()) is not None:
            return run.call(self, (x,), {"lengths": lengths})  # type: ignore[no-any-return]
        return self._table.take(self._take_ids(x), axis=0, mode="clip")  # checked already: "clip" skips a second check

    def forward(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,  # noqa: ARG002
        need_dx: bool = True,  # noqa: ARG002
    ) -> tuple[Array, Backward]:
        if ACTIVE.get() is not None:
            refuse_in_training(self, "forward")
        ids = self._take_ids(x).copy()  # callers refill their buffers
        y = self._table.take(ids, axis=0, mode="clip")
        if not self._trainable:
            return y, _nothing
        form, back = (y.shape, y.dtype), back_to_table(ids, (self.num, self.dim), self.padding_idx)
        return y, lambda dy: (None, {"weight": back(gradient_like(dy, form))})

    def table_rows(self, x: ArrayLike) -> TableRows:
        """`embedding(x)`, not looked up: x for a recurrent layer, which then computes once what symbols have in common.

        Args:
            x: as in a call. It is not copied.

        Returns:
            A `TableRows`, of the table itself: training that goes on edits it, until a layer is called with it.

        Raises TypeError or IndexError, as a call does.
        """
        if ACTIVE.get() is not None:
            refuse_in_training(self, "table_rows")
        return self._table_rows(self._take_ids(x))

    def _table_rows(self, ids: NDArray[Any]) -> TableRows:
        edition = self._edition  # first: of a table that changes meanwhile it is an old one
        rows = TableRows.__new__(TableRows)
        rows.table, rows.symbols, rows.padding_idx = self._params._arrays["weight"].view(), ids, self.padding_idx
        rows._source = None if edition is None else (self, edition)
        return rows

    def _gives_table_rows(self) -> bool:
        return self._runs(_WRITTEN)

    def _one_table(self) -> tuple[Edition, Array] | None:
        edition = self._edition  # first: of a table that changes meanwhile it is an old one
        return None if edition is None else (edition, self._params._arrays["weight"])

    def _as_table_rows(self, x: Any) -> tuple[TableRows, Backward]:
        return self._table_rows(self._take_ids(x)), _to_parameters

    def _take_ids(self, x: ArrayLike) -> NDArray[Any]:
        ids = index_array("x", x)
        check_range("x", ids, self.num, self)
        return ids

    def _check_values(self, name: str, x: Array) -> None:
        if self._runs({"__call__": Embedding.__call__}):
            check_range(name, index_array(name, x), self.num, self)

    def output_shape(self, shape: Shape) -> Shape:
        return (*sizes(shape), self.dim)

    def input_shape(self) -> Shape:
        return (None, None)


def _nothing(dy: ArrayLike) -> tuple[None, Params]:  # noqa: ARG001
    return None, {}


def _to_parameters(d: Any) -> tuple[None, Params]:
    return None, {"weight": d}


_WRITTEN: dict[str, Any] = {"__call__": Embedding.__call__, "forward": Embedding.forward, "vjp": Embedding.vjp}
