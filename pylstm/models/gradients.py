"""Forward and backward passes of what is written as plain Python."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import _checks
from .._arrays import Array, array_of, float_array, real_array
from ..graph.nodes import Node
from ..graph.recording import Run
from ..graph.structure import leaves, mapped, paired
from ..graph.sweep import Sums, sweep, trained
from ..graph.values import Place, Slot, Value
from .naming import named_layers

Names = list[tuple[str, Any]]  # what stands before a layer's names of parameters, and the layer


def entered(run: Run, inputs: tuple[Any, ...], differentiate: bool) -> tuple[Any, ...]:
    """The inputs of a model as its `run` gets them: values of float arrays, plain arrays of integers and bools.

    Recorded runs get copies: callers may fill their arrays anew before the backward pass.
    """
    taken: list[Any] = []
    for k, given in enumerate(inputs):
        taken.append(_entered(run, given, differentiate, f"inputs[{k}]"))
    return tuple(taken)


def _entered(run: Run, given: Any, differentiate: bool, name: str) -> Any:
    if isinstance(given, Value):
        if given._run is not run:
            raise TypeError(
                f"{name} is a value of another run: gradients of gradients are not there; use value.numpy()"
            )
        return given
    if isinstance(given, tuple):
        items = [_entered(run, item, differentiate, f"{name}[{k}]") for k, item in enumerate(given)]
        return type(given)(*items) if hasattr(given, "_fields") else tuple(items)
    if isinstance(given, dict):
        return {key: _entered(run, item, differentiate, f"{name}[{key!r}]") for key, item in given.items()}
    if not isinstance(given, list) and not hasattr(given, "__array__"):
        return given  # numbers, words, functions: as they are
    array = array_of(name, given)
    if array.dtype.kind in "biu":
        return array.copy() if run.tape is not None else array
    array = float_array(name, array)
    if run.tape is not None and np.may_share_memory(array, given if isinstance(given, np.ndarray) else array):
        array = array.copy()
    return run.leaf(array) if differentiate else run.constant(array, name)


class Tape:
    """What a recorded run left: enough for its backward pass, and no more than that."""

    def __init__(self, run: Run, names: Names) -> None:
        assert run.tape is not None
        self._nodes: list[list[Node]] = [run.tape]  # empty, once the nodes are used up
        run.tape = []
        self.names = trained(names)

    def sweep(self, seeds: Mapping[Place, Array], keep: bool) -> Sums:
        """The sums of all gradients, from those of the outputs."""
        try:
            nodes = self._nodes[0] if keep else self._nodes.pop()  # of two threads one gets them
        except IndexError:
            raise RuntimeError(
                "backward has run already, and what was recorded is freed: call forward again, or backward with "
                "retain_graph=True the first time"
            ) from None
        sums = Sums()
        for slot, d in seeds.items():
            sums.set(slot, d)
        sweep(nodes, sums, keep)
        return sums

    def params(self, sums: Sums) -> dict[str, Any]:
        """Name -> gradient for every parameter that is not frozen: zero for one that the outputs do not depend on."""
        return sums.gathered(self.names)


def check_used(run: Run, names: Names, what: str) -> None:
    """Raises ValueError for a layer with parameters that was called and has no name: its gradients would be lost."""
    known = {id(layer) for _, layer in names}
    for key, layer in run.used.items():
        if key not in known and layer._param_shapes:
            raise ValueError(
                f"{layer!r} was called, but {what} does not hold it, and its gradients would be lost: make it an "
                "attribute, directly or in lists, tuples and dicts"
            )


class ModelBackward:
    """`backward` of a model's forward pass; see `Model.forward`."""

    def __init__(self, tape: Tape, inputs: tuple[Any, ...], outputs: Any) -> None:
        self._tape, self._inputs, self._outputs = tape, inputs, outputs

    def __call__(self, d_outputs: Any = None, *, retain_graph: bool = False) -> tuple[Any, dict[str, Any]]:
        """(d_inputs, d_params) from the gradients of a loss to the outputs, in the outputs' form; None is zero."""
        keep = _checks.flag("retain_graph", retain_graph)
        seeds: dict[Place, Array] = {}
        for form, given, name in paired(self._outputs, d_outputs, "d_outputs"):
            if given is None:
                continue
            if not isinstance(form, Form):
                raise ValueError(f"{name} must be None: that output is no value of the run, and has no gradient")
            array = real_array(name, given, form.dtype)
            if array.shape != form.shape:
                raise ValueError(f"{name} must have the shape of the output, {form.shape}, got {array.shape}")
            if form.slot is not None:
                seeds[form.slot] = array if form.slot not in seeds else seeds[form.slot] + array
        sums = self._tape.sweep(seeds, keep)
        wanted = [slot for slot in leaves(self._inputs) if isinstance(slot, Slot)]
        given_out = sums.given_out(wanted, list(seeds.values()))
        d_inputs = mapped(lambda slot: given_out[slot] if isinstance(slot, Slot) else None, self._inputs)
        return (d_inputs[0] if len(d_inputs) == 1 else d_inputs), self._tape.params(sums)

    def __reduce__(self) -> Any:
        raise TypeError("what a forward pass recorded cannot be copied or pickled")


