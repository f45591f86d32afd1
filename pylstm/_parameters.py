"""What a layer is made of: its parameters and, of a recurrent one, its hyper-parameters; checked, copied, pickled."""

from __future__ import annotations

import abc
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from . import _arrays, _checks
from ._arrays import Array
from ._calls import Calls


class Params(Mapping[str, Array]):
    """Name -> array, both read-only. Every look-up gives a view of its own.

    An array's shape, strides and dtype can be set in place. Here that changes the one view at hand, and nothing that
    the layer or anybody else sees. The arrays in `_arrays` are views, too (of `_arrays.sealed` memory): the views
    given out then have that memory's owner for a base, not what the layer reads.
    """

    __slots__ = ("_arrays",)
    __hash__ = None  # type: ignore[assignment]  # as every mapping that is compared by its content

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = dict(arrays)

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name].view()

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Mapping):
            return NotImplemented
        return self.keys() == other.keys() and all(np.array_equal(a, other[name]) for name, a in self._arrays.items())

    def __or__(self, other: object) -> dict[str, Any]:
        return {**self, **other} if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: object) -> dict[str, Any]:
        return {**other, **self} if isinstance(other, Mapping) else NotImplemented

    def copy(self) -> dict[str, Array]:
        """A dict of the same arrays."""
        return dict(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (dict(self),)

    def __repr__(self) -> str:
        return f"Params({dict(self)!r})"


def _restored(arrays: Mapping[str, Array]) -> Params:
    return Params({name: _arrays.frozen(array) for name, array in arrays.items()})


class ParameterSet:
    """Named arrays of fixed shapes, all of one dtype: the part of a layer that training changes."""

    dtype: np.dtype[Any]
    _param_shapes: dict[str, tuple[int, ...]]
    _params: Params

    def _parameters_changed(self) -> None:
        """Called whenever `params` holds other arrays than before: drop what was derived from the old ones."""

    @property
    def params(self) -> Mapping[str, Array]:
        """Name -> array, both read-only: replace values with `load_state_dict`. Every look-up gives a new view."""
        return self._params

    @property
    def num_parameters(self) -> int:
        """How many numbers the parameters hold."""
        return sum(math.prod(shape) for shape in self._param_shapes.values())

    def state_dict(self) -> dict[str, Array]:
        """Name -> writeable copy of the parameter."""
        return {name: value.copy() for name, value in self.params.items()}

    def load_state_dict(self, state_dict: Mapping[str, ArrayLike]) -> None:
        """Replace every parameter: all of them, or none if anything does not fit.

        Takes whatever `np.asarray` takes (arrays, CPU tensors of PyTorch, lists), under exactly the names and shapes
        of `params`, and converts it to the layer's dtype. Arrays of an earlier `params` keep their values.

        Raises ValueError listing missing names, unexpected names and wrong shapes, TypeError for other dtypes.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"state_dict must be a mapping of names to arrays, got {_checks.kind(state_dict)}")
        given = {name: state_dict[name] for name in self._param_shapes if name in state_dict}
        arrays = {name: _arrays.real_array(name, value, self.dtype) for name, value in given.items()}
        unexpected = {str(name): () for name in state_dict if name not in given}
        self._check_fit({name: array.shape for name, array in arrays.items()} | unexpected)
        self._set_params(arrays)

    def _check_fit(self, given: Mapping[str, tuple[int, ...]]) -> None:
        """Raises ValueError unless these are the names and shapes of all parameters."""
        shapes = self._param_shapes
        faults = []
        if missing := [name for name in shapes if name not in given]:
            faults.append("missing " + ", ".join(missing))
        if unexpected := [name for name in given if name not in shapes]:
            faults.append("unexpected " + ", ".join(unexpected))
        for name, shape in given.items():
            if name in shapes and shape != shapes[name]:
                faults.append(f"{name} must have shape {shapes[name]}, got {shape}")
        if faults:
            raise ValueError(f"state_dict does not fit {self!r}: " + "; ".join(faults))

    def _set_params(self, arrays: Mapping[str, Array]) -> None:
        self._prepared(arrays)()

    def _prepared(self, arrays: Mapping[str, Array]) -> Callable[[], None]:
        """A function that sets these parameters, for which all memory has been taken: several layers change together,
        or none."""
        # new arrays every time: a `backward` that is still held keeps the weights of its own forward pass
        params = Params({name: _arrays.frozen(arrays[name]) for name in self._param_shapes})

        def put() -> None:
            self._params = params
            self._parameters_changed()

        return put

    # ---- how training changes parameters -------------------------------------------------------------------------

    def _begin_update(self, names: list[str]) -> dict[str, Array]:
        """Writeable arrays that hold these parameters' values, for `_end_update`."""
        begun = {}
        for name in names:
            value = self.params[name]
            begun[name] = _arrays.room(value.shape, value.dtype)
            begun[name][...] = value
        return begun

    def _end_update(self, arrays: dict[str, Array]) -> None:
        """Take over what `_begin_update` gave out, without a copy: nobody else holds it."""
        sealed = {name: _arrays.sealed(array) for name, array in arrays.items()}
        held: Mapping[str, Array] = getattr(self._params, "_arrays", self._params)  # a user's layer may have a dict
        self._params = Params({**held, **sealed})
        self._parameters_changed()


class Parameters(ParameterSet, abc.ABC):
    """Hyper-parameters and parameters of a recurrent layer.

    Attributes (fixed once the layer is made): input_size, hidden_size, num_layers, bias, batch_first, dropout,
    bidirectional, recurrent_bias, dtype; num_directions (1 or 2); output_size (of one direction).

    Parameters of layer k have PyTorch's names, order and shapes (G gates of H hidden units, S = output_size):
    weight_ih_l{k} (G·H, I), weight_hh_l{k} (G·H, S), bias_ih_l{k} and bias_hh_l{k} (G·H,), for an LSTM with projection
    weight_hr_l{k} (S, H); the reverse direction has the suffix `_reverse`. I is input_size in the first layer and
    num_directions·S in the others. `bias=False` has no bias, `recurrent_bias=False` no bias_hh.
    """

    _gates: ClassVar[int]
    _state_names: ClassVar[tuple[str, ...]] = ("h",)
    _config_names: ClassVar[tuple[str, ...]] = (  # the constructor's arguments, in the order `repr` shows them
        "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "recurrent_bias",
        "dtype",
    )  # fmt: skip

    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    recurrent_bias: bool
    num_directions: int
    output_size: int

    @abc.abstractmethod
    def _parameters_changed(self) -> None:
        """Called whenever `params` holds other arrays than before: drop what was derived from the old ones."""

    # ---- construction --------------------------------------------------------------------------------------------

    def _build(self, seed: object, **config: Any) -> None:
        """The whole constructor: check, draw the parameters, choose the dropout seed."""
        self._configure(**config)
        if self.dropout > 0 and self.num_layers == 1:
            warnings.warn(
                f"dropout acts on the output of every layer but the last, so dropout={self.dropout} "
                "has no effect with num_layers=1",
                UserWarning,
                stacklevel=3,
            )
        self._draw(_checks.seed_value("seed", seed))

    def _draw(self, seed: int | None) -> None:
        """Draw the parameters and the seed of dropout."""
        rng = np.random.default_rng(seed)
        bound = 1.0 / math.sqrt(self.hidden_size)
        # drawn in float64 whatever the dtype: layers that differ in dtype only start from the same values
        params = {name: rng.uniform(-bound, bound, shape) for name, shape in self._param_shapes.items()}
        self._dropout_seed = int(rng.integers(0, 2**64, dtype=np.uint64))
        self._dropout_calls = 0
        self._set_params({name: value.astype(self.dtype) for name, value in params.items()})

    def _configure(self, **config: Any) -> None:
        """Check and set the hyper-parameters and what follows from them."""
        values: dict[str, Any] = {
            "input_size": _checks.size("input_size", config["input_size"]),
            "hidden_size": _checks.size("hidden_size", config["hidden_size"]),
            "num_layers": _checks.integer("num_layers", config["num_layers"], maximum=_checks.MOST_LAYERS),
            "dropout": _checks.probability("dropout", config["dropout"]),
            "dtype": _checks.real_dtype("dtype", config["dtype"]),
        }
        for name in ("bias", "batch_first", "bidirectional", "recurrent_bias"):
            values[name] = _checks.flag(name, config[name])
        values.update(self._configure_cell({**config, **values}))
        values["num_directions"] = 2 if values["bidirectional"] else 1
        values["output_size"] = values.get("proj_size", 0) or values["hidden_size"]
        self.__dict__.update(values)
        self._state_sizes = (self.output_size, self.hidden_size)[: len(self._state_names)]
        self._param_shapes = self._shapes()
        _checks.parameter_bytes(self, self._param_shapes, self.dtype)

    @abc.abstractmethod
    def _configure_cell(self, config: dict[str, Any]) -> dict[str, Any]:
        """The hyper-parameters that only this cell has, checked; the others in `config` are so already."""

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        rows, size = self._gates * self.hidden_size, self.output_size
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(self.num_layers):
            width = self.input_size if layer == 0 else self.num_directions * size
            for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: self.num_directions]:
                shapes["weight_ih" + suffix] = (rows, width)
                shapes["weight_hh" + suffix] = (rows, size)
                if self.bias:
                    shapes["bias_ih" + suffix] = (rows,)
                if self.bias and self.recurrent_bias:
                    shapes["bias_hh" + suffix] = (rows,)
                if size != self.hidden_size:
                    shapes["weight_hr" + suffix] = (size, self.hidden_size)
        return shapes

    # ---- the object ----------------------------------------------------------------------------------------------

    @property
    def _dropout_calls(self) -> int:
        """How many masks of dropout were drawn from the seed."""
        return self._calls.present

    @_dropout_calls.setter
    def _dropout_calls(self, number: int) -> None:
        self._calls = Calls(number)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._config_names or name in ("num_directions", "output_size"):
            raise AttributeError(f"{name} is fixed when a layer is made")
        object.__setattr__(self, name, value)

    def _config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._config_names}

    def __repr__(self) -> str:
        parts = [str(self.input_size), str(self.hidden_size)]
        defaults = {
            "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False, "proj_size": 0,
            "reset_after": True, "nonlinearity": "tanh", "recurrent_bias": True, "dtype": np.dtype(np.float32),
        }  # fmt: skip
        for name, value in list(self._config().items())[2:]:
            if value != defaults[name]:
                parts.append(f"{name}={value if name == 'dtype' else repr(value)}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __getstate__(self) -> dict[str, Any]:
        return {
            "config": self._config(),
            "params": dict(self._params),
            "dropout": (self._dropout_seed, self._dropout_calls),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._configure(**state["config"])
        self._dropout_seed, self._dropout_calls = state["dropout"]
        self._set_params({name: value.astype(self.dtype, copy=False) for name, value in state["params"].items()})
