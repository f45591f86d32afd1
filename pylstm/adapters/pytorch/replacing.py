"""Modules of torch.nn inside a user's model, exchanged for pylstm's."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch.nn.utils import parametrize

from .modules import GRU, LSTM, RNN

_OURS: dict[type[Any], type[Any]] = {torch.nn.LSTM: LSTM, torch.nn.GRU: GRU, torch.nn.RNN: RNN}


def replace_recurrent(model: torch.nn.Module) -> torch.nn.Module:
    """Exchange every torch.nn.LSTM, GRU and RNN of a model for pylstm's, in place.

    The parameters are the same objects as before, so that optimizers go on with them; hooks, training mode,
    parametrizations and pruning stay, and a module that stands in several places is one module still.

    Args:
        model: any module. Where it is itself one of these, it cannot be exchanged in place: use what is returned.

    Returns:
        The model, or what stands for it.

    Warns:
        UserWarning: naming what is left as it is: classes derived from these (which may compute something else), and
            modules that are not on the CPU; or saying that there is nothing to exchange.

    Raises TypeError for anything but a module.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    made: dict[int, torch.nn.Module] = {}
    left: list[str] = []
    module: Any
    for name, module in model.named_modules():
        if not isinstance(module, tuple(_OURS)):
            continue
        reason = _obstacle(module)
        if reason:
            left.append(f"{name or 'the model itself'} ({reason})")
        else:
            made[id(module)] = _twin(module)
    if not made and not left and not any(isinstance(one, tuple(_OURS.values())) for one in model.modules()):
        warnings.warn(
            "found no torch.nn.LSTM, GRU or RNN: modules in plain lists and dicts are seen by nobody, nor by "
            "model.parameters() (torch.nn.ModuleList and ModuleDict are), and scripted or quantized ones are others",
            UserWarning,
            stacklevel=2,
        )
    if left:
        warnings.warn(f"left as they are: {', '.join(left)}", UserWarning, stacklevel=2)
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and id(child) in made:
                parent._modules[name] = made[id(child)]
    return made.get(id(model), model)


def _plain_class(module: Any) -> type[Any]:
    """Of a parametrized module, the class that it had before."""
    cls = type(module)
    return cls.__bases__[0] if parametrize.is_parametrized(module) else cls


def _obstacle(module: Any) -> str:
    if _plain_class(module) not in _OURS:
        return f"its class {type(module).__name__} is derived from {_plain_class(module).__mro__[1].__name__}"
    devices = {one.device.type for one in module.parameters()} - {"cpu", "meta"}
    return f"on {devices.pop()}" if devices else ""


def _twin(module: Any) -> torch.nn.Module:
    cls: Any = _OURS[_plain_class(module)]
    if parametrize.is_parametrized(module):  # its class has a property for each of the tensors
        own = {name: value for name, value in vars(type(module)).items() if name not in ("__dict__", "__weakref__")}
        cls = type(type(module).__name__, (cls,), own)
    twin: torch.nn.Module = cls.__new__(cls)
    twin.__dict__.update(module.__dict__)  # the same dictionaries: handles of hooks go on removing what they stand for
    return twin
