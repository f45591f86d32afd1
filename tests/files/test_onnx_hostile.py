"""ONNX files that are damaged, or made to do harm: a ValueError with words, little memory, and nothing outside of the
model's folder is read. And nodes that pylstm does not compute, which are refused by name."""

from __future__ import annotations

import io
import os
import tracemalloc

import numpy as np
import pytest

import pylstm
from pylstm.files.onnx import writing
from pylstm.files.onnx.protobuf import fields, integers, number_field, span_field, varint
from support.onnx_files import HERE, loaded, model_bytes, one_node

MiB = 2**20
X = {"x": ("f4", ["N", 3])}


def refused(data, match, error=pylstm.ModelFileError):
    with pytest.raises(error, match=match) as caught:
        pylstm.from_onnx(io.BytesIO(data) if isinstance(data, bytes) else data)
    assert 10 < len(str(caught.value)) < 1000
    return str(caught.value)


def with_constant(tensor):
    """A file whose graph has this TensorProto among its constants."""
    graph = writing.graph([writing.node("Identity", ["x"], ["y"])], [writing.value("x", "f4", [3])],
                          [writing.value("y", "f4", [3])])  # fmt: skip
    return writing.model(writing.GraphBytes(graph + span_field(5, tensor)), 17)


def test_every_cut():
    """A file that ends too early is refused, or is a graph with less in it, wherever it ends."""
    data = (HERE / "lstm_bf_states.legacy.onnx").read_bytes()
    for end in range(0, len(data) - 1, 7):
        refused(data[:end], ".")


def test_other_files(tmp_path):
    for begin, match in (
        (b"", "empty"), (b"PK\3\4" + bytes(20), "a zip"), (b"\x89HDF\r\n", "HDF5"), (b"\x80\x02x", "pickle"),
        (b"{}", "a text"), (b"version https://git-lfs", "git lfs pull"), (b"\x08", "does not end"),
        (b"\x0b\x01", "a group"), (b"\x08\x07\x12\x7fx", "cut off"), (b"\x08\x07", "no graph"), (bytes(9), "none"),
    ):  # fmt: skip
        refused(begin, match)
    with pytest.raises(IsADirectoryError, match=r"give the \.onnx file"):
        pylstm.from_onnx(tmp_path)
    with pytest.raises(FileNotFoundError):
        pylstm.from_onnx(tmp_path / "none.onnx")
    with pytest.raises(TypeError, match=r"io\.BytesIO"):
        pylstm.from_onnx(b"abc")
    with pytest.raises(TypeError, match="mode 'rb'"):
        pylstm.from_onnx(io.StringIO("abc"))


def test_wire():
    assert [varint(n) for n in (0, 127, 128, 2**64 - 1)] == [b"\0", b"\x7f", b"\x80\x01", b"\xff" * 9 + b"\x01"]
    numbers = [0, 1, -1, 300, 2**62, -(2**63), 127, 128]
    assert integers(memoryview(b"".join(map(varint, numbers)))).tolist() == numbers
    assert not integers(memoryview(b"")).size
    for data in (b"\x80", b"\x01\x80", b"\xff" * 11 + b"\1"):
        with pytest.raises(ValueError, match=r"cut off|64 bits"):
            integers(memoryview(data))
    found = [(number, wire) for number, wire, _ in fields(memoryview(b"\x08\x05\x12\x01a\x1d\0\0\0\0\x21" + bytes(8)))]
    assert found == [(1, 0), (2, 2), (3, 5), (4, 1)]


