"""Parameters of a layer: named read-only arrays that are replaced together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextvars import Context, copy_context
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _arrays, _checks
from .._active import ACTIVE
from .._arrays import Array
from .._interrupts import Uninterrupted


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
        if ACTIVE.get() is not None:
            raise TypeError(
                f"inside of a model's run {name!r} taken as an array would lose its gradient: call the layer. "
                "Several calls of one layer share its weights; layers of different classes (an embedding and the head) "
                "cannot. state_dict() gives copies, without a gradient; optimizers have weight decay of their own"
            )
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


def outside() -> Context:
    """A context that is in no model's run."""
    context = copy_context()
    context.run(ACTIVE.set, None)
    return context


class ParameterSet:
    """Named arrays of fixed shapes, all of one dtype: the part of a layer that training changes."""

    dtype: np.dtype[Any]
    _param_shapes: dict[str, tuple[int, ...]]
    _params: Params
    _learned: bool = False  # whether they were trained or loaded: what a model's seed leaves as it is
    _trainable: bool = True  # of a layer that is made of layers: that of each of them counts

    def _parameters_changed(self) -> None:
        """Called whenever `params` holds other arrays than before: drop what was derived from the old ones."""

    @property
    def params(self) -> Mapping[str, Array]:
        """The parameters, a mapping of names to arrays, both read-only. Every look-up gives a new view.

        Replace values with `load_state_dict`.
        """
        return self._params

    @property
    def num_parameters(self) -> int:
        """How many numbers the parameters hold."""
        return sum(math.prod(shape) for shape in self._param_shapes.values())

    @property
    def trainable(self) -> bool:
        """Whether training changes the parameters. Where it is False, no optimizer moves them or keeps a state for
        them, `backward` has no gradients of them, and what lies before the first trainable layer of a model needs no
        backward pass. All else is as before: the gradient to x, dropout, `load_state_dict`.

        Of a model, whether any of its layers is trainable; setting it sets all of them. Files and pickles keep it.
        Raises TypeError for what is no bool, and inside of a model's run.
        """
        return self._is_trainable()

    @trainable.setter
    def trainable(self, value: bool) -> None:
        wanted = _checks.flag("trainable", value)
        if ACTIVE.get() is not None:
            raise TypeError("trainable cannot be set inside of a model's run, whose gradients it decides on")
        self._set_trainable(wanted)

    def _is_trainable(self) -> bool:
        return self._trainable

    def _set_trainable(self, value: bool) -> None:
        self._trainable = value

    def _trained_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of the parameters that are not frozen."""
        return self._param_shapes if self._trainable else {}

    def _param_dtypes(self) -> dict[str, np.dtype[Any]]:
        """Name -> dtype of the parameter."""
        return dict.fromkeys(self._param_shapes, self.dtype)

    def state_dict(self) -> dict[str, Array]:
        """The parameters, name -> writeable copy."""
        return outside().run(lambda: {name: value.copy() for name, value in self.params.items()})

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
        put = self._prepared(arrays)
        with Uninterrupted():
            put()
            self._set_learned()

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

    def _set_learned(self) -> None:
        self._learned = True

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

    def _begin_update(self, names: list[str]) -> dict[str, tuple[Array, Array]]:
        """For each parameter a writeable array to fill, for `_end_update`, and the present values, both in C order: one
        and the same array where an update is in place."""
        begun = {}
        for name in names:
            value = np.asarray(self.params[name], order="C")
            begun[name] = _arrays.room(value.shape, value.dtype), value
        return begun

    def _end_update(self, arrays: dict[str, Array]) -> None:
        """Take over what `_begin_update` gave out, now filled, without a copy: nobody else holds it."""
        sealed = {name: _arrays.sealed(array) for name, array in arrays.items()}
        held: Mapping[str, Array] = getattr(self._params, "_arrays", self._params)  # a user's layer may have a dict
        self._params = Params({**held, **sealed})
        self._learned = True
        self._parameters_changed()
