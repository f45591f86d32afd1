"""A model that computes what the graph of a Keras file says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...files.keras.config import Config, Ref
from ...graph.recording import Run
from ..gradients import entered
from ..model import Model
from .graph import Graph, refs_of
from .step import Step, Tensor


class KerasModel(Model):
    """The graph of a Keras file that is no chain of our layers, as `from_keras` gives it.

    It is called, trained and asked for predictions as every `Model`; `to_keras` writes it. Masks (Embedding with
    mask_zero, Masking) go through it as in Keras: recurrent layers leave masked steps out, wherever they are.
    Parameters have the names of the layers in the file: `layers.encoder.weight_ih_l0`.

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
        found = iter(self._graph.run(_tensors(given, mask)))
        return _as_given(self._graph.config.outputs, found)

    def _refill(self, other: KerasModel) -> None:
        """Take the weights, and the statistics, of another of the same graph."""
        self.load_state_dict(other.state_dict())
        _copy_statistics(self._graph, other._graph)

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


def _copy_statistics(graph: Graph, other: Graph) -> None:
    for name, step in graph.steps.items():
        if isinstance(step, Graph):
            _copy_statistics(step, other.steps[name])
        elif isinstance(step, Step):
            step.take_statistics(other.steps[name])


def _as_given(form: Any, found: Iterator[Tensor]) -> Any:
    if isinstance(form, Ref):
        return next(found).value
    if isinstance(form, dict):
        return {key: _as_given(one, found) for key, one in form.items()}
    return tuple(_as_given(one, found) for one in form)
