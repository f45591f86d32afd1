"""What an output hangs on: its gradient to every feature, or to every symbol, of the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._arrays import Array, float_array, length_array, number_array
from .._names import of_library
from ..graph.recording import Run
from ..graph.sweep import Sums, sweep
from ..graph.values import Value
from ..layers.containers import Container

if TYPE_CHECKING:
    from ..models.trainable import Trainable


class _Quiet(Run):
    """A recorded run in which nothing is dropped, and in which gradients end at the vectors of the input's symbols."""

    __slots__ = ("symbols", "twins", "vectors")

    def __init__(self, x: Array) -> None:
        super().__init__(recording=True)
        self.symbols = x if x.dtype.kind in "iu" else None
        self.vectors: list[tuple[int | None, Value]] = []  # the column of x they are of, None: of x itself
        self.twins: dict[int, tuple[Any, Any]] = {}

    def call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = args[0] if args else kwargs.get("x")
        if self.symbols is not None and isinstance(given, np.ndarray) and given.dtype.kind in "iu":
            if layer._gives_table_rows() or not of_library(type(layer)):
                return self._looked_up(layer, given, args, kwargs)
            raise TypeError(f"x holds integers, which {layer!r} takes for numbers: give them as floats")
        if id(layer) not in self.twins:
            self.twins[id(layer)] = layer, layer._without_dropout()
        return super().call(self.twins[id(layer)][1], args, kwargs)

    def _looked_up(self, layer: Any, given: Array, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        column = _column_of(self.symbols, given)
        y = self.before.run(layer, *args, **kwargs)
        if column == -1 or not isinstance(y, np.ndarray) or y.dtype.kind != "f" or y.shape[: given.ndim] != given.shape:
            raise ValueError(
                f"{layer!r} is given something else than x itself, or does not give a vector for each symbol, so that "
                "no gradient is that of one symbol"
            )
        value = self.leaf(y)
        self.vectors.append((column, value))
        return value


def _column_of(symbols: Any, given: Array) -> int | None:
    """The column of x (.., K) that a layer is given; None: x itself; -1: something else."""
    if given.shape == symbols.shape and np.array_equal(given, symbols):
        return None
    if given.ndim and given.shape == symbols.shape[:-1]:
        own, first = (array.__array_interface__["data"][0] for array in (given, symbols))
        column = (own - first) // symbols.itemsize if np.may_share_memory(given, symbols) else -1
        if 0 <= column < symbols.shape[-1] and np.array_equal(given, symbols[..., column]):
            return column
    return -1


def saliency(
    model: Trainable,
    x: ArrayLike,
    output: int | None = None,
    *,
    step: int | None = None,
    lengths: ArrayLike | None = None,
    times_input: bool = False,
) -> Array:
    """How much one output changes with each feature of each step of the input: its gradient (Simonyan et al. 2014).

    Dropout is off. Of numbers it is the gradient itself, above 0 where more of the feature makes the output larger. Of
    symbols, which cannot change a little, it is the norm of the gradient to the symbol's vector, the output of the
    embedding. `Sequential.saliency` gives one number for each step.

    Args:
        model: a `Sequential`, or a `Model` of one input and one output.
        x: (N, T, F) numbers, (N, T) or (N, T, K) symbols; of a `Sequential` also one sequence, without N.
        output: which number of the last axis; None: for each sequence its largest.
        step: of a model with an output per step which step's; negative ones count from a sequence's own end. None: its
            last.
        lengths: (N,) integers in 0..T, or None.
        times_input: gradient times input, for symbols the sum over the vector's numbers: how much the feature or
            symbol speaks for (above 0) or against the output, to first order (Shrikumar et al. 2016).

    Returns:
        Floats of the shape of x, zero past a length.

    Raises TypeError or ValueError naming the argument, and ValueError for a model of several outputs, or one that gives
    an embedding something else than x.
    """
    if not hasattr(model, "_predicted"):
        raise TypeError(f"model must be a Sequential or a Model, got {_checks.kind(model)}")
    flag = _checks.flag("times_input", times_input)
    array = number_array("x", x)
    symbols = array.dtype.kind in "iub"
    array = array.astype(np.int64) if symbols else float_array("x", array.astype(model.dtype)).copy()
    chain = isinstance(model, Container)
    one = chain and array.ndim == len(model.shapes()[0]) - 1  # type: ignore[attr-defined]
    if one:
        if lengths is not None:
            raise ValueError("lengths is for a batch: x is one sequence, cut it instead")
        array = array[None]
    if array.ndim < 2 or not array.size:
        raise ValueError(f"x must be a batch of sequences, (N, T) or (N, T, F), got {array.shape}")
    lens = None if lengths is None else length_array(lengths, array.shape[1], len(array))
    run = _Quiet(array)
    given = array if symbols else run.leaf(array)
    options = {} if lens is None else {"lengths": lens}
    own: Any = model
    y = run.within(own, given, **options) if chain else run.within(own.run, given, **own._given(options))
    if not isinstance(y, Value):
        raise ValueError(f"saliency is of a model with one output, a value, and this one gives {_checks.kind(y)}")
    sums = Sums()
    if y._slot is not None:
        sums.set(y._slot, _chosen(y._data, len(array), output, step, lens, model.output_lengths(lens)))
        assert run.tape is not None
        sweep(run.tape, sums, keep=True)
    found = _of_symbols(array, run, sums, flag) if symbols else _of_numbers(array, given, sums, flag)
    if lens is not None:  # a model of somebody's may look past them
        found[np.arange(array.shape[1]) >= lens[:, None]] = 0
    return found[0] if one else found


def _chosen(y: Array, count: int, output: int | None, step: int | None, before: Any, lengths: Any) -> Array:
    """The gradient of the chosen outputs' sum to y: ones at their places. lengths: of y, None where all steps count or
    there are none."""
    if y.ndim not in (2, 3) or len(y) != count:
        raise ValueError(f"saliency is of outputs (N, K), or (N, T, K) of a model per step, got {y.shape}")
    rows, d = np.arange(count), np.zeros_like(y)
    places: tuple[Any, ...] = (rows,)
    if y.ndim == 3:
        own = np.full(count, y.shape[1]) if not isinstance(lengths, np.ndarray) else lengths
        wanted = -1 if step is None else _checks.integer("step", step, minimum=-(2**62))
        at = wanted + own if wanted < 0 else np.full(count, wanted)
        wrong = (at < 0) | (at >= own)
        if (wrong & (own > 0)).any() or (step is not None and wrong.any()):
            short = int(own[wrong].min())
            raise ValueError(f"step must be one of all sequences' own, and one has {short}, got {wanted}")
        rows, at = rows[own > 0], at[own > 0]
        places = (rows, at)
    elif step is not None:
        raise ValueError("step is for a model with an output per step, and this one has one for each sequence")
    elif before is not None:
        places = (rows[np.asarray(before) > 0],)
    width = y.shape[-1]
    if output is None:
        chosen: Any = y[places].argmax(axis=-1)
    else:
        chosen = _checks.integer("output", output, minimum=-width, maximum=width - 1)
    d[(*places, chosen)] = 1
    return d


def _of_numbers(x: Array, given: Any, sums: Sums, times_input: bool) -> Array:
    gradient = sums.take(given._slot)
    if gradient is None:
        return np.zeros_like(x)
    return np.asarray(gradient * x if times_input else gradient).copy()


def _of_symbols(x: Array, run: _Quiet, sums: Sums, times_input: bool) -> Array:
    if not run.vectors:
        raise ValueError("x holds integers, and no embedding of the model is given them")
    found = np.zeros(x.shape, np.result_type(*[value._data.dtype for _, value in run.vectors]))
    for column, value in run.vectors:
        assert value._slot is not None
        if (gradient := sums.take(value._slot)) is None:
            continue
        axes = tuple(range(x.ndim if column is None else x.ndim - 1, gradient.ndim))
        each = gradient * value._data if times_input else gradient * gradient
        total = each.sum(axis=axes)
        if column is None:
            found += total
        else:
            found[..., column] += total
    return found if times_input else np.sqrt(found)
