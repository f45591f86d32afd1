"""A model that computes what the graph of a Keras file says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ... import _checks
from ..._active import ACTIVE
from ...files.keras.config import Ref
from ...graph.recording import Run
from ...training.batches import BatchInputs
from ...training.data import Batch, Inputs
from ...training.splitting import Data
from ..gradients import entered
from ..model import Model
from .graph import Graph, can_be_whole, refs_of
from .inputs import arranged, first_masked, in_order, names_of, shape_of, tensors, zeros_like
from .states import States
from .step import Tensor


class KerasModel(Model):
    """The graph of a Keras file that is no chain of our layers, as `from_keras` gives it.

    It is called, trained and asked for predictions as every `Model`; `to_keras` writes it. Masks (Embedding with
    mask_zero, Masking) go through it as in Keras: recurrent layers leave masked steps out, wherever they are.
    Parameters have the names of the layers in the file: `layers.encoder.weight_ih_l0`.

    Where layers of it are `stateful`, a call of any kind (predict, evaluate, the batches of fit, in training and in
    validation) begins with the states that the one before it has left, until `reset_states`; batches keep their order
    and are all of one size. Copies, pickles and files hold no states. Of calls in several threads each begins with
    states that some call has left as a whole, and the last one's stay: what belongs together belongs into one thread.

    BatchNormalization normalises by the batch in training, and its moving mean and variance, which are among the
    parameters, follow it; not where the layer is frozen.

    Attributes:
        layers: the layers of the library that it computes with, by the names of the file.
        inputs: the names of its inputs, in their order.
        outputs: the names of the layers that give its outputs.
        metadata: a dict with "keras_version", "name" and "layers", the names and classes of the file's layers.
    """

    layers: dict[str, Any]

    def __init__(self, graph: Graph, source: Any, legacy: bool) -> None:
        self._graph, self._source, self._legacy = graph, source, legacy
        self.layers = graph.layers
        self._states = States(_said_batch_size(graph))

    @property
    def stateful(self) -> bool:
        """Whether layers of it are stateful, and a call goes on from the states that the one before has left."""
        return self._graph.stateful

    def reset_states(self, batch_size: int | None = None) -> None:
        """Begin anew: the states of all stateful layers are zero in the next call.

        Args:
            batch_size: of how many sequences the calls to come are; None: of as many as the file says.

        Raises TypeError or ValueError for what is no number of sequences, and TypeError inside of a model's run.
        """
        if ACTIVE.get() is not None:
            raise TypeError("states cannot be reset inside of a model's run, which goes on from them")
        size = None if batch_size is None else _checks.integer("batch_size", batch_size)
        self._states = States(_said_batch_size(self._graph) if size is None else size)

    @property
    def inputs(self) -> list[str]:
        return names_of(self._graph.config)

    @property
    def outputs(self) -> list[str]:
        return [ref.layer for ref in refs_of(self._graph.config.outputs)]

    @property
    def keeps_time(self) -> bool | None:  # type: ignore[override]
        """Whether the output has a step for each of the first input's, so that its mask comes out."""
        if "_keeps" not in self.__dict__:
            with np.errstate(all="ignore"):  # of zeros, which may all be masked
                self._keeps = self._found_out()
        return self._keeps

    def _found_out(self) -> bool | None:
        """By a run over a few zeros, where the file says how large the inputs are."""
        config = self._graph.config
        if not isinstance(config.outputs, Ref):
            return None
        arrays = [zeros_like(config.layers[name], config) for name in self.inputs]
        if any(one is None for one in arrays) or arrays[0].ndim < 2:
            return None
        run = Run(recording=False)
        inputs = entered(run, tuple(arrays), differentiate=False)
        mask = np.ones(arrays[0].shape[:2], bool)
        try:
            (found,) = run.within(lambda *given: self._graph.run(first_masked(given, mask)), *inputs)
        except (ValueError, TypeError, IndexError):
            return None
        if found.mask is not None and found.mask.shape == mask.shape:
            return True
        return False if found.value.ndim < 3 else None

    def run(self, *inputs: Any, lengths: ArrayLike | None = None) -> Any:
        """What the graph computes.

        Args:
            inputs: one array for each input of the file, in its order; or one dict of them by name.
            lengths: (N,): how many steps of the first input count, the others are masked; beside what masks itself. Of
                several inputs also a tuple of such, or a dict by name, with None for one without.

        Returns:
            The output, of several a tuple, or the dict that the file has.

        Raises TypeError or ValueError, naming the input, for what has another form than the file says, and for lengths.
        """
        config, states = self._graph.config, self._states.copy()
        found = iter(self._graph.run(tensors(in_order(inputs, self.inputs), config, lengths), states))
        made = _as_given(config.outputs, found)
        if states.arrays:
            self._states = states  # in one step: another thread sees these or those of before
        return made

    @property
    def _saved_by(self) -> str:
        """What an error says that `save` raises."""
        if not can_be_whole(self._graph.config):
            end, more = "model.weights.h5", ", for the same model in Keras"
        else:
            end, more = ("model.h5" if self._legacy else "model.keras"), ", which from_keras and Keras read"
        return (
            "a KerasModel goes into a file of Keras, and not into one of pylstm's own: pylstm.to_keras(model, "
            f'"{end}"){more}; model.save_weights("weights.npz") writes the weights alone'
        )

    # ---- states that go on -------------------------------------------------------------------------------------------

    @property
    def _carries_states(self) -> bool:  # type: ignore[override]
        return self.stateful

    def _batch_size_of(self, inputs: Inputs) -> int:
        count = self._states.count
        return len(inputs) if count is None else count

    def _check_batches(self, inputs: Inputs, size: int) -> None:
        if not self.stateful or isinstance(inputs, BatchInputs):
            return
        count = self._states.count
        if count is not None and count != size:
            raise ValueError(
                f"the model is stateful, and its states are those of {count} sequences: batch_size must be {count}, "
                f"got {size}. model.reset_states(batch_size={size}) begins anew with batches of {size}"
            )
        if len(inputs) % size:
            raise ValueError(
                f"the model is stateful, and x holds {len(inputs)} sequences, which is no multiple of batch_size, "
                f"{size}: each goes on where the one in its place in the batch before has ended"
            )

    def _beside(self) -> Any:
        return self._states, super()._beside()

    def _set_beside(self, state: Any) -> None:
        self._states, rest = state
        super()._set_beside(rest)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()  # copies begin anew, as they do in Keras
        state["attributes"] = {**state["attributes"], "_states": States(_said_batch_size(self._graph))}
        return state

    # ---- inputs ------------------------------------------------------------------------------------------------------

    def _arranged(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (arranged(inputs[0], self.inputs),) if len(inputs) == 1 else inputs

    def _as_inputs(self, x: Any) -> Any:
        return arranged(x, self.inputs)

    def _data(self, data: Data) -> Data:
        return data._replace(y=arranged(data.y, self.outputs))

    def _arguments(self, batch: Batch) -> tuple[Any, ...]:
        return (batch.named,) if batch.named else batch.inputs

    def _lengths_of(self, batch: Batch) -> Any:
        if batch.place is None or batch.lengths is None:
            return batch.lengths
        return {batch.place if isinstance(batch.place, str) else self.inputs[batch.place]: batch.lengths}

    def _no_outputs(self, inputs: Inputs) -> Any:
        if self.stateful:
            return super()._no_outputs(inputs)
        return self._predicted(inputs.batch(np.arange(0)))


def _said_batch_size(graph: Graph) -> int | None:
    """Of a stateful model, as its file says."""
    if graph.stateful:
        for name in names_of(graph.config):
            shape = shape_of(graph.config.layers[name], graph.config)
            if shape is not None and shape[0] is not None:
                return shape[0]
    return None


def _as_given(form: Any, found: Iterator[Tensor]) -> Any:
    if isinstance(form, Ref):
        return next(found).value
    if isinstance(form, dict):
        return {key: _as_given(one, found) for key, one in form.items()}
    return tuple(_as_given(one, found) for one in form)
