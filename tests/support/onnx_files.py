"""ONNX files for tests: made here of nodes, and those of other programs."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np

import pylstm
from pylstm.files.onnx import writing
from support.examples import DATA

HERE = Path(__file__).resolve().parents[1] / "files" / "data" / "onnx"
EXPORTS = DATA / "formats" / "onnx"
SILERO = DATA / "pretrained" / "silero_vad"


def model_bytes(nodes, inputs, outputs, constants=None, *, opset=17, domains=None, metadata=None):
    """A file. inputs: {name: array, or (dtype, shape)}; outputs: names."""
    values = []
    for name, given in inputs.items():
        dtype, shape = (given.dtype, given.shape) if isinstance(given, np.ndarray) else given
        values.append(writing.value(name, dtype, shape))
    ends = [writing.value(name, np.float32, None) for name in outputs]
    graph = writing.graph(nodes, values, ends, constants)
    return writing.model(graph, opset, metadata, domains=domains)


def loaded(*args, **options):
    return pylstm.from_onnx(io.BytesIO(model_bytes(*args, **options)))


def one_node(operator, inputs, *, constants=None, outputs=1, opset=17, **attributes):
    """What a graph of one node gives for these inputs, in their order; None: one left out."""
    names = [f"x{at}" if array is not None else "" for at, array in enumerate(inputs)]
    names += list(constants or {})
    ends = [f"y{at}" for at in range(outputs)]
    node = writing.node(operator, names, ends, name="the_node", **attributes)
    given = {name: array for name, array in zip(names, inputs, strict=False) if name}
    return loaded([node], given, ends, constants, opset=opset)(**given)


def bounded_recurrent(rng, operator, *, plain=False, lengths=None):
    """A random recurrent node whose states stay small, and its inputs: (bytes, {name: array})."""
    gates, functions = {"LSTM": (4, 3), "GRU": (3, 2), "RNN": (1, 1)}[operator]
    size, width = int(rng.integers(1, 9)), int(rng.integers(1, 7))
    steps, batch = int(rng.integers(1, 6)), int(rng.integers(1, 4))
    direction = str(rng.choice(["forward", "reverse", "bidirectional"]))
    directions = 2 if direction == "bidirectional" else 1
    options = {"hidden_size": size, "direction": direction}
    if operator == "GRU" and rng.random() < 0.5:
        options["linear_before_reset"] = 1
    if not plain:
        kinds = [str(one) for one in rng.choice(BOUNDED, functions * directions)]
        options["activations"] = kinds
        if alpha := [float(one) for one in rng.uniform(0.1, 0.9, sum(kind in ALPHA for kind in kinds))]:
            options["activation_alpha"] = alpha
        if beta := [float(one) for one in rng.uniform(0.1, 0.6, sum(kind in BETA for kind in kinds))]:
            options["activation_beta"] = beta
        if rng.random() < 0.4:
            options["clip"] = float(rng.uniform(0.2, 2))
        if operator == "LSTM" and rng.random() < 0.4:
            options["input_forget"] = 1
    constants = {
        "W": rng.normal(size=(directions, gates * size, width)), "R": rng.normal(size=(directions, gates * size, size)),
    }  # fmt: skip
    inputs = ["X", "W", "R", "", "", "", "", ""]
    given = {"X": rng.normal(size=(steps, batch, width)).astype("f4")}
    if rng.random() < 0.7:
        constants["B"], inputs[3] = rng.normal(size=(directions, 2 * gates * size)), "B"
    if lengths or (lengths is None and rng.random() < 0.5):
        given["L"], inputs[4] = rng.integers(0, steps + 1, batch).astype("i4"), "L"
    for at, name in ((5, "H"), (6, "C"))[: 2 if operator == "LSTM" else 1]:
        if rng.random() < 0.5:
            given[name], inputs[at] = rng.normal(size=(directions, batch, size)).astype("f4"), name
    if operator == "LSTM" and not plain and rng.random() < 0.4:
        constants["P"], inputs[7] = rng.normal(size=(directions, 3 * size)), "P"
    inputs = inputs[: 8 if operator == "LSTM" else 6]
    while not inputs[-1]:
        inputs.pop()
    outputs = ["Y", "Y_h", "Y_c"][: 3 if operator == "LSTM" else 2]
    node = writing.node(operator, inputs, outputs, name="the_node", **options)
    opset = int(rng.choice([7, 8, 11, 13, 14, 17, 20]))
    constants = {name: array.astype("f4") for name, array in constants.items()}
    return model_bytes([node], given, outputs, constants, opset=opset), given, (operator, options, constants)


BOUNDED = ("Sigmoid", "Tanh", "Softsign", "ScaledTanh", "HardSigmoid")
ALPHA, BETA = ("ScaledTanh", "HardSigmoid"), ("ScaledTanh", "HardSigmoid")


# ---- what other programs compute -----------------------------------------------------------------------------------


def as_tuple(found):
    return found if isinstance(found, tuple) else (found,)


def compare(path, expected, *given, bits=True, openvino=True):
    """That a file computes this, read by us, by onnxruntime and by OpenVINO, where these are installed."""
    model = pylstm.from_onnx(path)
    found = as_tuple(model(*given))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one, other) if bits else np.allclose(one, other, atol=1e-6)
    feed = {value.name: np.asarray(array, value.dtype) for value, array in zip(model.inputs, given, strict=True)}
    for others in programs(path, feed, openvino):
        for one, other in zip(others, expected, strict=True):
            assert one.shape == other.shape
            assert np.abs(one - other).max(initial=0) < 1e-5
    return model


def programs(path, feed, openvino):
    try:
        import onnx
    except ImportError:
        pass
    else:
        onnx.checker.check_model(str(path), full_check=True)
    try:
        import onnxruntime
    except ImportError:
        pass
    else:
        onnxruntime.set_default_logger_severity(4)
        yield onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feed)
    if openvino and (core := openvino_core()) is not None:
        found = core.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(feed)
        yield [found[at] for at in range(len(found))]


@functools.cache
def openvino_core():
    try:
        import openvino
    except ImportError:
        return None
    return openvino.Core()
