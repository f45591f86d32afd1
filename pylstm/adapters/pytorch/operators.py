"""The same calls as operators of PyTorch, for everything that looks at programs before it runs them: torch.compile,
torch.export, torch.func, modes that watch or replace operators.

`pylstm::recurrent` remembers nothing; its gradient runs the forward pass again. `pylstm::recurrent_kept` also gives a
tensor that stands for the tape (see `tapes`), which compiled training hands to the pass back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from . import tapes
from .calls import Call, backward, run
from .functions import NO_SECOND
from .packed import Packing
from .spec import Spec
from .weights import kept_for

_INPUTS = "Tensor x, Tensor[] states, Tensor[] weights, Tensor? batch_sizes, Tensor? seed"
_OPTIONS = (
    "SymInt batch, str cell, int hidden_size, int output_size, int num_layers, bool bidirectional, bool bias, "
    "bool batch_first, float dropout"
)
_NUMBER_OF_OPTIONS = 9


def options_of(spec: Spec, batch: int) -> tuple[Any, ...]:
    """A call's options as the operators take them."""
    cell, _, *sizes = spec.network
    return (batch, cell, *sizes, spec.bias, spec.batch_first, spec.dropout)


def _call(
    x: Tensor, weights: Sequence[Tensor], batch_sizes: Tensor | None, seed: Tensor | None, options: tuple[Any, ...]
) -> Call:
    _, cell, hidden, output, layers, bidirectional, bias, batch_first, dropout = options
    spec = Spec(cell, x.shape[-1], hidden, output, layers, bidirectional, bias, batch_first, dropout)
    packing = None if batch_sizes is None else Packing(batch_sizes.numpy(), x.shape[0])
    key = None if seed is None else (dropout, int(seed.item()), 0)
    return Call(spec, kept_for(spec, weights), packing, key)


def _forward(
    training: bool, x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor], batch_sizes: Tensor | None,
    seed: Tensor | None, *options: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    call = _call(x, weights, batch_sizes, seed, options)
    # Masks of dropout belong to training passes, whoever asks for their gradient.
    results, tape = run(call, x, states, weights, training or call.key is not None)
    if len(results) == 2:
        results.append(x.new_empty(0))
    return (*results, tapes.hold(tape)) if training and tape is not None else tuple(results)


def _forward_shapes(
    training: bool, x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor],  # noqa: ARG001
    batch_sizes: Tensor | None, seed: Tensor | None, *options: Any,  # noqa: ARG001
) -> tuple[Tensor, ...]:  # fmt: skip
    batch, cell, hidden, output, layers, bidirectional = options[:6]
    directions = 2 if bidirectional else 1
    rows = layers * directions
    c = x.new_empty((rows, batch, hidden) if cell.startswith("lstm") else 0)
    found = (x.new_empty((*x.shape[:-1], directions * output)), x.new_empty((rows, batch, output)), c)
    return (*found, x.new_empty(1, dtype=torch.int64)) if training else found


def _backward(
    d_results: Sequence[Tensor | None], kept: Sequence[Tensor], x: Tensor, states: Sequence[Tensor],
    weights: Sequence[Tensor], batch_sizes: Tensor | None, seed: Tensor | None, *options: Any,
) -> list[Tensor]:  # fmt: skip
    need_x, need_weights = options[_NUMBER_OF_OPTIONS:]
    call = _call(x, weights, batch_sizes, seed, options[:_NUMBER_OF_OPTIONS])
    tape, moved = None, None
    if kept:
        tape, moved = tapes.held(kept[0]), (x, kept[1])
    if tape is None:
        _, tape = run(call, x, states, weights, training=True)
        moved = None
    assert tape is not None
    count = len(call.spec.state_sizes)
    d_output, *d_states = d_results
    d_x, d_initial, d_weights = backward(call, tape, d_output, d_states[:count], need_x, need_weights, moved)
    found = [d_x if d_x is not None else x.new_empty(0), *d_initial[: len(states)]]
    return [*found, *(one for one in d_weights if one is not None)]


