"""ONNX graphs that ask for what cannot be, and wrong inputs, states and uses of models that are right: an error that
says what it is about, and nothing changed."""

from __future__ import annotations

import copy
import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import pylstm
from pylstm.files.onnx import writing
from pylstm.files.onnx.protobuf import span_field
from support.onnx_files import loaded, model_bytes

F = ("f4", None)
X = np.ones((1, 1, 5), "f4")


def node(operator, inputs, output="y", **attributes):
    return writing.node(operator, inputs, [output] if isinstance(output, str) else output, **attributes)


def refused(nodes, match, constants=None, inputs=None):
    with pytest.raises(pylstm.ModelFileError, match=match):
        loaded(nodes, inputs or {"x": F}, ["y"], constants)


# ---- graphs ----------------------------------------------------------------------------------------------------------


def test_order():
    """Nodes in a circle, and nodes before what they take."""
    later = "which only a later node gives: nodes must come in the order in which they run"
    refused([node("Add", ["x", "y"], "a"), node("Relu", ["a"])], later)
    refused([node("Relu", ["a"]), node("Relu", ["x"], "a")], later)


def test_names_that_come_twice():
    graph = writing.graph([node("Add", ["x", "w"])], [writing.value("x", "f4", [3])], [writing.value("y", "f4", [3])])
    for one in (np.ones(3, "f4"), np.zeros(3, "f4")):
        graph = writing.GraphBytes(graph + span_field(5, writing.tensor("w", one)))
    with pytest.raises(pylstm.ModelFileError, match="two constants in it have the name 'w'"):
        pylstm.from_onnx(io.BytesIO(writing.model(graph, 17)))
    twice = node("Softmax", ["x"], axis=0) + span_field(5, writing.attribute("axis", 1))
    refused([twice], "has the attribute 'axis' twice")
    refused([node("Split", ["x"], ["y", "y"], axis=1)], "which another value has")


def test_outputs_that_a_node_does_not_have():
    refused([node("Relu", ["x"], ["a", "y", "b"])], r"\(Relu .* has 3 outputs and must have 1 at most")
    weights = {"w": np.ones((1, 8, 3), "f4"), "r": np.ones((1, 8, 2), "f4")}
    refused([node("LSTM", ["x", "w", "r"], ["a", "b", "c", "y"], hidden_size=2)], "must have 3 at most", weights)


CONVOLUTIONS = {
    "kernel": ({"kernel_shape": [5]}, (1, 1, 3), "has the weight"),
    "no outputs": ({}, (0, 1, 3), "has the weight"),
    "no kernel": ({}, (1, 1, 0), "has the weight"),
    "steps of nothing": ({"strides": [0]}, (1, 1, 3), "strides must be above 0"),
    "no groups": ({"group": 0}, (1, 1, 3), "group must be above 0"),
    "many groups": ({"group": 2**40}, (1, 1, 3), "do not fit"),
    "far apart": ({"dilations": [2**62]}, (1, 1, 3), "do not fit into"),
    "axes": ({"strides": [1, 1]}, (1, 1, 3), "attributes are for 1 axes"),
    "wide": ({"pads": [2**40, 2**40]}, (1, 1, 3), "more numbers than any model means"),
    "rather wide": ({"pads": [2**31, 0]}, (1, 1, 3), "more numbers than any model means"),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name):
    options, shape, match = CONVOLUTIONS[name]
    with pytest.raises(ValueError, match=rf"node 0 \(Conv .*{match}"):
        loaded([node("Conv", ["x", "w"], **options)], {"x": F}, ["y"], {"w": np.ones(shape, "f4")})(X)


def test_convolutions_that_are_right():
    """A stride beyond the end, and no sequences."""
    constants = {"w": np.ones((2, 1, 3), "f4")}
    for _ in range(3):
        assert loaded([node("Conv", ["x", "w"], strides=[2**62])], {"x": F}, ["y"], constants)(X).tolist() == [
            [[3], [3]]
        ]
    model = loaded([node("Conv", ["x", "w"])], {"x": F}, ["y"], constants)
    for _ in range(3):
        assert model(X[:0]).shape == (0, 2, 3)
    with pytest.raises(ValueError, match="group must be above 0"):
        loaded([node("ConvTranspose", ["x", "w"], group=0)], {"x": F}, ["y"], constants)


