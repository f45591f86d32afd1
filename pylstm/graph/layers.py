"""How layers of either contract are called for training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..layers.recurrent import Recurrent

# (d_outputs, gradients to add to or None) -> (one gradient for each argument, name -> gradient of what is not added)
Backward = Callable[[Any, dict[str, Any] | None], tuple[tuple[Any, ...], Mapping[str, Any]]]


def training_call(
    layer: Any, args: tuple[Any, ...], needs: tuple[bool, ...], kwargs: dict[str, Any]
) -> tuple[Any, Backward]:
    """The outputs of `layer.forward`, and its backward pass in one form for all layers.

    needs: for each argument whether its gradient is wanted. d_outputs has the form of the outputs, None where a
    gradient is zero.
    """
    call = _recurrent if isinstance(layer, Recurrent) else _plain
    return call(layer, args, needs, kwargs)


def _recurrent(
    layer: Recurrent[Any], args: tuple[Any, ...], needs: tuple[bool, ...], kwargs: dict[str, Any]
) -> tuple[Any, Backward]:
    output, state, run_back = layer.forward(*args, need_dx=needs[0], **kwargs)

    def backward(ds: Any, into: dict[str, Any] | None) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        grads = run_back(*ds, _into=into)
        return (grads.x, grads.state if True in needs[1:] else None)[: len(args)], {} if into else grads.params

    return (output, state), backward


def _plain(layer: Any, args: tuple[Any, ...], needs: tuple[bool, ...], kwargs: dict[str, Any]) -> tuple[Any, Backward]:
    outputs, run_back = layer.forward(*args, need_dx=True in needs, **kwargs)
    several = isinstance(outputs, tuple)

    def backward(ds: Any, into: dict[str, Any] | None) -> tuple[tuple[Any, ...], Mapping[str, Any]]:  # noqa: ARG001
        d_inputs, d_params = run_back(*ds) if several else run_back(ds)
        return (d_inputs if len(args) > 1 else (d_inputs,)), d_params

    return outputs, backward
