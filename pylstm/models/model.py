"""`Model`: networks written as plain Python."""

from __future__ import annotations

import abc
import inspect
import os
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping, Set
from typing import Any, BinaryIO

import numpy as np

from .._active import ACTIVE, refuse_in_training
from .._checks import kind
from ..files import weights
from ..graph.deferred import Deferred, DeferringRun
from ..graph.recording import Run
from ..graph.structure import leaves, mapped
from ..graph.values import Value
from ..layers.composite import Composite
from ..layers.layer import Layer
from ..training.data import Batch
from .gradients import Form, ModelBackward, Tape, check_used, entered
from .naming import named_layers
from .trainable import Trainable
from .watching import Seen, watching


class Model(Composite, Trainable):
    """A network as a class: layers as attributes, and `run`, which says in plain Python how they are joined.

    Layers are found in attributes, in lists, tuples and dicts of them, and in models and containers among them.
    Parameters are named by the way to them: `lstm.weight_ih_l0`, `heads.0.bias`. A layer that several ways lead to is
    one layer, with the name that was set first; the gradients of its uses add up.

    >>> import numpy as np, pylstm
    >>> class Captioner(pylstm.Model):
    ...     def __init__(self, image_size, words, size):
    ...         self.start, self.embed = pylstm.Linear(image_size, size), pylstm.Embedding(words, size)
    ...         self.lstm = pylstm.LSTM(size, size, batch_first=True)
    ...         self.head = pylstm.Linear(size, words)
    ...
    ...     def run(self, image, words, lengths=None):      # (N, image_size) floats, (N, T) integers
    ...         h = self.start(image).tanh()
    ...         y, _ = self.lstm(self.embed(words), (h[None], h[None] * 0), lengths=lengths)
    ...         return self.head(y)                                   # (N, T, words)
    >>> net = Captioner(6, 10, 4)
    >>> image, words, lengths = np.ones((2, 6)), [[1, 2, 3], [4, 5, 0]], [3, 2]
    >>> logits = net(image, words, lengths=lengths)                   # inference: arrays, nothing is kept
    >>> logits, backward = net.forward(image, words, lengths=lengths) # training: dropout is active
    >>> (d_image, _), d_params = backward(np.ones_like(logits))
    >>> logits.shape, d_image.shape, d_params["head.bias"].shape
    ((2, 3, 10), (2, 6), (10,))
    """

    _holds_layers = True
    _inline = True
    # Whether an output has a step for each of the input's, whose lengths are then its own. To be said in a class where
    # sequences of differing length are predicted, or padded targets given; `output_lengths` where it is neither.
    keeps_time = None

    def __init__(self) -> None:
        """Nothing: a model is what its attributes are."""

    @abc.abstractmethod
    def run(self, *inputs: Any, **kwargs: Any) -> Any:
        """What the model computes: yours to write. The same code serves training and inference.

        Args:
            inputs: arrays of floats come as values (`Value`), integers and bools as plain arrays, tuples and dicts of
                arrays as tuples and dicts of these. Everything else comes as it is, and so does what is given by name
                (`lengths=`).

        Returns:
            A value, or values in tuples, lists and dicts. Inside, a recurrent layer returns (output, state), both
            values, and takes both.
        """

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """Inference: what `run` returns, as plain arrays. Dropout does nothing, and nothing is kept.

        Inside of another model's run it is a part of that run.

        Args:
            inputs: as `run` takes them: arrays, or tuples, lists and dicts of arrays.
            kwargs: as `run` takes them.

        Raises what `run` raises; TypeError for an operation on values that is not known, naming those that are.
        """
        outer = ACTIVE.get()
        if outer is not None:
            return self.run(*entered(outer, self._arranged(inputs), differentiate=False), **self._given(kwargs))
        return self._inferred(Run(recording=False), inputs, kwargs)

    def _inferred(self, run: Run, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        arrays = entered(run, self._arranged(inputs), differentiate=False)
        outputs = run.within(self.run, *arrays, **self._given(kwargs))
        if type(outputs) is Deferred:
            return outputs.linear_outputs
        own = [value._data for value in _values(arrays)]

        def give(output: Any) -> Any:
            if not isinstance(output, Value):
                return _plain(output)
            data = output._data
            return data.copy() if any(np.may_share_memory(data, array) for array in own) else data

        return mapped(give, outputs)

    def forward(self, *inputs: Any, need_dx: bool = True, **kwargs: Any) -> tuple[Any, ModelBackward]:
        """Training, with dropout.

        Args:
            inputs: as in a call. They are copied, and may be written to at once.
            need_dx: False leaves out the gradients to the inputs.
            kwargs: as in a call.

        Returns:
            The tuple (outputs, backward). `backward(d_outputs)` takes the gradients of a loss to the outputs, in the
            form that `run` returned them in (None for zero, for any part of it), and returns (d_inputs, d_params): the
            gradient to the input, of several a tuple of them, None for integers and with need_dx=False; and name ->
            gradient under the keys of `params`, a `RowGradient` for an embedding. What was recorded is freed as the
            gradients are computed: `backward` runs once, or again after `backward(d_outputs, retain_graph=True)`.

        Raises ValueError if `run` calls a layer with parameters that is not found in the model, and as a call does.
        """
        return self._recorded(Run(recording=True), inputs, need_dx, kwargs)  # type: ignore[return-value]

    def _recorded(
        self, run: Run, inputs: tuple[Any, ...], need_dx: bool, kwargs: dict[str, Any]
    ) -> tuple[Any, Callable[..., tuple[Any, dict[str, Any]]]]:
        if ACTIVE.get() is not None:
            refuse_in_training(self, "forward")
        arrays = entered(run, self._arranged(inputs), differentiate=bool(need_dx))
        outputs = run.within(self.run, *arrays, **self._given(kwargs))
        names = self._parts()
        check_used(run, names, "the model")
        if any(value._run is not run and value._slot is not None for value in _values(outputs)):
            raise RuntimeError(
                f"{type(self).__name__}.run returned a value of a run that is over, and its gradient would be lost: "
                "keep value.numpy()"
            )
        if type(outputs) is Deferred:
            place: Any = outputs._slot
            tape = Tape(run, names)
            return outputs.linear_outputs, lambda d: (None, tape.params(tape.sweep({place: d}, keep=False)))

        def give(output: Any) -> Any:
            if not isinstance(output, Value):
                return _plain(output)
            return output._data.copy() if output._held else output._data

        given = mapped(give, outputs)
        forms = mapped(lambda output: Form(output) if isinstance(output, Value) else None, outputs)
        places = mapped(lambda value: value._slot if isinstance(value, Value) else None, arrays)
        return given, ModelBackward(Tape(run, names), places, forms)  # last: what nobody had looked at is in it, too

    def vjp(self, *inputs: Any, **options: Any) -> tuple[tuple[Any, ...], Callable[..., Any]]:
        outputs, run_back = self.forward(*inputs, **options)
        several = isinstance(outputs, tuple)

        def backward(*d_outputs: Any, into: Any = None) -> tuple[tuple[Any, ...], dict[str, Any]]:  # noqa: ARG001
            d_inputs, d_params = run_back(d_outputs if several else d_outputs[0], retain_graph=True)
            return (d_inputs if len(inputs) > 1 else (d_inputs,)), d_params

        return (outputs if several else (outputs,)), backward

    # ---- as a model to train -----------------------------------------------------------------------------------------

    def _predicted(self, batch: Batch, deferred: bool = False, seen: Seen | None = None) -> Any:
        if (deferred or seen is not None) and self._runs(_CALL) and ACTIVE.get() is None:
            run: Run = DeferringRun(recording=False) if seen is None else watching(seen, deferred)
            return self._inferred(run, self._arguments(batch), {"lengths": self._lengths_of(batch)})
        return self(*self._arguments(batch), lengths=self._lengths_of(batch))

    def _arranged(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The inputs of a call, where a class takes them in other forms, too."""
        return inputs

    def _lengths_of(self, batch: Batch) -> Any:
        """Those of a batch, as `run` takes them."""
        return batch.lengths

    def _arguments(self, batch: Batch) -> tuple[Any, ...]:
        """The inputs of a batch in the order in which `run` takes them."""
        if not batch.named:
            return batch.inputs
        parameters = _parameters(self.run)
        left, found = dict(batch.named), []
        for name, argument in parameters.items():
            if not left or argument.kind not in (argument.POSITIONAL_ONLY, argument.POSITIONAL_OR_KEYWORD):
                break
            if name not in left and argument.default is argument.empty:
                raise ValueError(f"x lacks {name!r}, which {type(self).__name__}.run takes")
            found.append(left.pop(name, argument.default))
        if left:
            raise ValueError(f"x has {', '.join(map(repr, left))}, which {type(self).__name__}.run does not take")
        return tuple(found)

    def _given(self, options: dict[str, Any]) -> dict[str, Any]:
        """What was given by name, without `lengths=None`, which a `run` without lengths need not take."""
        if "lengths" in options:
            if options["lengths"] is None:
                del options["lengths"]
            elif "lengths" not in (parameters := _parameters(self.run)) and not any(
                argument.kind is argument.VAR_KEYWORD for argument in parameters.values()
            ):
                raise TypeError(
                    f"x has lengths, and {type(self).__name__}.run takes no lengths: write "
                    "run(self, .., lengths=None), and hand them to the layers"
                )
        return options

    def _trained(
        self,
        batch: Batch,
        state: Any,  # noqa: ARG002
        deferred: bool = False,
    ) -> tuple[Any, Callable[[Any], dict[str, Any]], Any]:
        inputs = self._arguments(batch)
        if deferred and self._runs(_FORWARD):
            run = DeferringRun(recording=True)
            outputs, run_back = self._recorded(run, inputs, False, {"lengths": self._lengths_of(batch)})
        else:
            outputs, run_back = self.forward(*inputs, lengths=self._lengths_of(batch), need_dx=False)
        return outputs, lambda d_outputs: run_back(d_outputs)[1], None

    def _says_shape(self) -> bool:
        return type(self).output_shape is not Layer.output_shape

    # ---- parameters --------------------------------------------------------------------------------------------------

    def _parts(self) -> list[tuple[str, Layer]]:
        return named_layers(self)

    @property
    def _param_shapes(self) -> dict[str, tuple[int, ...]]:  # type: ignore[override]
        return {prefix + n: shape for prefix, layer in self._parts() for n, shape in layer._param_shapes.items()}

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        """Of the parameters; float64 if there are both."""
        kinds = {layer.dtype for _, layer in self._parts() if layer._param_shapes}
        return np.result_type(*kinds) if kinds else np.dtype(np.float32)

    def _check_carry(self, option: str) -> None:
        for prefix, layer in named_layers(self):
            if layer.returns_state:
                raise ValueError(
                    f"{option} cannot carry a state through {prefix[:-1]} in {type(self).__name__}: a model's run "
                    "begins its states anew; put the layer into the Sequential itself"
                )

    def _without_dropout(self) -> Layer:
        for prefix, layer in named_layers(self):
            if layer._without_dropout() is not layer:
                raise ValueError(
                    f"the dropout of {prefix[:-1]} in {type(self).__name__} cannot be turned off for one look: set its "
                    "probability to 0 in a copy of the model"
                )
        return self

    # ---- the object --------------------------------------------------------------------------------------------------

    def save_weights(self, path: str | os.PathLike[str] | BinaryIO, *, format: str | None = None) -> None:  # noqa: A002
        """Write the parameters to one file: .safetensors (an optional extra) or .npz; name -> array, as `state_dict()`.

        Written whole or not at all. The file holds no structure: make the model by its class and `load_weights` it.
        A path or file object, and its format, as `save` takes them.
        """
        weights.save(self, path, format)

    def load_weights(self, path: str | os.PathLike[str] | BinaryIO, *, format: str | None = None) -> None:  # noqa: A002
        """Replace all parameters by those of a file of `save_weights`; all of them, or none if anything does not fit.

        Raises ModelFileError (a ValueError) for a file that is damaged or no such file, ValueError naming what does not
        fit this model, and OSError where the file cannot be read. Never executes anything. A path or file object, and
        its format, as `pylstm.load` takes them.
        """
        weights.load(self, path, format)

    def __repr__(self) -> str:
        parts = [f"{prefix[:-1]}={layer!r}" for prefix, layer in named_layers(self)]
        return f"{type(self).__name__}({', '.join(parts)})"


def _plain(output: Any) -> Any:
    """An output that is no value, as it is, unless there may be values in it that nobody would see."""
    if isinstance(output, (Awaitable, Iterator, Set)):
        raise TypeError(f"run must return values, in tuples, lists and dicts if they are several, got {kind(output)}")
    return output


_PARAMETERS: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def _parameters(run: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Of a model's `run`, which training asks for with every batch; looking takes as long as a small layer."""
    function = getattr(run, "__func__", None)
    if function is None or (found := _PARAMETERS.get(function)) is None:
        found = inspect.signature(run).parameters
        if function is not None:
            _PARAMETERS[function] = found
    return found


def _values(structure: Any) -> list[Value]:
    return [leaf for leaf in leaves(structure) if isinstance(leaf, Value)]


_CALL: dict[str, Any] = {"__call__": Model.__call__}  # as written here: what else is there is somebody's own
_FORWARD: dict[str, Any] = {"forward": Model.forward}
