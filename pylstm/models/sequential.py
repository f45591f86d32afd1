"""Layers one after another, and what a user looks at in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._active import ACTIVE, refuse_in_training
from .._arrays import Array, float_array
from .._names import of_library
from ..graph.recording import Chain
from ..graph.values import Value
from ..layers.activation import Activation
from ..layers.containers import Columns, Container, carried, inferred
from ..layers.dropout import Dropout
from ..layers.layer import VJP, Layer, Outputs, Params, Shape
from ..layers.pooling import BothEnds, LastStep, MaxOverTime, MeanOverTime
from ..layers.registry import built_in
from ..losses.targets import shown
from ..training.data import Batch, Inputs
from .stream import ModelStream
from .summaries import drawn, row_of
from .trainable import Trainable
from .watching import Seen


@built_in
class Sequential(Container, Trainable):
    """A model: each layer's output is the next one's input.

    Args:
        layers: a list of any of the library's or of yours, `LSTM`, `GRU`, `RNN` with batch_first=True among them.
        others: none: the layers stand in one list.
        seed: draw the parameters of the layers anew from this number, and the seeds of dropout, each by its layer's
            place. What has been trained or loaded stays as it is (`redraw` draws all). Without a seed all do.

    Raises TypeError or ValueError for a wrong argument, and ValueError for sizes that do not fit each other.

    `model[0]` and `model[-1]` are layers, `model[:-1]` a `Sequential` of the same layers, `len(model)` how many there
    are; a loop goes through them.

    Attributes:
        layers: a tuple.
        dtype: of the parameters, float32 or float64.

    >>> model = Sequential([Embedding(1000, 32), LSTM(32, 64, batch_first=True), LastStep(), Linear(64, 1)], seed=0)
    >>> x, y = [[7, 2], [7, 3, 2], [8, 1], [8]], np.array([1, 1, 0, 0])            # words by number, and labels
    >>> history = model.fit(x, y, loss="binary_cross_entropy", optimizer=Adam(1e-2), epochs=20, verbose=0)
    >>> (model.predict(x) > 0)[:, 0]
    array([ True,  True, False, False])
    """

    _several = False
    _fitting: tuple[Any, Shape, Shape | None] = (None, (), None)  # layers, the last form of x that fitted, and y's
    _is_chain = True

    def __init__(self, layers: Iterable[Layer], *others: NoReturn, seed: int | None = None) -> None:
        self._refuse_others(layers, others)
        self._configure(layers)
        if (number := _checks.seed_value("seed", seed)) is not None:
            self._reseed_fresh(np.random.SeedSequence(number))

    def _configure(self, layers: Iterable[Layer]) -> None:
        super()._configure(layers)
        self.shapes()  # raises if sizes do not fit

    def _floats(self, x: ArrayLike) -> ArrayLike:
        """What has no dtype of its own gets the model's, where the first layer has none to give it."""
        if type(x) is np.ndarray and x.dtype.char in "fd":
            return x
        if isinstance(_first(self), _SHAPELESS):
            return float_array("x", x, self.dtype)
        return x

    def _input(self, x: Any, run: Any) -> Any:
        return self._floats(x) if run is None or not isinstance(x, Value) else x

    def _without_dropout(self) -> Layer:
        return Sequential([layer._without_dropout() for layer in self.layers])

    def _cut(self, which: slice) -> Sequential:
        return Sequential(self._some(which))

    def stream(self, batch_size: int = 1, *, num_threads: int | None = None) -> ModelStream:
        """A `ModelStream`: step by step, with states of its own, for `batch_size` independent sequences.

        Args:
            batch_size: N, sequences that move on together.
            num_threads: for the recurrent layers' steps; None is the process' setting.

        Raises ValueError for a model with a layer that needs other steps than the one that arrives: bidirectional or
        pooling layers, and layers of your own that do not say `steps_apart`.
        """
        if ACTIVE.get() is not None:
            refuse_in_training(self, "stream", "call the model")
        if num_threads is not None:
            num_threads = _checks.threads("num_threads", num_threads)
        return ModelStream(self, _checks.size("batch_size", batch_size), num_threads)

    # ---- as a model to train -------------------------------------------------------------------------------------

    def _predicted(self, batch: Batch, deferred: bool = False, seen: Seen | None = None) -> Any:
        deferred = deferred and self._can_defer()
        if ACTIVE.get() is None and (deferred or (seen is not None and self._runs(_WRITTEN))):
            return self._seen_or_deferred(batch.inputs[0], batch.lengths, deferred, seen)
        return self(batch.inputs[0], lengths=batch.lengths)

    def _trained(self, batch: Batch, state: Any, deferred: bool = False) -> tuple[Any, Callable[[Any], Params], Any]:
        vjp = self._deferred_vjp if deferred and self._can_defer() else self.vjp
        (y, after), run_back = vjp(batch.inputs[0], state, lengths=batch.lengths, need_dx=False)
        return y, lambda dy: run_back(dy)[1], after

    def _predicted_on(self, batch: Batch, state: Any, deferred: bool = False) -> tuple[Any, Any]:
        if not (deferred and self._can_defer()):
            return super()._predicted_on(batch, state)

        def call(layer: Layer, x: Any, state: Any, lengths: Any, as_rows: bool) -> tuple[Any, Any]:
            return (layer._deferred(x, lengths), None) if layer is last else carried(layer, x, state, lengths, as_rows)

        last = self.layers[-1]
        return self._run(call, self._input(batch.inputs[0], None), state, batch.lengths)

    def _can_defer(self) -> bool:
        return self._runs(_WRITTEN) and self.layers[-1]._can_defer()

    def _deferred(self, x: Any, lengths: Any) -> Any:
        return self._seen_or_deferred(x, lengths, True, None)

    def _seen_or_deferred(self, x: Any, lengths: Any, deferred: bool, seen: Seen | None) -> Any:
        """Inference: of which `seen` takes what the layers are called with; deferred: as `LinearOutputs`."""

        def call(layer: Layer, x: Any, state: Any, lengths: Any, as_rows: bool) -> tuple[Any, None]:
            if seen is not None:
                seen.append((layer, x))
            return (layer._deferred(x, lengths), None) if layer is last else inferred(layer, x, state, lengths, as_rows)

        last = self.layers[-1] if deferred else None
        y = self._run(call, self._input(x, None), None, lengths)[0]
        return y if deferred else self._output(y)

    def _deferred_vjp(
        self, x: Any, state: Any = None, *, lengths: Any = None, need_dx: bool = True
    ) -> tuple[Outputs, VJP]:
        return self._chain_vjp(Chain(self.layers[-1]), x, state, lengths, need_dx)

    def _no_outputs(self, inputs: Inputs) -> Any:
        known = tuple(size or 0 for size in self.shapes()[-1][1:])
        if not self.keeps_time or inputs.lengths is None:
            return np.zeros((0, *known), self.dtype)
        return [] if inputs.is_list else np.zeros((0, inputs.steps or 0, *known[1:]), self.dtype)

    def _output_form(self, inputs: Inputs) -> Shape | None:
        shape: Shape = inputs.parts[0].form
        layers, given, known = self._fitting  # asked before every prediction
        if layers is self.layers and given == shape:
            return known
        known = self._followed(inputs, shape)
        self._fitting = self.layers, shape, known
        return known

    def _followed(self, inputs: Inputs, shape: Shape) -> Shape | None:
        if not Layer._says_shape(self):
            return None
        try:
            for layer in self.layers:
                if not layer._says_shape():
                    return None
                shape = layer.output_shape(shape)
                if not shape or shape[0] is not None:  # what came as any number has become one of its own
                    raise ValueError(f"{layer!r} would take the axis of the batch for another one")
        except ValueError as error:
            raise ValueError(self._unfit(inputs, error)) from None
        return shape

    def _may_misread(self, inputs: Inputs) -> bool:
        return self._output_form(inputs) is None and super()._may_misread(inputs)  # else what layers say tells

    def _converts_to(self, inputs: Inputs) -> np.dtype[Any] | None:
        first = _first(self)
        known = self._output_form(inputs) is not None and of_library(type(first))
        return first.dtype if known and first._param_shapes else None

    def _check_values_of(self, inputs: Inputs) -> None:
        if self._output_form(inputs) is not None:
            for piece in inputs.parts[0].pieces():
                self._check_values("x", piece)

    def _unfit(self, inputs: Inputs, error: ValueError) -> str:
        wanted, given = self.shapes()[0], inputs.parts[0]
        hint = ""
        if len(given.form) == len(wanted) - 1 and not given.is_list:
            hint = ". One sequence needs an axis for the batch: x[None], or [x] of a list"
        return f"x must give batches {shown(wanted)}, got {given.shown}: {error}{hint}"

    def _takes_rows(self) -> bool | None:
        for layer in self.layers:
            if (shape := layer.input_shape()) is not None:
                return shape[1] is not None if len(shape) == 2 else None
            if not isinstance(_first(layer), _SHAPELESS):
                break  # a layer of the user's, which takes what it takes
        return None

    def _gives_probabilities(self) -> bool:
        return self.layers[-1]._gives_probabilities()

    def _in_line(self) -> list[Layer]:
        return [part for layer in self.layers for part in layer._in_line()]

    # ---- looking at it -------------------------------------------------------------------------------------------

    def shapes(self) -> list[Shape]:
        """The shapes of the input and of every layer's output: a list of tuples.

        None stands for any size: batch and time.
        """
        start = next((shape for layer in self.layers if (shape := layer.input_shape()) is not None), (None, None))
        try:
            return self._shapes_from(start)
        except ValueError:
            if len(start) != 2 or start[1] is None:
                raise
            return self._shapes_from((start[0], None, start[1]))  # the first layer takes both: (N, F) and (N, T, F)

    def _shapes_from(self, shape: Shape) -> list[Shape]:
        shapes = [shape]
        try:
            for layer in self.layers:
                shapes.append(layer.output_shape(shapes[-1]))
        except ValueError as error:
            raise ValueError(f"layer {len(shapes) - 1} does not fit: {error}") from None
        return shapes

    def summary(self) -> str:
        """A table of the layers, their output shapes and numbers of parameters, and the totals, of trainable and frozen
        ones, too. None: any size."""
        return drawn(_rows(self, self.shapes()[0], ""), self)

    def saliency(
        self, x: ArrayLike, target: int | None = None, *, lengths: ArrayLike | None = None, signed: bool = False
    ) -> Array:
        """How much each step matters to one output: the norm of that output's gradient to the step's vector.

        For a model that ends in one vector per sequence; for integer input, a step's vector is the first layer's
        output. Dropout is off.

        Args:
            x: (N, T) or (N, T, F), or one sequence.
            target: which output; None: for each sequence its largest.
            lengths: (N,) integers in 0..T, or None.
            signed: gradient times vector, summed: how much the step speaks for (above 0) or against the output, to
                first order (Shrikumar et al. 2016).

        Returns:
            An array (N, T), or (T,) for one sequence, which is zero past a length.

        Raises TypeError or ValueError, naming the argument, and ValueError for a model with an output per step.
        """
        from ..inspect.step_saliency import step_saliency

        return step_saliency(self, x, target, lengths, signed)


def _rows(container: Container, shape: Shape, indent: str) -> Iterator[tuple[str, str, str]]:
    """Lines of a summary; layers in layers are indented."""
    columns = isinstance(container, Columns)  # its layers stand side by side, and each takes one column
    for layer in container.layers:
        before, after = (shape[:-1] if columns else shape), layer.output_shape(shape[:-1] if columns else shape)
        text = "(" + ", ".join(map(str, after)) + ")"
        if isinstance(layer, Container):
            yield indent + type(layer).__name__, text, ""
            yield from _rows(layer, before, indent + "  ")
        else:
            yield row_of(layer, after, indent)
        shape = shape if columns else after


_WRITTEN: dict[str, Any] = {"__call__": Sequential.__call__, "forward": Sequential.forward, "vjp": Sequential.vjp}
# layers that take any width and either dtype
_SHAPELESS = (Activation, BothEnds, Dropout, LastStep, MaxOverTime, MeanOverTime)


def _first(layer: Layer) -> Layer:
    """The layer that sees the input first."""
    while isinstance(layer, Container) and not isinstance(layer, Columns):
        layer = layer.layers[0]
    return layer
