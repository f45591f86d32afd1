"""A case as an ONNX model, for the run-times that read one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cases import Array, Case, Data
from peers import Unsupported

# Where each of ONNX's gate blocks stands in PyTorch's order: i f g o -> i o f c, and r z n -> z r h.
GATE_ORDER = {"lstm": [0, 3, 1, 2], "gru": [1, 0, 2], "rnn": [0]}


def build(case: Case, data: Data, training: bool) -> bytes:
    if training:
        raise Unsupported("no backward pass")
    if data.x.dtype != np.float32:
        raise Unsupported(f"no {data.x.dtype} recurrent layers")
    nodes, constants = [], []

    def constant(name: str, value: Array) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def reordered(name: str) -> Array:
        """(gates * H, ..) of one parameter, both directions stacked in front, in ONNX's order."""
        both = np.stack([data.weights[name + suffix] for suffix in ["", "_reverse"][: case.directions]])
        blocks = both.reshape(case.directions, case.about.gates, case.H, -1)[:, GATE_ORDER[case.cell]]
        return blocks.reshape(both.shape)

    lengths = "lengths" if data.lengths is not None else ""
    states = [f"{name}_n" for name in case.about.states]
    initial = [f"{s}_before" for s in states] if case.streamed or data.state is not None else []
    if initial and case.layers > 1:
        raise Unsupported("initial states of a stack")
    options: dict[str, Any] = {"hidden_size": case.H, "direction": "bidirectional" if case.bidirectional else "forward"}
    if case.cell == "gru":
        options["linear_before_reset"] = 1
    if case.cell == "rnn":
        options["activations"] = ["Tanh"] * case.directions
    # One layer of one direction needs no other node: its output has an axis more, and the same bytes.
    bare = case.layers == case.directions == 1
    below = "x"
    for layer in range(case.layers):
        biases = [reordered(f"bias_{kind}_l{layer}") for kind in ("ih", "hh")]
        inputs = [
            below,
            constant(f"W{layer}", reordered(f"weight_ih_l{layer}")),
            constant(f"R{layer}", reordered(f"weight_hh_l{layer}")),
            constant(f"B{layer}", np.concatenate(biases, axis=1)),
            lengths,
            *initial,
        ]
        if bare:
            nodes.append(helper.make_node(case.cell.upper(), inputs, ["output", *states], **options))
            break
        nodes.append(
            helper.make_node(case.cell.upper(), inputs, [f"Y{layer}", *(f"{s}{layer}" for s in states)], **options)
        )
        # (T, directions, N, H) -> (T, N, directions * H), what the next layer reads
        nodes.append(helper.make_node("Transpose", [f"Y{layer}"], [f"Z{layer}"], perm=[0, 2, 1, 3]))
        shape = constant(f"S{layer}", np.array([0, 0, -1], np.int64))
        below = "output" if layer == case.layers - 1 else f"X{layer + 1}"
        nodes.append(helper.make_node("Reshape", [f"Z{layer}", shape], [below]))
    if not bare:
        nodes += [helper.make_node("Concat", [f"{s}{k}" for k in range(case.layers)], [s], axis=0) for s in states]

    def value(name: str, kind: int, shape: list[int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    taken = [value("x", TensorProto.FLOAT, [case.T, case.N, case.I])]
    if lengths:
        taken.append(value(lengths, TensorProto.INT32, [case.N]))
    state_shape = [case.layers * case.directions, case.N, case.H]
    taken += [value(s, TensorProto.FLOAT, state_shape) for s in initial]
    wide = [1, case.N, case.H] if bare else [case.N, case.directions * case.H]
    outputs = [value("output", TensorProto.FLOAT, [case.T, *wide])]
    outputs += [value(s, TensorProto.FLOAT, state_shape) for s in states]
    graph = helper.make_graph(nodes, case.name, taken, outputs, initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def feeds(case: Case, data: Data) -> dict[str, Array]:
    """By the names of the graph's inputs."""
    found = {"x": data.x}
    if data.lengths is not None:
        found["lengths"] = data.lengths.astype(np.int32)
    if data.state is not None or case.streamed:
        states = data.state or [np.zeros_like(s) for s in data.d_state]
        found |= dict(zip(["h_n_before", "c_n_before"], states, strict=False))
    return found


def carry(feeds: dict[str, Array], results: list[Array]) -> None:
    """The states a step left, for the next one."""
    feeds |= zip(["h_n_before", "c_n_before"], results[1:], strict=False)
