"""`Model`: networks written as plain Python."""

from __future__ import annotations

import abc
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .._active import ACTIVE
from .._arrays import Array
from .._interrupts import Uninterrupted
from ..files import weights
from ..graph.recording import Run
from ..graph.structure import leaves, mapped
from ..graph.values import Value
from ..layers.layer import Layer
from ..layers.parameters import Params
from .gradients import Form, ModelBackward, Tape, check_used, entered
from .naming import named_layers


class Model(Layer):
    """A network as a class: layers as attributes, and `run`, which says in plain Python how they are joined.

    Layers are found in attributes, in lists, tuples and dicts of them, and in models and containers among them.
    Parameters are named by the way to them: `lstm.weight_ih_l0`, `heads.0.bias`. A layer that several ways lead to is
    one layer, with the name that was set first; the gradients of its uses add up.

    >>> class Captioner(pylstm.Model):
    ...     def __init__(self, image_size, words, size):
    ...         self.start, self.embed = pylstm.Linear(image_size, size), pylstm.Embedding(words, size)
    ...         self.lstm = pylstm.LSTM(size, size, batch_first=True)
    ...         self.head = pylstm.Linear(size, words)
    ...     def run(self, image, words, lengths=None):                # (N, image_size) floats, (N, T) integers
    ...         h = self.start(image).tanh()
    ...         y, _ = self.lstm(self.embed(words), (h[None], h[None] * 0), lengths=lengths)
    ...         return self.head(y)                                   # (N, T, words)
    >>> net = Captioner(2048, 10000, 256)
    >>> logits = net(image, words, lengths=lengths)                   # inference: arrays, nothing is kept
    >>> logits, backward = net.forward(image, words, lengths=lengths) # training: dropout is active
    >>> (d_image, _), d_params = backward(d_logits)
    """

    _holds_layers = True
    _asks = True

    def __init__(self) -> None:
        """Nothing: a model is what its attributes are."""

    @abc.abstractmethod
    def run(self, *inputs: Any, **kwargs: Any) -> Any:
        """What the model computes: yours to write. The same code serves training and inference.

        inputs: float arrays come as `Value`s, integers and bools as plain arrays, tuples and dicts of arrays as such of
        those; all else, and what is given by name (`lengths=`), as it is. A recurrent layer returns (output, state),
        both values, and takes both. Returns a value, or values in tuples, lists and dicts.
        """

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """Inference: what `run` returns, as plain arrays. Dropout does nothing, and nothing is kept.

        Inside of another model's run: a part of that run.
        """
        outer = ACTIVE.get()
        if outer is not None:
            return self.run(*entered(outer, inputs, differentiate=False), **_given(kwargs))
        run = Run(recording=False)
        arrays = entered(run, inputs, differentiate=False)
        outputs = run.within(self.run, *arrays, **_given(kwargs))
        own = [value._data for value in _values(arrays)]

        def give(output: Any) -> Any:
            if not isinstance(output, Value):
                return output
            data = output._data
            return data.copy() if any(np.may_share_memory(data, array) for array in own) else data

        return mapped(give, outputs)

    def forward(self, *inputs: Any, need_dx: bool = True, **kwargs: Any) -> tuple[Any, ModelBackward]:
        """Training: (outputs, backward), with dropout.

        `backward(d_outputs)` takes the gradients of a loss to the outputs, in the form that `run` returned them in
        (None for zero, for any part of it), and returns (d_inputs, d_params). d_inputs: the gradient to the input, of
        several a tuple of them; None for integers and with need_dx=False. d_params: name -> gradient, the keys of
        `params`, a `RowGradient` for an embedding.

        What was recorded is freed as the gradients are computed: `backward` runs once, or again after
        `backward(d_outputs, retain_graph=True)`. The inputs are copied, and may be written to at once.

        Raises ValueError if `run` calls a layer with parameters that is not found in the model.
        """
        run = Run(recording=True)
        arrays = entered(run, inputs, differentiate=bool(need_dx))
        outputs = run.within(self.run, *arrays, **_given(kwargs))
        names = named_layers(self)
        check_used(run, names, "the model")

        def give(output: Any) -> Any:
            if not isinstance(output, Value):
                return output
            return output._data.copy() if output._held else output._data

        given = mapped(give, outputs)
        forms = mapped(lambda output: Form(output) if isinstance(output, Value) else None, outputs)
        places = mapped(lambda value: value._slot if isinstance(value, Value) else None, arrays)
        return given, ModelBackward(Tape(run, names), places, forms)

    # ---- parameters --------------------------------------------------------------------------------------------------

    @property
    def params(self) -> Mapping[str, Array]:
        """Name -> array, both read-only: replace values with `load_state_dict`. Every look-up gives a new view."""
        return Params(
            {prefix + name: value for prefix, layer in named_layers(self) for name, value in layer.params.items()}
        )

    @property
    def _param_shapes(self) -> dict[str, tuple[int, ...]]:  # type: ignore[override]
        return {prefix + n: shape for prefix, layer in named_layers(self) for n, shape in layer._param_shapes.items()}

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        """Of the parameters; float64 if there are both."""
        kinds = {layer.dtype for _, layer in named_layers(self) if layer._param_shapes}
        return np.result_type(*kinds) if kinds else np.dtype(np.float32)

    def _split(self, values: Mapping[str, Any]) -> list[tuple[str, Any, dict[str, Any]]]:
        """(prefix, layer, what `values` have for it under the layer's own names) for the layers that are named."""
        split = []
        for prefix, layer in named_layers(self):
            own = {name: values[prefix + name] for name in layer._param_shapes if prefix + name in values}
            if own:
                split.append((prefix, layer, own))
        return split

    def _prepared(self, arrays: Mapping[str, Array]) -> Callable[[], None]:
        puts = [
            layer._prepared({name: np.asarray(value, layer.dtype) for name, value in own.items()})
            for _, layer, own in self._split(arrays)
        ]

        def put() -> None:
            with Uninterrupted():
                for one in puts:
                    one()

        return put

    def _begin_update(self, names: list[str]) -> dict[str, Array]:
        return {
            prefix + name: value
            for prefix, layer, own in self._split(dict.fromkeys(names))
            for name, value in layer._begin_update(list(own)).items()
        }

    def _end_update(self, arrays: dict[str, Array]) -> None:
        for _, layer, own in self._split(arrays):
            layer._end_update(own)

    # ---- randomness --------------------------------------------------------------------------------------------------

    def _layers(self) -> list[Layer]:
        return [layer for _, layer in named_layers(self)]

    def _reseed(self, seed: np.random.SeedSequence) -> None:
        layers = self._layers()
        for layer, own in zip(layers, seed.spawn(len(layers)), strict=True):
            layer._reseed(own)

    def _seed_dropout(self, seed: np.random.SeedSequence) -> None:
        layers = self._layers()
        for layer, own in zip(layers, seed.spawn(len(layers)), strict=True):
            layer._seed_dropout(own)

    def _dropout_state(self) -> list[int]:
        return [number for layer in self._layers() for number in layer._dropout_state()]

    def _set_dropout_state(self, state: list[int]) -> None:
        if len(state) != len(self._dropout_state()):
            raise ValueError("the state of dropout is of another model")
        for layer in self._layers():
            count = len(layer._dropout_state())
            layer._set_dropout_state(state[:count])
            state = state[count:]

    # ---- the object --------------------------------------------------------------------------------------------------

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write the parameters to one file: .safetensors (an optional extra) or .npz; name -> array, as `state_dict()`.

        Written whole or not at all. The file holds no structure: make the model by its class and `load_weights` it.
        """
        weights.save(self, path)

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Replace all parameters by those of a file of `save_weights`; all of them, or none if anything does not fit.

        Raises ModelFileError (a ValueError) for a file that is damaged or no such file, ValueError naming what does not
        fit this model, and OSError where the file cannot be read. Never executes anything.
        """
        weights.load(self, path)

    def __repr__(self) -> str:
        parts = [f"{prefix[:-1]}={layer!r}" for prefix, layer in named_layers(self)]
        return f"{type(self).__name__}({', '.join(parts)})"


def _given(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Without `lengths=None`, which a `run` without lengths need not take."""
    if "lengths" in kwargs and kwargs["lengths"] is None:
        del kwargs["lengths"]
    return kwargs


def _values(structure: Any) -> list[Value]:
    return [leaf for leaf in leaves(structure) if isinstance(leaf, Value)]