class Form:
    """An output as `backward` knows it."""

    __slots__ = ("dtype", "shape", "slot")

    def __init__(self, value: Value) -> None:
        self.shape, self.dtype, self.slot = value.shape, value.dtype, value._slot


def value_and_grad(function: Callable[..., Any]) -> Callable[..., tuple[float, dict[str, Any]]]:
    """A function that returns the value of `function` and its gradients to all parameters.

    Args:
        function: takes a net and anything else, and returns a scalar that is computed with layers and operations as in
            `Model.run`. The net is a `Model`, any layer, or layers in a list, tuple or dict; calls of its layers give
            values, and everything else comes as it was given.

    Returns:
        A function of the same arguments that returns (value, grads). The value is a float; grads is a dict, name ->
        array, with the keys of `net.params` (of layers in a dict: its keys, a dot, theirs). It holds a `RowGradient`
        for an embedding, and zeros for a parameter that the value does not depend on; nothing for frozen layers.

    Raises TypeError if the function's result is no scalar value, ValueError if it called layers that net does not hold.

    >>> import numpy as np, pylstm
    >>> def loss(net, x, y):
    ...     return ((net(x) - y) ** 2).mean()
    >>> net, x, y = pylstm.Linear(3, 2), np.ones((4, 3)), np.zeros((4, 2))
    >>> value, grads = pylstm.value_and_grad(loss)(net, x, y)
    >>> grads["weight"].shape, grads["bias"].shape
    ((2, 3), (2,))
    >>> pylstm.Adam(1e-3).step(net, grads)
    """
    if not callable(function):
        raise TypeError(f"value_and_grad takes a function (net, *inputs) -> a scalar, got {_checks.kind(function)}")

    @functools.wraps(function)
    def with_gradient(net: Any, *inputs: Any, **kwargs: Any) -> tuple[float, dict[str, Any]]:
        run = Run(recording=True)
        result = run.within(function, net, *inputs, **kwargs)
        if not isinstance(result, Value):
            raise TypeError(
                "the function must return a scalar value, computed from what layers return, got "
                f"{type(result).__name__}" + (" of several" if isinstance(result, tuple) else "")
            )
        if result._run is not run or result.shape != ():
            raise TypeError(f"the function must return one number of this run, got an array of shape {result.shape}")
        names = named_layers(net)
        check_used(run, names, "net")
        value = float(result._data)
        seeds = {} if result._slot is None else {result._slot: np.ones((), result.dtype)}
        tape = Tape(run, names)
        return value, tape.params(tape.sweep(seeds, keep=False))

    return with_gradient
