"""ONNX files computed again for shapes that came before: the same bits, sooner, and the same errors."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import pylstm
from pylstm.files.onnx import plans, writing
from pylstm.files.onnx.operators.known import known_operators
from support.onnx_files import as_tuple, bounded_recurrent, loaded

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 10)).astype("f4")
F = ("f4", None)


def node(operator, inputs, output="y", **attributes):
    return writing.node(operator, inputs, [output] if isinstance(output, str) else output, **attributes)


def weight(*shape):
    return RNG.normal(size=shape).astype("f4")


def plan_of(model):
    return next(iter(model._program._plans.values()))


def branch(operator, *inputs):
    """A graph of one node for an If."""
    return writing.graph([writing.node(operator, inputs, [f"inner {operator}"])], [],
                         [writing.value(f"inner {operator}", "f4", None)])  # fmt: skip


def conv(**options):
    return [node("Conv", ["x", "w", "b"], kernel_shape=[3], **options)]


GRAPHS = {
    "convolution": (conv(), {"w": weight(4, 3, 3), "b": weight(4)}, X),
    "padded": (conv(pads=[1, 2], strides=[2]), {"w": weight(4, 3, 3), "b": weight(4)}, X),
    "dilated": (conv(dilations=[2], pads=[0, 3]), {"w": weight(4, 3, 3), "b": weight(4)}, X),
    "same": (conv(auto_pad="SAME_UPPER", strides=[3]), {"w": weight(4, 3, 3), "b": weight(4)}, X),
    "groups": ([node("Conv", ["x", "w"], group=3)], {"w": weight(6, 1, 3)}, X),
    "pictures": (
        [node("Conv", ["x", "w", "b"], pads=[1, 0, 0, 2], strides=[2, 1], dilations=[1, 2])],
        {"w": weight(4, 3, 3, 2), "b": weight(4)}, weight(2, 3, 5, 6),
    ),
    "many rows": (conv(pads=[1, 1]), {"w": weight(4, 3, 3), "b": weight(4)}, weight(4, 3, 50)),
    "transposed": (
        [node("Transpose", ["x"], "t", perm=[0, 2, 1]), node("Conv", ["t", "w"])], {"w": weight(4, 10, 1)}, X
    ),
    "reflected": ([node("Pad", ["x", "p"], mode="reflect")], {"p": np.array([0, 1, 4, 0, 0, 2])}, X),
    "edges": ([node("Pad", ["x", "p"], mode="edge")], {"p": np.array([1, 0, 0, 0, 3, 2])}, X),
    "wrapped": ([node("Pad", ["x", "p"], mode="wrap")], {"p": np.array([0, 0, 4, 0, 0, -2])}, X),
    "zeros": ([node("Pad", ["x", "p", "v"])], {"p": np.array([0, 0, 4, 0, 0, -2]), "v": np.float32(3)}, X),
    "cut": (
        [node("Slice", ["x", "s", "e", "a", "d"])],
        {"s": np.array([-1, 1]), "e": np.array([-99, 9]), "a": np.array([2, 1]), "d": np.array([-2, 1])}, X,
    ),
    "gathered": ([node("Gather", ["x", "i"], axis=1)], {"i": np.array([[-1, 0], [1, 1]])}, X),
    "one gathered": ([node("Gather", ["x", "i"], axis=-1)], {"i": np.array(-2)}, X),
    "means": ([node("ReduceMean", ["x"], axes=[0, 2], keepdims=0)], {}, X),
    "squares": ([node("Pow", ["x", "two"])], {"two": np.float32(2)}, X),
    "sizes": (
        [node("Shape", ["x"], "s"), node("Gather", ["s", "one"], "n"), node("Cast", ["n"], "f", to=1),
         node("Mul", ["x", "f"], "z"), node("Reshape", ["z", "shape"])],
        {"one": np.array([1]), "shape": np.array([0, -1])}, X,
    ),
    "branches": (
        [node("Shape", ["x"], "s"), node("Gather", ["s", "one"], "n"), node("Equal", ["n", "three"], "c"),
         node("If", ["c"], then_branch=branch("Neg", "x"), else_branch=branch("Exp", "x"))],
        {"one": np.array([1]), "three": np.array([3])}, X,
    ),
    "input": ([node("Identity", ["x"])], {}, X),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_same_bits(name):
    """Of the first time, without a plan, of the second, which makes it, and of those behind it."""
    nodes, constants, x = GRAPHS[name]
    model = loaded(nodes, {"x": F}, ["y"], constants)
    first = model(x)
    again = [model(x) for _ in range(3)]
    assert plan_of(model) is not None
    assert all(one.dtype == first.dtype and np.array_equal(one, first) for one in again)
    other = RNG.normal(size=x.shape).astype("f4")
    assert np.array_equal(model(other), loaded(nodes, {"x": F}, ["y"], constants)(other))
    again[2][...] = 7  # outputs are the caller's
    assert np.array_equal(model(x), first)


@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
def test_recurrent_nodes(operator):
    rng = np.random.default_rng(1)
    for _ in range(12):
        data, given, _ = bounded_recurrent(rng, operator)
        model = pylstm.from_onnx(io.BytesIO(data))
        first = as_tuple(model(**given))
        for _ in range(3):
            assert all(np.array_equal(a, b) for a, b in zip(first, as_tuple(model(**given)), strict=True))


def test_branches_that_numbers_choose():
    """Have no plan, and run as they did."""
    nodes = [node("ReduceSum", ["x"], "s", keepdims=0), node("Greater", ["s", "zero"], "c"),
             node("If", ["c"], then_branch=branch("Neg", "x"), else_branch=branch("Exp", "x"))]  # fmt: skip
    model = loaded(nodes, {"x": F}, ["y"], {"zero": np.float32(0)})
    ones = np.ones(3, "f4")
    for _ in range(4):
        assert model(ones).tolist() == [-1, -1, -1]
        assert np.array_equal(model(-ones), np.exp(-ones))
    assert plan_of(model) is None


def test_shapes_that_follow_from_numbers():
    """Of what NonZero finds, and of a shape that goes in."""
    model = loaded([node("NonZero", ["x"], "i"), node("Transpose", ["i"], "t"), node("Cast", ["t"], to=1)], {"x": F},
                   ["y"])  # fmt: skip
    turned = loaded([node("Reshape", ["x", "shape"])], {"x": F, "shape": ("i8", [2])}, ["y"])
    for count in (1, 2, 3, 0, 3):
        x = (np.arange(3) < count).astype("f4")
        assert model(x).shape == (count, 1)
        shape = [3, 1] if count % 2 else [1, 3]
        assert turned(x, shape).shape == tuple(shape)


def test_errors_are_the_same():
    model = loaded([node("Gather", ["x", "i"], axis=0)], {"x": F, "i": ("i8", [1])}, ["y"])
    x = np.arange(3, dtype="f4")
    for _ in range(3):
        assert model(x, [2]) == [2]
    for _ in range(2):
        with pytest.raises(ValueError, match=r"node 0 \(Gather .*out of range"):
            model(x, [3])
    assert model(x, [1]) == [1]


def test_states_of_other_shapes_are_refused_as_before(tmp_path):
    layer = pylstm.LSTM(3, 4, batch_first=True, seed=0)
    pylstm.to_onnx(layer, tmp_path / "lstm.onnx", states=True)
    model = pylstm.from_onnx(tmp_path / "lstm.onnx")
    x, h = np.ones((2, 5, 3), "f4"), np.zeros((1, 2, 4), "f4")
    for _ in range(3):
        assert np.array_equal(model(x, h, h)[0], layer(x)[0])
    for _ in range(3):
        with pytest.raises(ValueError, match="initial_h must be"):
            model(x, h[:, :1], h[:, :1])


def test_many_shapes_take_little():
    model = loaded(conv(), {"x": F}, ["y"], {"w": weight(4, 3, 3), "b": weight(4)})
    for size in range(3, 100):
        x = np.ones((1, 3, size), "f4")
        assert np.array_equal(model(x), model(x))
    assert len(model._program._plans) <= 8
    assert len(model._program._seen) <= 64


def test_what_follows_from_shapes_is_bounded():
    """Zeros as large as a file asks for are made again in every run, and not kept."""
    nodes = [node("Shape", ["x"], "s"), node("ConstantOfShape", ["s"], "z"), node("Add", ["x", "z"])]
    model = loaded(nodes, {"x": F}, ["y"])
    for size in (10, 2**17):
        x = np.ones(size, "f4")
        for _ in range(3):
            assert np.array_equal(model(x), x)
        kept = sum(one.size for one in model._program._plans[((x.shape, "f"),)].values if one is not None)
        assert kept == (10 + 1 if size == 10 else 1)


def test_in_threads():
    nodes, constants, x = GRAPHS["padded"]
    model = loaded(nodes, {"x": F}, ["y"], constants)
    shapes = [x[:, :, :size] for size in range(3, 11)] * 20
    expected = {one.shape: loaded(nodes, {"x": F}, ["y"], constants)(one) for one in shapes}
    with ThreadPoolExecutor(8) as pool:
        for one, found in zip(shapes, pool.map(model, shapes), strict=True):
            assert np.array_equal(found, expected[one.shape])


def test_in_a_run_of_a_model():
    """Layers of ours in a file compute as they do elsewhere."""
    file = loaded(conv(), {"x": F}, ["y"], {"w": weight(4, 3, 3), "b": weight(4)})
    linear = loaded([node("MatMul", ["x", "w"])], {"x": F}, ["y"], {"w": weight(8, 2)})

    class Own(pylstm.Model):
        def run(self, x):
            return x * 0.0 + linear(file(X))[0, 0, 0]

    assert np.array_equal(Own()(np.ones(2, "f4")), np.full(2, linear(file(X))[0, 0, 0]))


def test_operators_are_known():
    """What is said of operators is said of such that there are."""
    assert {*plans._BY_SHAPES, *plans._BY_NUMBERS} <= set(known_operators())
    assert not set(plans._BY_SHAPES) & set(plans._BY_NUMBERS)