WRONG_TENSORS = {
    "too few bytes": (number_field(1, 3) + number_field(2, 1) + span_field(9, bytes(8)), "needs 12 bytes, and has 8"),
    "beyond memory": (number_field(1, 2**62) * 3 + number_field(2, 1) + span_field(9, b""), "needs .* bytes"),
    "negative": (number_field(1, -3) + number_field(2, 1), "none that an array can have"),
    "axes": (number_field(1, 1) * 50 + number_field(2, 1), "none that an array can have"),
    "text": (number_field(1, 1) + number_field(2, 8), "is of string"),
    "type": (number_field(1, 1) + number_field(2, 99), "type number 99"),
    "numbers": (number_field(1, 2) + number_field(2, 7) + span_field(7, b"\1"), "needs 2 numbers, and has 1"),
    "cut": (number_field(1, 2) + number_field(2, 1) + span_field(4, b"\1\1\1"), "cut off"),
    "name": (span_field(8, b"\xff") + number_field(2, 1), "not UTF-8"),
    "segments": (span_field(3, b"") + number_field(2, 1), "segments"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_TENSORS)
def test_wrong_tensors(name):
    refused(with_constant(WRONG_TENSORS[name][0]), WRONG_TENSORS[name][1])


def tensor_beside(place, *, size=3, **entries):
    data = number_field(1, size) + number_field(2, 1) + span_field(8, "w") + number_field(14, 1)
    for key, entry in {"location": place, **entries}.items():
        data += span_field(13, span_field(1, key) + span_field(2, str(entry)))
    return data


def test_tensors_in_files_of_their_own(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "w.bin").write_bytes(np.arange(8, dtype="f4").tobytes())
    (tmp_path / "inside" / "w.bin").write_bytes(np.arange(8, dtype="f4").tobytes())
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "w.bin")
    path = tmp_path / "inside" / "model.onnx"
    nodes = [writing.node("Add", ["x", "w"], ["y"])]

    def write(tensor):
        graph = writing.graph(nodes, [writing.value("x", "f4", [3])], [writing.value("y", "f4", [3])])
        path.write_bytes(writing.model(writing.GraphBytes(graph + span_field(5, tensor)), 17))
        return path

    y = pylstm.from_onnx(write(tensor_beside("w.bin", offset=4, length=12)))(np.zeros(3))
    assert y.tolist() == [1, 2, 3]
    for place in ("../w.bin", str(tmp_path / "w.bin"), "a/../../w.bin", "..\\w.bin", "", "c:/w.bin"):
        refused(write(tensor_beside(place)), "not in the model's folder")
    refused(write(tensor_beside("link")), "leads out of the model's folder")
    refused(write(tensor_beside("none.bin")), "copy it into the model's folder")
    refused(write(tensor_beside("w.bin", offset=24)), "needs 12 bytes from byte 24 on")
    refused(write(tensor_beside("w.bin", offset=-4)), "needs 12 bytes")
    refused(write(tensor_beside("w.bin", offset="x")), "not with numbers")
    refused(write(tensor_beside("w.bin", size=2**60)), "bytes from byte 0")
    refused(path.read_bytes(), "give the model's path")
    many = b"".join(span_field(5, tensor_beside("w.bin").replace(b"w", bytes([97 + n]), 1)) for n in range(20))
    graph = writing.graph(nodes, [], [])
    path.write_bytes(writing.model(writing.GraphBytes(graph + many), 17))
    refused(path, "the same bytes")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "model.onnx")
    refused(tmp_path / "model.onnx", "regular file")


def memory_of(data, match=None):
    tracemalloc.start()
    try:
        if match is None:
            pylstm.from_onnx(io.BytesIO(data))
        else:
            refused(data, match)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory():
    """Small files that ask for much."""
    pylstm.from_onnx(io.BytesIO(model_bytes([], {}, [])))
    empty = span_field(1, b"") * 500_000
    graph = writing.GraphBytes(writing.graph([], [], []) + empty)
    assert memory_of(writing.model(graph, 17), "more pieces") < 64 * MiB
    big = np.array([2**15, 2**15])
    for node in (
        writing.node("ConstantOfShape", ["big"], ["y"]), writing.node("Expand", ["one", "big"], ["y"]),
        writing.node("Tile", ["one", "big"], ["y"]), writing.node("Range", ["zero", "much", "step"], ["y"]),
        writing.node("MatMul", ["column", "row"], ["y"]), writing.node("Add", ["column", "row"], ["y"]),
        writing.node("Gather", ["column", "many"], ["y"], axis=1),
    ):  # fmt: skip
        constants = {
            "big": big, "one": np.ones((1, 1), "f4"), "zero": np.array(0), "much": np.array(2**40), "step": np.array(1),
            "column": np.ones((5000, 1), "f4"), "row": np.ones((1, 5000), "f4"), "many": np.zeros(5000, np.int64),
        }  # fmt: skip
        assert memory_of(model_bytes([node], {}, ["y"], constants)) < 32 * MiB
    doubling = [writing.node("Concat", [f"a{n}", f"a{n}"], [f"a{n + 1}"], axis=0) for n in range(40)]
    assert memory_of(model_bytes(doubling, {}, ["a40"], {"a0": np.ones(1000, "f4")})) < 64 * MiB


def test_sizes_that_a_model_asks_for_are_bounded():
    model = loaded([writing.node("ConstantOfShape", ["x"], ["y"])], {"x": ("i8", [2])}, ["y"])
    assert model([2, 3]).shape == (2, 3)
    for shape in ([2**31, 2**31], [-1, 2]):
        with pytest.raises(ValueError, match="asks for an array of shape"):
            model(shape)


def test_graphs_in_graphs():
    graph = writing.graph([], [], [writing.value("x", "f4", [3])])
    for _ in range(40):
        node = writing.node("If", ["c"], ["y"], then_branch=graph, else_branch=graph)
        graph = writing.graph([node], [], [writing.value("y", "f4", [3])])
        if len(graph) > 100_000:
            break
    deep = writing.GraphBytes(b"")
    for _ in range(2000):
        deep = writing.graph([span_field(5, span_field(1, "then_branch") + span_field(6, deep))], [], [])
    refused(writing.model(deep, 17), "in each other")


