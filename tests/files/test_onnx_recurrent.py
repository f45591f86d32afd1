"""Recurrent nodes of ONNX: random weights against the equations and onnxruntime, and the cases of ONNX's own tests."""

from __future__ import annotations

import importlib
import io
import warnings

import numpy as np
import pytest

import pylstm
from pylstm.files.onnx import writing
from pylstm.files.onnx.operators import recurrent
from support.onnx_files import bounded_recurrent, loaded, one_node

CASES = [
    (operator, plain, seed) for operator in ("LSTM", "GRU", "RNN") for plain in (True, False) for seed in range(40)
]


def near(one, other):
    return max(float((np.abs(a - b) / (1 + np.abs(b))).max(initial=0)) for a, b in zip(one, other, strict=True)) < 1e-5


def tuple_of(found):
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
def test_as_onnxruntime(operator):
    """240 nodes with random weights and attributes in all, which see the order of gates."""
    runtime = pytest.importorskip("onnxruntime")
    runtime.set_default_logger_severity(4)
    for name, plain, seed in CASES:
        if name != operator:
            continue
        data, given, what = bounded_recurrent(np.random.default_rng(seed), operator, plain=plain)
        expected = runtime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, given)
        assert near(tuple_of(pylstm.from_onnx(io.BytesIO(data))(**given)), expected), (seed, plain, what[1])


@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
def test_the_core_as_the_equations(operator, monkeypatch):
    """Nodes that the core computes, again step by step in NumPy: they are written down apart from each other."""
    for seed in range(12):
        data, given, _ = bounded_recurrent(np.random.default_rng(seed), operator, plain=True)
        model = pylstm.from_onnx(io.BytesIO(data))
        assert model._program.steps[0].compute.layer is not None
        with monkeypatch.context() as patch:
            patch.setattr(recurrent.Kind, "is_plain", lambda _: False)
            steps = pylstm.from_onnx(io.BytesIO(data))
            assert steps._program.steps[0].compute.layer is None
            assert near(tuple_of(model(**given)), tuple_of(steps(**given))), seed


def test_the_cases_of_onnx():
    pytest.importorskip("onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import onnx.backend.test.case.node as collected

        for name in ("lstm", "gru", "rnn"):  # the cases are made as the modules are imported: of all, in a minute
            importlib.import_module(f"{collected.__name__}.{name}")
        cases = list(collected._NodeTestCases)
    seen = []
    for case in cases:
        if not any(node.op_type in recurrent.RECURRENT for node in case.model.graph.node):
            continue
        model = pylstm.from_onnx(io.BytesIO(case.model.SerializeToString()))
        for inputs, outputs in case.data_sets:
            found = tuple_of(model(*inputs))
            assert [one.shape for one in found] == [one.shape for one in outputs], case.name
            assert all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(found, outputs, strict=True)), case.name
        seen.append(case.name)
    assert len(seen) >= 18


def one_layer(kind, **options):
    """A node with given weights, as the layer of ours that it must be: (operator, constants, layer)."""
    rng = np.random.default_rng(3)
    layer = kind(3, 4, **options)
    name = {pylstm.LSTM: "LSTM", pylstm.GRU: "GRU", pylstm.RNN: "RNN"}[kind]
    theirs = {"LSTM": "iofg", "GRU": "zrn", "RNN": "h"}[name]
    ours = {"LSTM": "ifgo", "GRU": "rzn", "RNN": "h"}[name]
    parts = {}
    for which in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        array = rng.normal(size=layer.params[f"{which}_l0"].shape).astype("f4")
        parts[which] = array
    layer.load_state_dict({f"{which}_l0": array for which, array in parts.items()})

    def moved(array):
        rows = array.reshape(len(ours), 4, *array.shape[1:])
        return np.concatenate([rows[ours.index(letter)] for letter in theirs])

    constants = {
        "W": moved(parts["weight_ih"])[None], "R": moved(parts["weight_hh"])[None],
        "B": np.concatenate([moved(parts["bias_ih"]), moved(parts["bias_hh"])])[None],
    }  # fmt: skip
    return name, constants, layer


@pytest.mark.parametrize("kind", [pylstm.LSTM, pylstm.GRU, pylstm.RNN])
def test_bits_are_the_layers(kind):
    """Without the onnx package: gates where they belong, and both layouts."""
    name, constants, layer = one_layer(kind)
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype("f4")
    options = {"hidden_size": 4, "linear_before_reset": 1} if name == "GRU" else {"hidden_size": 4}
    y, *states = one_node(name, [x], constants=constants, outputs=2, **options)
    expected, state = layer(x)
    assert np.array_equal(y[:, 0], expected)
    assert np.array_equal(states[0], state[0] if isinstance(state, tuple) else state)
    turned = one_node(name, [x.swapaxes(0, 1)], constants=constants, layout=1, opset=14, **options)
    assert np.array_equal(turned[:, :, 0], expected.swapaxes(0, 1))
    backwards = one_node(name, [x], constants=constants, direction="reverse", **options)
    assert np.array_equal(backwards[:, 0], layer(x[::-1])[0][::-1])


def test_weights_that_come_while_it_runs():
    name, constants, layer = one_layer(pylstm.LSTM)
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype("f4")
    y = one_node(name, [x, constants["W"], constants["R"], constants["B"]], hidden_size=4)
    assert np.array_equal(y[:, 0], layer(x)[0])


