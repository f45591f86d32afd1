"""A model that computes what the graph of a Keras file says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ... import _checks
from ..._active import ACTIVE
from ...files.keras.config import Config, Ref
from ...graph.recording import Run
from ...training.batches import BatchInputs
from ...training.data import Inputs
from ..gradients import entered
from ..model import Model
from .graph import Graph, can_be_whole, refs_of
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
        """Whether layers of it are stateful: a call goes on from the states that the one before has left."""
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
        return [ref.layer for ref in refs_of(self._graph.config.inputs)]

    @property
    def outputs(self) -> list[str]:
        return [ref.layer for ref in refs_of(self._graph.config.outputs)]

    @property
    def keeps_time(self) -> bool | None:  # type: ignore[override]
        """Whether the output has a step for each of the first input's, so that its mask comes out."""
        if "_keeps" not in self.__dict__:
            self._keeps = self._found_out()
        return self._keeps

    def _found_out(self) -> bool | None:
        """By a run over a few zeros, where the file says how large the inputs are."""
        config = self._graph.config
        if not isinstance(config.outputs, Ref):
            return None
        arrays = [_zeros(config.layers[name]) for name in self.inputs]
        if any(one is None for one in arrays) or arrays[0].ndim < 2:
            return None
        run = Run(recording=False)
        inputs = entered(run, tuple(arrays), differentiate=False)
        mask = np.ones(arrays[0].shape[:2], bool)
        try:
            (found,) = run.within(lambda *given: self._graph.run(_tensors(given, mask)), *inputs)
        except (ValueError, TypeError, IndexError):
            return None
        if found.mask is not None and found.mask.shape == mask.shape:
            return True
        return False if found.value.ndim < 3 else None

    def run(self, *inputs: Any, lengths: ArrayLike | None = None) -> Any:
        """What the graph computes.

        Args:
            inputs: one array for each input of the file, in its order; or one dict of them by name.
            lengths: (N,): how many steps of the first input count, the others are masked; beside what masks itself.

        Returns:
            The output, of several a tuple, or the dict that the file has.
        """
        given = self._given_inputs(inputs)
        mask = None
        if lengths is not None:
            first = given[0]
            if first.ndim < 2:
                raise ValueError(f"lengths are for an input with steps, (N, T) or (N, T, F), got {first.shape}")
            mask = np.arange(first.shape[1]) < np.asarray(lengths)[:, None]
        states = self._states.copy()
        found = iter(self._graph.run(_tensors(given, mask), states))
        made = _as_given(self._graph.config.outputs, found)
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

    def _given_inputs(self, inputs: tuple[Any, ...]) -> list[Any]:
        names = self.inputs
        if len(inputs) == 1 and isinstance(inputs[0], dict):
            if set(inputs[0]) != set(names):
                raise ValueError(f"the inputs must be {', '.join(map(repr, names))}, got {', '.join(inputs[0])}")
            return [inputs[0][name] for name in names]
        if len(inputs) == 1 and isinstance(inputs[0], (tuple, list)) and len(names) > 1:
            inputs = tuple(inputs[0])
        if len(inputs) != len(names):
            raise ValueError(f"the model takes {len(names)} inputs ({', '.join(names)}), got {len(inputs)}")
        return list(inputs)


def _said_batch_size(graph: Graph) -> int | None:
    """Of a stateful model, as its file says."""
    if graph.stateful:
        for config in graph.config.layers.values():
            shape = config.get("batch_shape") or config.get("batch_input_shape")
            if isinstance(shape, list) and shape and type(shape[0]) is int and shape[0] > 0:
                return shape[0]
    return None


def _tensors(given: Any, mask: Any) -> list[Tensor]:
    """The inputs, the first one with a mask."""
    return [Tensor(one, mask if at == 0 else None) for at, one in enumerate(given)]


def _zeros(config: Config) -> Any:
    """An input as the file describes it, of 2 sequences, and of 3 steps where any number is taken."""
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    if not isinstance(shape, list) or not 2 <= len(shape) <= 8:
        return None
    sizes = [2, *(3 if n is None else n for n in shape[1:])]
    if any(type(n) is not int or not 0 < n < 2**20 for n in sizes) or math.prod(sizes) > 2**20:
        return None
    dtype = config.get("dtype")
    return np.zeros(sizes, np.int64 if isinstance(dtype, str) and "int" in dtype else np.float32)


def _as_given(form: Any, found: Iterator[Tensor]) -> Any:
    if isinstance(form, Ref):
        return next(found).value
    if isinstance(form, dict):
        return {key: _as_given(one, found) for key, one in form.items()}
    return tuple(_as_given(one, found) for one in form)