# ---- graphs that are not right ---------------------------------------------------------------------------------------

NODES = {
    "loop": (writing.node("Loop", ["x"], ["y"], name="n"), "node 0 'n' \\(Loop\\): .*steps are nodes.*nn.LSTM"),
    "scan": (writing.node("Scan", ["x"], ["y"], name="n"), "\\(Scan\\).*\\.keras"),
    "unknown": (writing.node("LSTMM", ["x"], ["y"]), "\\(LSTMM that gives 'y'\\).*did you mean 'LSTM'"),
    "foreign": (writing.node("Thing", ["x"], ["y"], domain="ai.own"), "ai.own.Thing"),
    "random": (writing.node("RandomNormalLike", ["x"], ["y"]), "model.eval"),
    "inputs": (writing.node("Add", ["x"], ["y"]), "has 1 inputs and must have 2"),
    "missing": (writing.node("Add", ["x", ""], ["y"]), "has 1 inputs|lacks an input"),
    "nobody's": (writing.node("Add", ["x", "z"], ["y"]), "takes 'z', which nothing before gives"),
    "attribute": (writing.node("Relu", ["x"], ["y"], slope=3), "attribute 'slope', which is not known"),
    "kind": (writing.node("Softmax", ["x"], ["y"], axis="last"), "'axis' must be an integer"),
    "twice": (writing.node("Relu", ["x"], ["x"]), "the name 'x', which another value has"),
    "later": (writing.node("Gelu", ["x"], ["y"]), "exists from opset 20 on, and the file says 17"),
    "dropout": (writing.node("Dropout", ["x", "", "t"], ["y"]), "drops at random"),
    "batch norm": (writing.node("BatchNormalization", ["x"] * 5, ["y"], training_mode=1), "for inference"),
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
def test_refused_nodes(name):
    refused(model_bytes([NODES[name][0]], X, ["y"], {"t": np.array(True)}), NODES[name][1])


def test_refused_files():
    node = writing.node("Relu", ["x"], ["y"])
    refused(model_bytes([node], X, ["y"], opset=6), "uses opset 6, and 7 to")
    refused(model_bytes([node], X, ["y"], opset=99), "uses opset 99")
    refused(model_bytes([node], X, ["z"]), "the graph's outputs name 'z'")
    refused(model_bytes([node], X, ["y"]) + span_field(25, b""), "inline_local_functions")


def test_errors_while_it_runs_name_the_node():
    model = loaded([writing.node("Reshape", ["x", "s"], ["y"], name="shape it")], X, ["y"], {"s": np.array([5, 7])})
    with pytest.raises(
        ValueError, match=r"node 0 'shape it' \(Reshape\): .* It was given float32 \(2, 3\), int64 \(2,\)"
    ):
        model(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="out of range"):
        one_node("Gather", [np.zeros(3, "f4"), np.array([5])])


def test_inputs():
    model = loaded([writing.node("Add", ["x", "in:1"], ["y"])], {**X, "in:1": ("i4", [3])}, ["y"])
    for given, named, error, match in (
        ((), {}, TypeError, "the input 'x' is missing: the model takes 'x', 'in:1'"),
        ((1, 2, 3), {}, TypeError, "has 2 inputs"),
        ((np.zeros((2, 3)),), {"x": 3}, TypeError, "given twice"),
        ((np.zeros((2, 3)),), {"in": 3}, TypeError, "there is no input 'in'"),
        ((np.zeros((2, 4)), [1, 2, 3]), {}, ValueError, r"input 'x' must have shape \(N, 3\), got \(2, 4\)"),
        ((np.zeros(3), [1, 2, 3]), {}, ValueError, r"input 'x' must have shape"),
        ((np.zeros((2, 3)), [1.0, 2.0, 3.0]), {}, TypeError, "input 'in:1' must be of int32, got float64"),
        ((np.zeros((2, 3)), [1, 2, 2**40]), {}, ValueError, "int32 cannot hold"),
        ((["a", "b"], [1, 2, 3]), {}, TypeError, "input 'x'"),
    ):
        with pytest.raises(error, match=match):
            model(*given, **named)
    with pytest.raises(ValueError, match="no states among its inputs"):
        model.stream()
    with pytest.raises(ValueError, match="must name an input"):
        model.stream(states={"x": "z"})


def test_outputs_are_the_callers():
    x = np.ones((2, 3), "f4")
    model = loaded([writing.node("Identity", ["x"], ["y"]), writing.node("Identity", ["w"], ["z"])], X, ["y", "z"],
                   {"w": np.ones(3, "f4")})  # fmt: skip
    y, z = model(x)
    y += 1
    z += 1
    assert x.tolist() == [[1, 1, 1]] * 2
    assert model(x)[1].tolist() == [1, 1, 1]