def test_float64_and_float16():
    name, constants, layer = one_layer(pylstm.LSTM)
    x = np.random.default_rng(0).normal(size=(5, 2, 3))
    wide = one_node(name, [x], constants={key: array.astype("f8") for key, array in constants.items()}, hidden_size=4)
    assert wide.dtype == np.float64
    assert np.abs(wide[:, 0] - layer(x)[0]).max() < 1e-6
    half = one_node(
        name, [x.astype("f2")], constants={key: array.astype("f2") for key, array in constants.items()}, hidden_size=4
    )
    assert half.dtype == np.float16
    assert np.abs(half[:, 0] - layer(x)[0]).max() < 0.01


WRONG = {
    "activation": ({"activations": ["Sigmoid", "Tanh", "Tanhh"]}, "names the activation 'Tanhh'"),
    "too few": ({"activations": ["Tanh"]}, "names 1 activations"),
    "direction": ({"direction": "sideways"}, "'direction' is 'sideways'"),
    "unknown": ({"colour": 3}, "attribute 'colour', which is not known"),
    "kind": ({"clip": "high"}, "'clip' must be a number"),
    "size": ({"hidden_size": 5}, r"W has shape \(1, 16, 3\) and must have \(1, 20, 3\)"),
    "layout": ({"layout": 2}, "layout is 2"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_nodes(what):
    options, message = WRONG[what]
    _, constants, _ = one_layer(pylstm.LSTM)
    x = np.zeros((5, 2, 3), "f4")
    with pytest.raises(pylstm.ModelFileError, match=message) as caught:
        one_node("LSTM", [x], constants=constants, **options)
    assert "the_node" in str(caught.value)


def test_a_projection_is_refused():
    """What PyTorch's exporter makes of proj_size is no LSTM node."""
    constants = {"W": np.zeros((1, 12, 4), "f4"), "R": np.zeros((1, 12, 2), "f4"), "B": np.zeros((1, 24), "f4")}
    with pytest.raises(pylstm.ModelFileError, match=r"projection .*pylstm.from_torch"):
        one_node("LSTM", [np.zeros((5, 2, 4), "f4")], constants=constants, hidden_size=3)


def test_wrong_inputs():
    _, constants, _ = one_layer(pylstm.LSTM)
    node = writing.node("LSTM", ["X", "W", "R", "B", "L", "H"], ["Y"], name="the_node", hidden_size=4)
    model = loaded([node], {"X": ("f4", None), "L": ("i4", None), "H": ("f4", None)}, ["Y"], constants)
    x, lengths, h = np.zeros((5, 2, 3), "f4"), [5, 2], np.zeros((1, 2, 4), "f4")
    assert model(x, lengths, h).shape == (5, 1, 2, 4)
    for given, message in (
        ((x[..., :2], lengths, h), "X has 2 numbers per step, and W is for 3"),
        ((x, [6, 1], h), r"sequence_lens must be 2 integers in 0\.\.5"),
        ((x, [-1, 1], h), "sequence_lens must be"),
        ((x, [1, 1, 1], h), "sequence_lens must be"),
        ((x, lengths, h[:, :1]), r"initial_h must be \(1, 2, 4\)"),
        ((x[0], lengths, h), "X must have 3 axes"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            model(*given)
        assert "the_node" in str(caught.value)
    with pytest.raises(TypeError, match="input 'L' must be of int32, got float64"):
        model(x, [5.0, 2.0], h)


def test_a_chain_of_sizes_is_no_state():
    """States of zeros, made of the sizes of x: nothing of it runs, and the layer begins at zero."""
    _, constants, layer = one_layer(pylstm.LSTM)
    constants = {**constants, "one": np.array([1]), "at": np.array([1]), "size": np.array([4])}
    nodes = [
        writing.node("Shape", ["X"], ["s"]), writing.node("Gather", ["s", "at"], ["n"], axis=0),
        writing.node("Concat", ["one", "n", "size"], ["shape"], axis=0),
        writing.node("ConstantOfShape", ["shape"], ["zeros"], value=np.zeros(1, "f4")),
        writing.node("Identity", ["zeros"], ["again"]),
        writing.node("LSTM", ["X", "W", "R", "B", "", "zeros", "again"], ["Y"], hidden_size=4),
    ]  # fmt: skip
    model = loaded(nodes, {"X": ("f4", ["T", "N", 3])}, ["Y"], constants)
    assert [step.node.operator for step in model._program.steps] == ["LSTM"]
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype("f4")
    assert np.array_equal(model(x)[:, 0], layer(x)[0])
    ones = [*nodes[:3], writing.node("ConstantOfShape", ["shape"], ["zeros"], value=np.ones(1, "f4")), *nodes[4:]]
    model = loaded(ones, {"X": ("f4", ["T", "N", 3])}, ["Y"], constants)
    state = np.ones((1, 2, 4), "f4")
    assert np.array_equal(model(x)[:, 0], layer(x, (state, state))[0])


def test_sequences_without_steps_end_at_zero():
    """As onnxruntime has it: not at their initial state."""
    data, given, _ = bounded_recurrent(np.random.default_rng(7), "GRU", plain=True, lengths=True)
    given["L"][:] = 0
    y, h = pylstm.from_onnx(io.BytesIO(data))(**given)
    assert not y.any()
    assert not h.any()
