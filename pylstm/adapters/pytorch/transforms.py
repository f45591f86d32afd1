"""Calls under the transforms of torch.func: grad, vmap, jacrev and what is made of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import operators
from .functions import NO_FORWARD_MODE, NO_SECOND


class Transformed(torch.autograd.Function):
    """(options, number of states, batch_sizes, seed, x, states.., weights..) -> output, h, c (empty without one)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        options: tuple[Any, ...], count: int, batch_sizes: Any, seed: Any, x: Tensor, *others: Tensor
    ) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = operators.recurrent(
            x, list(others[:count]), list(others[count:]), batch_sizes, seed, *options
        )
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ARG004
        ctx.options, ctx.count, batch_sizes, seed, *tensors = inputs
        ctx.given = [one is not None for one in (batch_sizes, seed)]
        ctx.save_for_backward(*[one for one in (batch_sizes, seed) if one is not None], *tensors)

    @staticmethod
    def backward(ctx: Any, *d_results: Tensor) -> tuple[Any, ...]:
        saved = list(ctx.saved_tensors)
        batch_sizes, seed = (saved.pop(0) if given else None for given in ctx.given)
        found = _TransformedBack.apply(ctx.options, ctx.count, batch_sizes, seed, *d_results, *saved)  # type: ignore[no-untyped-call, unused-ignore]
        return (None, None, None, None, *found)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise NotImplementedError(NO_FORWARD_MODE)


class _TransformedBack(torch.autograd.Function):
    """The gradients of `Transformed`, which have none themselves."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        options: tuple[Any, ...], count: int, batch_sizes: Any, seed: Any, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        d_results, (x, *others) = tensors[:3], tensors[3:]
        return tuple(operators.recurrent_backward(
            list(d_results), [], x, others[:count], others[count:], batch_sizes, seed, *options, True, True
        ))  # fmt: skip

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:  # noqa: ARG004
        raise RuntimeError(NO_SECOND)