def _backward_shapes(
    d_results: Sequence[Tensor | None], kept: Sequence[Tensor], x: Tensor, states: Sequence[Tensor],  # noqa: ARG001
    weights: Sequence[Tensor], batch_sizes: Tensor | None, seed: Tensor | None, *options: Any,  # noqa: ARG001
) -> list[Tensor]:  # fmt: skip
    batch_first, _, need_x, need_weights = options[-4:]
    d_x = x.new_empty(x.shape)
    if batch_first and batch_sizes is None:
        d_x = x.new_empty((x.shape[1], x.shape[0], x.shape[2])).transpose(0, 1)
    found = [d_x if need_x else x.new_empty(0), *(x.new_empty(one.shape) for one in states)]
    return [*found, *(x.new_empty(one.shape) for one in weights if need_weights)]


def _define(name: str, schema: str, real: Callable[..., Any], shapes: Callable[..., Any]) -> Any:
    made = torch.library.custom_op(f"pylstm::{name}", real, mutates_args=(), device_types="cpu", schema=schema)
    made.register_fake(shapes)
    made.register_vmap(_one_by_one(made))
    return made


def _one_by_one(operator: Any) -> Callable[..., Any]:
    """What vmap does: a call for each."""

    def rule(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        dims, _ = tree_flatten(in_dims)
        flat, structure = tree_flatten(args)
        results = []
        for k in range(info.batch_size):
            one = [arg if dim is None else arg.select(dim, k) for arg, dim in zip(flat, dims, strict=True)]
            results.append(operator(*tree_unflatten(one, structure)))
        stacked = [torch.stack(list(parts)) for parts in zip(*results, strict=True)]
        both = (list(stacked), [0] * len(stacked))
        return both if isinstance(results[0], list) else (tuple(both[0]), tuple(both[1]))

    return rule


_BACK = f"(Tensor?[] d_results, Tensor[] kept, {_INPUTS}, {_OPTIONS}, bool need_x, bool need_weights) -> Tensor[]"

recurrent = _define(
    "recurrent",
    f"({_INPUTS}, {_OPTIONS}) -> (Tensor, Tensor, Tensor)",
    lambda *args: _forward(False, *args),
    lambda *args: _forward_shapes(False, *args),
)
recurrent_kept = _define(
    "recurrent_kept",
    f"({_INPUTS}, {_OPTIONS}) -> (Tensor, Tensor, Tensor, Tensor)",
    lambda *args: _forward(True, *args),
    lambda *args: _forward_shapes(True, *args),
)
recurrent_backward = _define("recurrent_backward", _BACK, _backward, _backward_shapes)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, states, weights, batch_sizes, seed, *options = inputs
    ctx.counts = len(states), len(weights)
    ctx.options, ctx.given = options, (batch_sizes is not None, seed is not None)
    kept = [output[3], output[0]] if len(output) == 4 else []
    rest = [one for one in (batch_sizes, seed) if one is not None]
    ctx.save_for_backward(x, *states, *weights, *rest, *kept)


def _run_back(ctx: Any, *d_results: Tensor | None) -> tuple[Any, ...]:
    saved = list(ctx.saved_tensors)
    states, weights = ctx.counts
    x, saved = saved[0], saved[1:]
    initial, saved = saved[:states], saved[states:]
    parameters, saved = saved[:weights], saved[weights:]
    batch_sizes = saved.pop(0) if ctx.given[0] else None
    seed = saved.pop(0) if ctx.given[1] else None
    needs, _ = tree_flatten(list(ctx.needs_input_grad))
    need_weights = any(needs[1 + states : 1 + states + weights])
    found = recurrent_backward(
        list(d_results[:3]), saved, x, initial, parameters, batch_sizes, seed, *ctx.options, needs[0], need_weights
    )
    d_x = found[0] if needs[0] else None
    d_weights = found[1 + states :] if need_weights else [None] * weights
    return (d_x, list(found[1 : 1 + states]), list(d_weights), None, None, *[None] * _NUMBER_OF_OPTIONS)


def _refuse(ctx: Any, *grads: Any) -> None:  # noqa: ARG001
    raise RuntimeError(NO_SECOND)


for _operator in (recurrent, recurrent_kept):
    _operator.register_autograd(_run_back, setup_context=_remember)
recurrent_backward.register_autograd(_refuse)
