"""JAX: a jit-compiled `lax.scan`, the textbook way; what Flax and Haiku compile to is the same.

Four formulations are tried for each case and the fastest one is timed: the product with x inside the loop or, for all
steps at once, in front of it; weights as PyTorch stores them (rows are gates) or as Flax does (columns are gates).
Unrolling the loop was tried, too: never faster here, and compiled for minutes.
"""

from __future__ import annotations

import functools
import os
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
import jax
import jax.numpy as jnp
import numpy as np

from cases import Array, Case, Data
from peers import BasePeer, fastest, suffixes

Params = dict[str, Any]
wait: Any = jax.block_until_ready  # not typed
configure: Any = jax.config.update


def lstm(gates: Any, hidden: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
    i, f, g, o = jnp.split(gates + hidden, 4, -1)
    c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru(gates: Any, hidden: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
    size = state[0].shape[-1]
    r, z = jnp.split(jax.nn.sigmoid((gates + hidden)[..., : 2 * size]), 2, -1)
    n = jnp.tanh(gates[..., 2 * size :] + r * hidden[..., 2 * size :])
    return ((1 - z) * n + z * state[0],)


def rnn(gates: Any, hidden: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
    del state
    return (jnp.tanh(gates + hidden),)


CELLS = {"lstm": lstm, "gru": gru, "rnn": rnn}


def network(case: Case, hoisted: bool, columns: bool, params: Params, x: Any, states: Any, mask: Any) -> Any:
    """output (T, N, directions * H) and the last states, as PyTorch gives them."""

    def product(a: Any, weight: Any) -> Any:
        return a @ (weight if columns else weight.T)

    lasts: list[Any] = []
    for layer in range(case.layers):
        outputs = []
        for suffix in suffixes(case):
            w, r, b, bh = (params[f"{k}_l{layer}{suffix}"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            first = tuple(s[len(lasts)] for s in states)

            def step(state: Any, inputs: Any, w: Any = w, r: Any = r, b: Any = b, bh: Any = bh) -> Any:
                row, valid = inputs
                gates = row if hoisted else product(row, w) + b
                new = CELLS[case.cell](gates, product(state[0], r) + bh, state)
                if valid is None:
                    return new, new[0]
                kept = tuple(jnp.where(valid, n, s) for n, s in zip(new, state, strict=True))
                return kept, jnp.where(valid, new[0], 0)

            rows = product(x, w) + b if hoisted else x
            last, output = jax.lax.scan(step, first, (rows, mask), reverse=bool(suffix))
            outputs.append(output)
            lasts.append(last)
        x = outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, -1)
    return (x, *(jnp.stack(s) for s in zip(*lasts, strict=True)))


class Peer(BasePeer):
    version = jax.__version__

    def __init__(self, case: Case, data: Data, *, training: bool, threads: int) -> None:
        del threads  # XLA takes as many as there are cores, which worker.py has limited
        configure("jax_enable_x64", case.dtype == "float64")
        self.case, self.training = case, training
        self.x = jnp.asarray(data.x)
        states = data.state or tuple(np.zeros_like(s) for s in data.d_state)
        self.states = tuple(jnp.asarray(s) for s in states)
        mask = None if data.lengths is None else jnp.asarray((np.arange(case.T)[:, None] < data.lengths)[..., None])
        above = tuple(jnp.asarray(d) for d in (data.d_output, *data.d_state))

        def train(forward: Any, params: Params, x: Any, states: Any) -> Any:
            found, pull = jax.vjp(lambda p, x: forward(p, x, states, mask), params, x)
            return found, pull(above)

        self.variants: dict[str, tuple[Any, Params]] = {}
        for columns in (False, True):
            params = {k: jnp.asarray(v.T if columns and v.ndim == 2 else v) for k, v in data.weights.items()}
            for hoisted in (False, True):
                forward = functools.partial(network, case, hoisted, columns)
                call = functools.partial(train, forward) if training else functools.partial(forward, mask=mask)
                gates = "columns" if columns else "rows"
                name = f"scan, x . W {'in front' if hoisted else 'inside'}, gates are {gates}"
                self.variants[name] = jax.jit(call), params
        self.formulation = fastest({name: functools.partial(self._call, name) for name in self.variants})
        self.call, self.params = self.variants[self.formulation]

    def _call(self, name: str) -> Any:
        call, params = self.variants[name]
        return wait(call(params, self.x, self.states))

    def run(self) -> Any:
        found = wait(self.call(self.params, self.x, self.states))
        if self.case.streamed:
            self.states = found[1:]
        return found

    def results(self, raw: Any) -> dict[str, Array]:
        found, (d_params, d_x) = raw if self.training else (raw, ({}, None))
        named = dict(zip(["output", "h_n", "c_n"], found, strict=False))
        if self.training:
            columns = self.formulation.endswith("columns")
            named |= {"d_x": d_x, **{f"d_{k}": v.T if columns and v.ndim == 2 else v for k, v in d_params.items()}}
        return {name: np.asarray(value) for name, value in named.items()}
