"""Calls of which PyTorch records the gradient while they run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import tapes
from .calls import Call, backward, run

NO_SECOND = (
    "pylstm computes no second derivatives: where a loss needs them (a gradient penalty, a Hessian), keep this module "
    "as torch.nn's"
)

NO_FORWARD_MODE = (
    "pylstm computes no derivatives in forward mode (jvp, jacfwd, hessian): for these keep the module as torch.nn's"
)


class Recurrent(torch.autograd.Function):
    """(call, number of states, x, states.., weights..) -> output and final states."""

    @staticmethod
    def forward(ctx: Any, call: Call, count: int, x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        states, weights = others[:count], others[count:]
        results, tape = run(call, x, states, weights, training=True)
        assert tape is not None
        ctx.call, ctx.count = call, count
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(tapes.hold(tape), x, *others)
        # The pass back reads the output again. Who edits it in place may do so: it is computed again then. Only an
        # alias may be kept: the output itself would keep itself alive through this context.
        ctx.output = None if tape.own else results[0].detach()
        ctx.version = None if tape.own else ctx.output._version
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, d_output: Tensor | None, *d_states: Tensor | None) -> tuple[Any, ...]:
        handle, x, *others = ctx.saved_tensors
        if d_output is None and all(one is None for one in d_states):
            return (None,) * (3 + len(others))
        call, count = ctx.call, ctx.count
        with torch.no_grad():
            tape = tapes.held(handle)
            if tape is None or (ctx.output is not None and ctx.output._version != ctx.version):
                _, tape = run(call, x, others[:count], others[count:], training=True)
            assert tape is not None
            needed = ctx.needs_input_grad[2:]
            need_weights = any(needed[1 + count :])
            d_x, d_initial, d_weights = backward(call, tape, d_output, d_states, needed[0], need_weights)
        found = [d_x, *d_initial[:count], *d_weights]
        found = [one if need else None for one, need in zip(found, needed, strict=True)]
        if torch.is_grad_enabled():  # with create_graph=True
            found = no_further(found, [x, *others, d_output, *d_states])
        return (None, None, *found)


class _NoFurther(torch.autograd.Function):
    """(number of results, results.., what they were computed from..) -> the results, whose gradient is refused."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG004
        return tuple(one.view_as(one) for one in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:  # noqa: ARG004
        raise RuntimeError(NO_SECOND)


def no_further(found: list[Tensor | None], sources: list[Tensor | None]) -> list[Tensor | None]:
    """The gradients `found`, such that a second derivative by `sources` raises in place of being zero."""
    present = [one for one in found if one is not None]
    used = [one for one in sources if one is not None and one.requires_grad]
    if not present or not used:
        return found
    marked = iter(_NoFurther.apply(len(present), *present, *used))  # type: ignore[no-untyped-call, unused-ignore]
    return [None if one is None else next(marked) for one in found]
