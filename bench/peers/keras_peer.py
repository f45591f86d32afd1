"""Keras on TensorFlow. Its layers inside `tf.function`; calling them eagerly or through `predict` is slower.

Three ways are tried for each case and the fastest one is timed: a graph, the same compiled by XLA, and a graph with the
loop unrolled. (XLA on an unrolled loop of 100 steps compiles for five minutes, and runs slower.)
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np
import tensorflow as tf

from cases import Array, Case, Data
from peers import BasePeer, fastest, suffixes

CLASSES = {"lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN"}
GATE_ORDER = {"lstm": [0, 1, 2, 3], "gru": [1, 0, 2], "rnn": [0]}  # Keras' gates in PyTorch's order; its own inverse
UNROLL = 100  # steps at most: beyond, tracing alone takes a minute


def reordered(case: Case, value: Array) -> Array:
    """Blocks of gates along axis 0, from PyTorch's order to Keras' or back."""
    blocks = value.reshape(case.about.gates, case.H, -1)[GATE_ORDER[case.cell]]
    return blocks.reshape(value.shape)


class Stack:
    """The layers of a case. Keras wants batches first and returns states one by one."""

    def __init__(self, case: Case, data: Data, unroll: bool) -> None:
        self.case, self.layers = case, []
        options = {"return_sequences": True, "return_state": True, "unroll": unroll, "dtype": case.dtype}
        if data.lengths is not None:
            options["zero_output_for_mask"] = True
        for index in range(case.layers):
            layer = getattr(keras.layers, CLASSES[case.cell])(case.H, **options)
            if case.bidirectional:
                layer = keras.layers.Bidirectional(layer, dtype=case.dtype)
            layer.build((case.N, case.T, case.I if index == 0 else case.directions * case.H))
            self.layers.append(layer)
        for suffix, cell in self.cells():
            weights = [reordered(case, data.weights[f"{kind}_{suffix}"]) for kind in ("weight_ih", "weight_hh")]
            biases = [reordered(case, data.weights[f"{kind}_{suffix}"]) for kind in ("bias_ih", "bias_hh")]
            bias = np.stack(biases) if case.cell == "gru" else biases[0] + biases[1]
            cell.set_weights([*(w.T for w in weights), bias])

    def cells(self) -> Iterator[tuple[str, Any]]:
        """The end of a parameter's name, and the one-directional layer that has it."""
        for index, layer in enumerate(self.layers):
            parts = [layer.forward_layer, layer.backward_layer] if self.case.bidirectional else [layer]
            for suffix, part in zip(suffixes(self.case), parts, strict=True):
                yield f"l{index}{suffix}", part

    @property
    def variables(self) -> list[Any]:
        return [v for _, cell in self.cells() for v in cell.trainable_variables]

    def __call__(self, x: Any, states: Any, mask: Any) -> list[Any]:
        """output and, for every layer and direction, h (and c)."""
        found: list[Any] = []
        for layer in self.layers:
            given = None if states is None else states[len(found) :][: len(self.case_states) * self.case.directions]
            x, *last = layer(x, mask=mask, initial_state=given)
            found += last
        return [x, *found]

    @property
    def case_states(self) -> list[str]:
        return [f"{name}_n" for name in self.case.about.states]


class Peer(BasePeer):
    version = f"{keras.__version__} on TensorFlow {tf.__version__}"

    def __init__(self, case: Case, data: Data, *, training: bool, threads: int) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)  # a loop has no two steps to run at once
        self.case, self.training = case, training
        self.x = tf.constant(self._turned(data.x))
        given = data.state or (tuple(np.zeros_like(s) for s in data.d_state) if case.streamed else None)
        self.states = None if given is None else [tf.constant(s[k]) for k in range(len(given[0])) for s in given]
        mask = None if data.lengths is None else tf.sequence_mask(data.lengths, case.T)
        d_states = [tf.constant(s[k]) for k in range(len(data.d_state[0])) for s in data.d_state]
        above = [tf.constant(self._turned(data.d_output)), *d_states]

        def call(stack: Stack, x: Any, states: Any) -> Any:
            if not training:
                return stack(x, states, mask)
            with tf.GradientTape() as tape:
                tape.watch(x)
                found = stack(x, states, mask)
            return found, tape.gradient(found, [x, *stack.variables], above)

        self.variants, self.stacks = {}, {}
        for unroll in [False, True][: 1 + (case.T <= UNROLL)]:
            stack = Stack(case, data, unroll)
            for xla in [False, True][: 1 + (not unroll)]:
                name = "tf.function" + ", XLA" * xla + ", unrolled" * unroll
                self.variants[name] = tf.function(functools.partial(call, stack), jit_compile=xla)
                self.stacks[name] = stack
        self.formulation = fastest({name: functools.partial(self._call, name) for name in self.variants})
        self.call, self.stack = self.variants[self.formulation], self.stacks[self.formulation]

    @staticmethod
    def _turned(value: Array) -> Array:
        return np.ascontiguousarray(value.swapaxes(0, 1))

    def _call(self, name: str) -> Any:
        found = self.variants[name](self.x, self.states)
        (found[1][0] if self.training else found[0]).numpy()  # waits for it
        return found

    def run(self) -> Any:
        found = self.call(self.x, self.states)
        (found[1][0] if self.training else found[0]).numpy()
        if self.case.streamed:
            self.states = found[1:]
        return found

    def results(self, raw: Any) -> dict[str, Array]:
        found, grads = raw if self.training else (raw, [])
        output, *states = [value.numpy() for value in found]
        named = {"output": self._turned(output)}
        names = self.stack.case_states
        named |= {name: np.stack(states[k :: len(names)]) for k, name in enumerate(names)}
        if self.training:
            d_x, *grads = [grad.numpy() for grad in grads]
            named["d_x"] = self._turned(d_x)
            for (suffix, _), k in zip(self.stack.cells(), range(0, len(grads), 3), strict=True):
                d_w, d_r, d_b = grads[k : k + 3]
                both = d_b if self.case.cell == "gru" else [d_b, d_b]
                kinds = {"weight_ih": d_w.T, "weight_hh": d_r.T, "bias_ih": both[0], "bias_hh": both[1]}
                for kind, grad in kinds.items():
                    named[f"d_{kind}_{suffix}"] = reordered(self.case, np.ascontiguousarray(grad))
        return named
