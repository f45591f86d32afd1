"""lstm, gru and rnn as functions of JAX: calls with derivatives of their own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .calls import Call
from .programs import compute
from .sizes import Sizes, sizes_of

Array = Any


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _run(sizes: Sizes, x: Array, states: Any, lengths: Any, params: Any) -> Any:
    return _pass("infer", sizes, x, states, lengths, params)[:2]


def _pass(what: str, sizes: Sizes, x: Array, states: Any, lengths: Any, params: Any) -> Any:
    """The output, the final states, and in training, in a list, the name of the tape."""
    shapes = [jax.ShapeDtypeStruct((*x.shape[:2], sizes.width), x.dtype)]
    shapes += [jax.ShapeDtypeStruct(one.shape, x.dtype) for one in states]
    if what == "train":
        shapes.append(jax.ShapeDtypeStruct((2,), np.uint32))
    call = Call(what, sizes, lengths is not None)
    # A pass without a gradient is differentiated by `_forward`, never by itself.
    output, *rest = (_once if what == "train" else compute)(call, shapes, jax.tree.leaves((x, states, lengths, params)))
    return output, tuple(rest[: len(states)]), rest[len(states) :]


def _forward(sizes: Sizes, x: Array, states: Any, lengths: Any, params: Any) -> Any:
    output, final, name = _pass("train", sizes, x, states, lengths, params)
    return (output, final), (x, states, lengths, params, output, name)


def _backward(sizes: Sizes, saved: Any, d_results: Any) -> Any:
    x, states, lengths, params = saved[:4]
    call = Call("backward", sizes, lengths is not None)
    d_x, *rest = _once(call, jax.tree.leaves((x, states, params)), jax.tree.leaves((saved, d_results)))
    d_states, d_params = tuple(rest[: len(states)]), tuple(rest[len(states) :])
    d_lengths = None if lengths is None else np.zeros(lengths.shape, jax.dtypes.float0)
    return d_x, d_states, d_lengths, d_params


def _once(call: Call, shapes: Any, given: Any) -> Any:
    """A call whose own derivative is refused: of a bare one JAX says nothing that helps."""

    def run(*given: Any) -> Any:
        return compute(call, shapes, given)

    def refuse(*_: Any) -> Any:
        raise NotImplementedError("pylstm computes no second derivatives")

    function: Any = jax.custom_jvp(run)
    function.defjvp(refuse)
    return function(*given)


_run.defvjp(_forward, _backward)


def _call(cell: str, params: Any, x: Any, state: Any, lengths: Any, batch_first: bool) -> tuple[Array, Any]:
    sizes = sizes_of(cell, params)
    x = jnp.asarray(x)
    if x.dtype not in (jnp.float32, jnp.float64):
        raise TypeError(f"x must be float32 or float64, got {x.dtype}; x.astype(jnp.float32)")
    if x.ndim not in (2, 3) or x.shape[-1] != sizes.input_size:
        axes, size = "N, T" if batch_first else "T, N", sizes.input_size
        raise ValueError(f"x must have shape ({axes}, {size}), or (T, {size}) for one sequence, got {x.shape}")
    for name, value in params.items():
        if value.dtype != x.dtype:
            raise TypeError(f"params and x must have one dtype, got {value.dtype} for {name} and {x.dtype} for x")
    batched = x.ndim == 3
    if lengths is not None and not batched:
        raise ValueError("lengths is for a batch: x of shape (T, I) is one sequence, cut it instead")
    time_major = x[:, None] if not batched else x.swapaxes(0, 1) if batch_first else x
    steps, batch, _ = time_major.shape
    states = _states(sizes, state, batch, batched, x.dtype)
    if lengths is not None:
        lengths = jnp.asarray(lengths)
        if lengths.shape != (batch,) or not jnp.issubdtype(lengths.dtype, jnp.integer):
            raise ValueError(f"lengths must be {batch} integers, got {lengths.dtype} of shape {lengths.shape}")
        lengths = jnp.clip(lengths, 0, steps).astype(jnp.int32)  # what they are is known only when the call runs
    values = tuple(jnp.asarray(params[name]) for name in sizes.names)
    output, final = _run(sizes, time_major, states, lengths, values)
    if not batched:
        output, final = output[:, 0], tuple(one[:, 0] for one in final)
    elif batch_first:
        output = output.swapaxes(0, 1)
    return output, final if len(final) > 1 else final[0]


def _states(sizes: Sizes, state: Any, batch: int, batched: bool, dtype: Any) -> tuple[Array, ...]:
    shapes = sizes.state_shapes(batch)
    if state is None:
        return tuple(jnp.zeros(shape, dtype) for shape in shapes)
    given = tuple(state) if len(shapes) > 1 else (state,)
    if len(given) != len(shapes):
        raise ValueError(f"state must be a tuple (h, c), got {len(given)} items")
    taken = []
    for one, shape in zip(given, shapes, strict=True):
        value = jnp.asarray(one, dtype)
        value = value if batched or value.ndim != 2 else value[:, None]
        if value.shape != shape:
            wanted = shape if batched else (shape[0], shape[2])
            raise ValueError(f"state must have shape {wanted}, got {jnp.shape(one)}")
        taken.append(value)
    return tuple(taken)


def lstm(
    params: Mapping[str, Array], x: Array, state: Any = None, *, lengths: Any = None, batch_first: bool = False
) -> tuple[Array, tuple[Array, Array]]:
    """`pylstm.LSTM` as a function for `jax.jit`, `grad` and `vmap`; without dropout.

    Args:
        params: name -> array, as `layer.params` of a `pylstm.LSTM` has them; they say how many layers, directions and
            units there are, and whether h is projected.
        x: (T, N, I), with batch_first (N, T, I), or (T, I) for one sequence; float32 or float64, as the parameters.
        state: the initial state (h, c), (layers, N, S) and (layers, N, H), without N for one sequence; None is zero.
        lengths: (N,), the sequences' own lengths, cut to 0..T; outputs past them are 0.
        batch_first: the layout of x and output.

    Returns:
        The tuple (output, (h, c)).

    Raises:
        TypeError: dtypes.
        ValueError: names and shapes.
        NotImplementedError: second derivatives.
    """
    return _call("lstm", params, x, state, lengths, batch_first)


def gru(
    params: Mapping[str, Array], x: Array, state: Any = None, *, lengths: Any = None, batch_first: bool = False,
    reset_after: bool = True,
) -> tuple[Array, Array]:  # fmt: skip
    """`pylstm.GRU` as a function, as `lstm`; the state is one array."""
    return _call("gru_after" if reset_after else "gru_before", params, x, state, lengths, batch_first)


def rnn(
    params: Mapping[str, Array], x: Array, state: Any = None, *, lengths: Any = None, batch_first: bool = False,
    nonlinearity: str = "tanh",
) -> tuple[Array, Array]:  # fmt: skip
    """`pylstm.RNN` as a function, as `gru`; nonlinearity is "tanh" or "relu"."""
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
    return _call(f"rnn_{nonlinearity}", params, x, state, lengths, batch_first)
