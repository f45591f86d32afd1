"""Weights of PyTorch's programs into our layers and models, without PyTorch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, TypeVar

import numpy as np

from ... import _checks
from ..._arrays import Array
from ...layers.gru import GRUFront
from ...layers.layer import Layer
from ...layers.parameters import outside
from .archives import opened
from .matching import Fit, match
from .parts import described, live_array, parts_of, select
from .tensors import FileTensor

Model = TypeVar("Model", bound=Layer)


def from_torch(
    weights: str | os.PathLike[str] | BinaryIO | Mapping[str, Any],
    model: Model,
    prefix: str = "",
    mapping: Mapping[str, str | None] | Callable[[str], str | None] | None = None,
) -> Model:
    """Give a layer or model the weights of a PyTorch program: all of them, or none where they do not fit.

    PyTorch is not needed, and nothing of a file is executed: of a pickle the few opcodes are read that tensors in
    dicts take, and another one, or another name than those of PyTorch's tensors, is an error. Memory is that of the
    parameters and some times the list of the tensors, whatever the file claims.

    Names are matched like this:

    - A layer of ours has the names of the module of PyTorch's, a model those of its attributes, as `nn.Module` has:
      such weights come by name. What stands before all names (`module.`, `model.`, the one layer's `lstm.`) is left
      out. A single LSTM, GRU or RNN also takes the names of `nn.LSTMCell` and its like.
    - The layers of a `Sequential`, which have numbers for names, also take modules of other names, if there is one way
      only: each fits one module in names and shapes, or the modules are those of an `nn.Sequential` in their order.
    - All else is said by `prefix` and `mapping`. With a mapping, modules of which nothing is taken are left aside;
      without one, every tensor under the prefix must be taken.

    Weights of bfloat16 and float16 are converted as all others are, to the model's dtype. Of a layer with
    `recurrent_bias=False` both biases are added up.

    Args:
        weights: path of a file that torch.save wrote (.pt, .pth, .bin; of any version), or of a .safetensors file; a
            file that is open for bytes; or a state_dict of tensors or arrays. In a checkpoint, which has more than
            weights, those are found that are no optimizer's; of several, `prefix` says which.
        model: a layer, `Sequential` or `Model`.
        prefix: what the names of the weights that are wanted begin with, e.g. "encoder." or "ema_state_dict".
        mapping: {our name: their name} of parameters or whole layers, e.g. {"0": "embedding", "1": "encoder.lstm"},
            or a function of our name; what is not in it has the same name. None in place of a name: what the model
            has stays.

    Returns:
        The model.

    Raises:
        ModelFileError: (a ValueError) the file is damaged, or holds no weights; whole modules and TorchScript, with
            what to type in PyTorch.
        ValueError: names or shapes do not fit; what is missing, what is unexpected, and what is near.
        TypeError: a wrong argument.
        OSError: the file cannot be read.

    >>> lstm = pylstm.from_torch({"lstm.weight_ih_l0": np.ones((8, 3)), "lstm.weight_hh_l0": np.ones((8, 2)),
    ...     "lstm.bias_ih_l0": np.ones(8), "lstm.bias_hh_l0": np.ones(8)}, pylstm.LSTM(3, 2))
    """
    target: object = model
    if not isinstance(target, Layer):
        hint = ": from_torch(weights, model)" if isinstance(weights, Layer) else ""
        raise TypeError(f"model must be a layer or a model of pylstm's, got {_checks.kind(target)}{hint}")
    _checks.text("prefix", prefix)
    if isinstance(weights, (str, os.PathLike)) or callable(getattr(weights, "read", None)):
        with opened(weights) as (tree, read):
            state = _taken(model, tree, read, prefix, mapping)
    else:
        _check_mapping(weights)
        state = _taken(model, weights, None, prefix, mapping)
    if not type(model).load_state_dict.__module__.startswith("pylstm."):  # somebody's own may edit what it is given
        state = {name: np.array(value) for name, value in state.items()}
    model.load_state_dict(state)
    return model


def _check_mapping(weights: object) -> None:
    if isinstance(weights, Mapping):
        return
    hint = ""
    if callable(getattr(weights, "state_dict", None)):
        hint = ": give its .state_dict()"
    elif isinstance(weights, (bytes, bytearray, memoryview)):
        hint = ": io.BytesIO(weights) makes a file of them"
    raise TypeError(f"weights must be a path, an open file or a state_dict, got {_checks.kind(weights)}{hint}")


def _taken(model: Layer, tree: Any, read: Callable[[Any], Array] | None, prefix: str, mapping: Any) -> dict[str, Any]:
    """What is to be loaded, name by name."""

    def array(name: str) -> Any:
        value = tensors[name]
        if isinstance(value, FileTensor) and read is not None:
            return read(value)
        return live_array(name, value)

    parts = parts_of(tree)
    if not parts:
        raise ValueError("there are no tensors in these weights")
    tensors = select(parts, prefix)
    try:
        fit = match(model, tensors, mapping)
    except ValueError as error:
        if len(parts) < 2:
            raise
        raise ValueError(f"{error}. There are {described(parts)}: prefix= says which") from None
    state: dict[str, Any] = {}
    for name, theirs in fit.taken.items():
        state[name] = outside().run(_present, model, name) if theirs is None else array(theirs)
    for name, theirs in fit.added.items():
        state[name] = _one_bias(model, name, np.asarray(state[name]), np.asarray(array(theirs)), fit)
    return state


def _present(model: Layer, name: str) -> Array:
    return model.params[name]


def _one_bias(model: Layer, name: str, of_x: Array, of_states: Array, fit: Fit) -> Array:
    """The one bias that does what PyTorch's two do."""
    layer = next(own for prefix, own in model._owners() if name in [prefix + one for one in own._param_shapes])
    if isinstance(layer, GRUFront) and np.any(of_states[2 * layer.hidden_size :]):
        raise ValueError(
            f"{fit.added[name]!r} is not zero for the candidate, where the reset gate acts on it, and {layer!r} "
            "has no such bias: make it with recurrent_bias=True"
        )
    return of_x.astype(np.float64) + of_states