SIZES = {
    "Tile": ({"r": np.array([2**40])}, {}), "Expand": ({"r": np.array([2**29])}, {}),
    "Pad": ({"r": np.array([2**30, 0])}, {"mode": "reflect"}),
    "ConstantOfShape": (None, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name):
    """Memory is not asked for beyond what a model could mean, whatever goes in."""
    constants, options = SIZES[name]
    model = loaded(
        [node(name, ["x", *(constants or {})], **options)], {"x": F if constants else ("i8", None)}, ["y"], constants
    )
    with pytest.raises(ValueError, match="more numbers than any model means"):
        model(np.ones(3) if constants else [2**20, 2**20])


def test_nothing_at_all():
    model = loaded([node("MatMul", ["x", "w"])], {"x": F}, ["y"], {"w": np.ones((3, 0), "f4")})
    assert model(np.ones((2, 3))).shape == (2, 0)


# ---- calls -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def gru(tmp_path):
    pylstm.to_onnx(pylstm.GRU(3, 4, batch_first=True, seed=0), tmp_path / "gru.onnx", states=True)
    return pylstm.from_onnx(tmp_path / "gru.onnx")


def test_sizes_that_do_not_agree(gru):
    """The error of a node also says which inputs it comes from."""
    x, h = np.ones((2, 5, 3), "f4"), np.zeros((1, 3, 4), "f4")
    with pytest.raises(ValueError, match=r"initial_h must be .* sizes that differ, 'N': 2 of input 'x', and 3 of 'h'"):
        gru(x, h)
    assert gru(x, h[:, :2])[0].shape == (2, 5, 4)


WRONG = {
    "none": (None, TypeError), "texts": ([["a"]], TypeError), "objects": (np.array([[[None]]]), TypeError),
    "complex": (np.ones((1, 1, 3)) + 1j, TypeError), "ragged": ([[1, 2], [3]], ValueError),
    "dates": (np.zeros((1, 1, 3), "M8[s]"), TypeError), "masked": (np.ma.masked_array(np.ones((1, 1, 3))), TypeError),
    "axes": (np.ones((1, 3)), ValueError), "width": (np.ones((1, 1, 4)), ValueError),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_inputs_that_are_none(gru, name):
    given, error = WRONG[name]
    with pytest.raises(error, match="input 'x'"):
        gru(given, np.zeros((1, 1, 4), "f4"))


def test_inputs_of_other_kinds(gru):
    """Other dtypes, byte orders and strides are converted; NaN stays in its sequence; there may be no sequences."""
    x, h = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("f4"), np.zeros((1, 2, 4), "f4")
    expected = gru(x, h)[0]
    for one in (x.astype("f8"), x.astype(">f4"), np.asfortranarray(x), x.tolist(), np.repeat(x, 2, axis=1)[:, ::2]):
        assert np.array_equal(gru(one, h.astype(">f8"))[0], expected)
    x[0] = np.nan
    y = gru(x, h)[0]
    assert np.isnan(y[0]).all()
    assert np.array_equal(y[1], expected[1])
    assert gru(x[:0], h[:, :0])[0].shape == (0, 5, 4)


def test_streams(gru):
    x = np.ones((2, 1, 3), "f4")
    stream = gru.stream(batch_size=2)
    first = stream.step(x)
    with pytest.raises(ValueError, match=r"state 'h' must have shape \(1, 2, 4\), got \(1, 5, 4\)"):
        stream.state = {"h": np.zeros((1, 5, 4))}
    with pytest.raises(ValueError, match=r"sizes that differ, 'N'"):
        stream.step(x[:1])
    with pytest.raises(TypeError, match="each once, and got 'y'"):
        stream.step(y=x)
    before = stream.state["h"]
    second = stream.step(x)
    assert not np.array_equal(first, second)
    stream.state = {"h": before}
    assert np.array_equal(stream.step(x), second)
    stream.step(x + np.nan)
    assert np.isnan(stream.state["h"]).all()
    stream.reset()
    assert np.array_equal(stream.step(x), first)


def test_streams_that_cannot_be(gru):
    with pytest.raises(TypeError, match=r"states must be a dict \{input: output\}, got list"):
        gru.stream(states=["h"])
    with pytest.raises(ValueError, match="'h' cannot stay the same"):
        gru.stream(h=0)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        gru.stream(0)
    with pytest.raises(TypeError, match="input 'x' must hold real numbers"):
        gru.stream(x="a")


def test_copies(gru):
    x, h = np.ones((2, 5, 3), "f4"), np.zeros((1, 2, 4), "f4")
    expected = gru(x, h)[0]
    for _ in range(2):  # now there is a plan
        gru(x, h)
    again = copy.deepcopy(gru)
    again.metadata["a"] = "b"
    assert not gru.metadata
    assert np.array_equal(again(x, h)[0], expected)
    with pytest.raises(TypeError, match="give the file's path"):
        pickle.dumps(gru)


def test_one_model_in_threads(gru):
    """With sizes that come and go."""
    rng = np.random.default_rng(0)
    given = [rng.normal(size=(1 + k % 3, 1 + k % 4, 3)).astype("f4") for k in range(48)]
    states = [np.zeros((1, len(one), 4), "f4") for one in given]
    expected = [gru(x, h)[0] for x, h in zip(given, states, strict=True)]
    with ThreadPoolExecutor(6) as pool:
        for one, (found, _) in zip(expected, pool.map(gru, given, states), strict=True):
            assert np.array_equal(one, found)


def test_bytes_that_were_changed():
    """Every byte of a small file, once: an error of ours, or a model."""
    data = bytearray(model_bytes([node("Pad", ["x", "p"], "a"), node("Relu", ["a"])], {"x": ("f4", ["N", 3])}, ["y"],
                                 {"p": np.array([0, 1, 0, 1])}))  # fmt: skip
    errors = []
    for at in range(len(data)):
        changed = bytes(data[:at]) + bytes([data[at] ^ (0x01, 0x80, 0xFF)[at % 3]]) + bytes(data[at + 1 :])
        try:
            pylstm.from_onnx(io.BytesIO(changed))(np.ones((2, 3), "f4"))
        except (ValueError, TypeError) as error:
            errors.append(str(error))
    assert len(errors) > len(data) / 2
    assert all(5 < len(error) < 1500 for error in errors)
