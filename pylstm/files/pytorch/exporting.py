"""Our weights for PyTorch's programs, without PyTorch."""

from __future__ import annotations

import os

import numpy as np

from ... import _checks
from ..._arrays import Array
from ...layers.gru import GRUFront
from ...layers.layer import Layer
from ...layers.recurrent_parameters import RecurrentParameters
from ..atomic import replacing
from . import safetensors


def to_torch(model: Layer, path: str | os.PathLike[str] | None = None, *, prefix: str = "") -> dict[str, Array]:
    """The weights of a layer or model as a state_dict of arrays, which PyTorch's module of the same build takes.

    >>> weights = pylstm.to_torch(pylstm.LSTM(3, 4))
    >>> # in PyTorch: lstm.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})

    Names and shapes are those of `nn.LSTM`, `nn.GRU`, `nn.RNN`, `nn.Embedding`, `nn.Linear` ..; in a model the
    attributes stand before them, in a `Sequential` the places, as in `nn.Sequential`. A layer with
    `recurrent_bias=False`, which PyTorch does not have, gets a second bias of zeros. A layer that is shared has its
    first name alone.

    Args:
        model: a layer, `Sequential` or `Model`.
        path: a .safetensors file to write them to as well, which `safetensors.torch.load_file` reads.
        prefix: what to put before all names, e.g. "encoder." for a part of a larger module.

    Returns:
        Name -> a C-contiguous copy, writeable, of the parameter's dtype.

    Raises:
        ValueError: a GRU with reset_after=False, or a recurrent layer with other functions than PyTorch's, peepholes,
            coupled gates or a clip, none of which PyTorch has; another ending than .safetensors.
        TypeError: a wrong argument.
        OSError: the file cannot be written; then there is none, or the old one.
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a layer or a model of pylstm's, got {_checks.kind(model)}")
    _checks.text("prefix", prefix)
    place = None if path is None else _checks.path("path", path)
    if place is not None and place.suffix.lower() != ".safetensors":
        raise ValueError(
            f"path must end in .safetensors, got {place.name!r}; for a .pt file: "
            "torch.save({name: torch.from_numpy(w) for name, w in pylstm.to_torch(model).items()}, path)"
        )
    second = _second_biases(model)
    weights: dict[str, Array] = {}
    for name, value in model.state_dict().items():
        weights[prefix + name] = np.asarray(value, order="C")
        if name in second:
            weights[prefix + second[name]] = np.zeros_like(value)
    if place is not None:
        with replacing(place) as file:
            safetensors.write(file, weights)
    return weights


def _second_biases(model: Layer) -> dict[str, str]:
    """bias_ih -> bias_hh, of the layers that have only the first."""
    second = {}
    for prefix, layer in model._owners():
        if not isinstance(layer, RecurrentParameters):
            continue
        if isinstance(layer, GRUFront) and not layer.reset_after:
            raise ValueError(
                f"PyTorch has no GRU that resets before the product, which {prefix.rstrip('.') or 'this one'} is: "
                f"{layer!r}"
            )
        if options := layer._own_options():
            raise ValueError(
                f"PyTorch has no layer with {' or '.join(options)} as {prefix.rstrip('.') or 'this one'} has: {layer!r}"
            )
        if not layer.recurrent_bias:
            names = [name for name in layer._param_shapes if name.startswith("bias_ih")]
            second.update({prefix + name: prefix + name.replace("bias_ih", "bias_hh", 1) for name in names})
    return second
