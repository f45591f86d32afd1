"""What training and prediction ask of a model, and looks at what it is given before anything depends on it."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..layers.layer import Layer, Shape
from ..training.data import Batch, Inputs, first_steps
from .traces import no_traces
from .watching import Seen, first_refused, misreads, shape_of


class Looked(Layer):
    """A layer that can be run on batches of fit's."""

    @abc.abstractmethod
    def _predicted(self, batch: Batch, deferred: bool = False, seen: Seen | None = None) -> Any:
        """Inference: the outputs of a batch. deferred: as `LinearOutputs`, if the model can. seen: takes what the
        layers are called with, call by call, where it can be seen."""

    @abc.abstractmethod
    def _trained(
        self, batch: Batch, state: Any, deferred: bool = False
    ) -> tuple[Any, Callable[[Any], dict[str, Any]], Any]:
        """Training: the outputs, a function from their gradients to those of the parameters, and the state after.
        deferred: the outputs as `LinearOutputs`, if the model can, and the gradient as a loss of these gives it."""

    def _predicted_on(self, batch: Batch, state: Any, deferred: bool = False) -> tuple[Any, Any]:  # noqa: ARG002
        """Inference in which states go on, if the model has been asked for it (`_check_carry`): the outputs, and the
        state after. deferred: as in `_predicted`."""
        return self._carried(batch.inputs[0], state, batch.lengths)

    def _takes_rows(self) -> bool | None:
        """Whether a list of numbers is a row of features (True) or a sequence of symbols (False); None: either."""
        return None

    def _output_form(self, inputs: Inputs) -> Shape | None:  # noqa: ARG002
        """The shape of a batch's outputs, in which None stands for any size; None: nobody has said. Raises ValueError
        if a batch of x is none to the model: whatever the number of sequences in it."""
        return None

    def _may_misread(self, inputs: Inputs) -> bool:
        """Whether a batch of x may be none to the model, and only a run tells: x has no axis that must be time."""
        return any(len(one.form) == 1 or (len(one.form) == 2 and one.dtype.kind == "f") for one in inputs.parts)

    def _looked_at(self, inputs: Inputs, rows: Any, truncate: int | None) -> Any:
        """The outputs of these rows, in a run that nobody asked for. Where a layer takes x as it came and would refuse
        values in other rows, so does a run of those: raises what that raises."""
        with no_traces(self):
            outputs, seen, batch = self._watched(inputs, rows, True, truncate)
            if (wrong := first_refused(inputs, batch, seen)) is not None:
                rows = (wrong + np.arange(len(rows))) % len(inputs)
                self._predicted(first_steps(inputs.batch(rows), truncate), True)
        return outputs

    def _watched(
        self, inputs: Inputs, rows: Any, deferred: bool, truncate: int | None = None
    ) -> tuple[Any, Seen, Batch]:
        """Inference: the outputs of these rows, what the layers were called with, and the batch. Raises ValueError if
        a batch of x turns out to be none to the model: whatever else would be raised."""
        seen: Seen = []
        batch = first_steps(inputs.batch(rows), truncate)
        try:
            outputs = self._predicted(batch, deferred, seen)
        except Exception:
            self._check_batch_axis(inputs, rows, seen, truncate)
            raise
        self._check_batch_axis(inputs, rows, seen, truncate)
        return outputs, seen, batch

    def _check_batch_axis(self, inputs: Inputs, rows: Any, seen: Seen, truncate: int | None) -> None:
        """Raises ValueError if layers have taken the sequences of a batch for steps. Where it looks so, a batch of
        another size tells an axis of the batch from one that happened to be as long; what fails there tells nothing."""
        suspects = [i for i, (layer, given) in enumerate(seen) if misreads(layer, shape_of(given), len(rows))]
        if not suspects:
            return
        again: Seen = []
        more = np.resize(rows, len(rows) + 1)
        with np.errstate(all="ignore"), contextlib.suppress(Exception), no_traces(self):
            self._predicted(first_steps(inputs.batch(more), truncate), True, again)
        for i in suspects:
            layer, shape = seen[i][0], shape_of(seen[i][1])
            if i < len(again) and again[i][0] is layer and misreads(layer, shape_of(again[i][1]), len(more)):
                raise ValueError(
                    f"x lacks an axis: {len(rows)} of it reach {layer!r} as {shape}, where it does not take them for a "
                    f"batch. x has {' and '.join(part.shown for part in inputs.parts)}"
                ) from None

    def _converts_to(self, inputs: Inputs) -> np.dtype[Any] | None:  # noqa: ARG002
        """The dtype in which what takes x first computes with it; None: it is not known."""
        return None

    def _check_values_of(self, inputs: Inputs) -> None:
        """Raises TypeError, ValueError or IndexError for values in x that what is known of the layers refuses."""

    _carries_states: ClassVar[bool] = False  # of its own, from call to call: batches keep their order

    def _batch_size_of(self, inputs: Inputs) -> int:
        """Of a model that carries states: how many sequences the next batch has to be."""
        return len(inputs)

    def _check_batches(self, inputs: Inputs, size: int) -> None:
        """Raises ValueError where batches of `size` do not go with the states that the model carries."""

    def _no_outputs(self, inputs: Inputs) -> Any:  # noqa: ARG002
        """The outputs for no inputs at all."""
        raise ValueError("x holds no sequences, from which outputs could be known")
