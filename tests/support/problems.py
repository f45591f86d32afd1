"""Random problems for a recurrent layer, and both passes over them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Problem(NamedTuple):
    """Inputs of a forward and a backward pass, all in float64 with values that float32 holds exactly."""

    x: np.ndarray
    states: tuple | None
    lengths: np.ndarray | None
    d_output: np.ndarray
    d_states: tuple


def ragged(rng, steps, batch):
    """Lengths with a zero and a full one wherever there is room."""
    lengths = rng.integers(0, steps + 1, batch)
    lengths[rng.integers(batch)] = steps
    if batch > 1:
        lengths[np.argmin(lengths)] = 0
    return lengths


def problem(layer, steps, batch, seed, *, lengths=False, state=False):
    """A random problem for `layer`; `lengths` and `state` say whether it has them."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32).astype(np.float64)

    count = layer.num_layers * layer.num_directions
    sizes = (layer.output_size, layer.hidden_size)[: 2 if hasattr(layer, "proj_size") else 1]
    x = normal(steps, batch, layer.input_size)
    d_output = normal(steps, batch, layer.num_directions * layer.output_size)
    if layer.batch_first:
        x, d_output = x.swapaxes(0, 1).copy(), d_output.swapaxes(0, 1).copy()
    initial, d_states = (tuple(normal(count, batch, size) for size in sizes) for _ in range(2))
    return Problem(
        x, initial if state else None, ragged(rng, steps, batch) if lengths else None, d_output, d_states
    )  # fmt: skip


def as_state(layer, states, dtype=None):
    """A tuple of arrays as `layer` takes it."""
    if states is None:
        return None
    if dtype is not None:
        states = tuple(s.astype(dtype) for s in states)
    return states if hasattr(layer, "proj_size") else states[0]


def flat(value):
    return value if isinstance(value, tuple) else (value,)


def run(layer, case, **options):
    """Every result of both passes, name -> array."""
    dtype = layer.dtype
    x, d_output = case.x.astype(dtype), case.d_output.astype(dtype)
    state = as_state(layer, case.states, dtype)
    output, final, backward = layer.forward(x, state, lengths=case.lengths, **options)
    grads = backward(d_output, as_state(layer, case.d_states, dtype))
    results = {"output": output}
    results.update({f"state[{k}]": s for k, s in enumerate(flat(final))})
    if grads.x is not None:
        results["d_x"] = grads.x
    results.update({f"d_state[{k}]": s for k, s in enumerate(flat(grads.state))})
    results.update({"d_" + name: grad for name, grad in grads.params.items()})
    return results


def infer(layer, case, **options):
    """Output and states of inference, name -> array."""
    state = as_state(layer, case.states, layer.dtype)
    output, final = layer(case.x.astype(layer.dtype), state, lengths=case.lengths, **options)
    return {"output": output, **{f"state[{k}]": s for k, s in enumerate(flat(final))}}


def twin(layer, module, dtype):
    """The same layer, with the same parameters, of another module and dtype."""
    config = {**layer._config(), "dtype": dtype}
    other = getattr(module, type(layer).__name__)(**config, seed=0)
    other.load_state_dict(layer.params)
    return other


def exact_in_float32(layer):
    """Round the parameters so that float32 and float64 layers have the same."""
    layer.load_state_dict({name: value.astype(np.float32) for name, value in layer.params.items()})
    return layer
