"""What can be done with a value, and that everything else says what to use."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest

import pylstm


class Function(pylstm.Model):
    """A model of one function."""

    def __init__(self, function):
        self.function = function

    def run(self, *inputs):
        return self.function(*inputs)


X = np.array([[0.5, -1.5, 2.0], [1.0, 0.25, -0.75]])


@pytest.fixture(params=["inference", "training"])
def compute(request):
    """`function(values)` in a model, in both ways of running one."""

    def run(function, *inputs):
        net = Function(function)
        return net(*inputs) if request.param == "inference" else net.forward(*inputs)[0]

    return run


AS_NUMPY = {
    "+ array": lambda x: x + X,
    "array +": lambda x: X + x,
    "number -": lambda x: 1 - x,
    "- number": lambda x: x - np.float64(1),
    "list *": lambda x: [2.0, 3.0, 4.0] * x,
    "/": lambda x: x / X,
    "array /": lambda x: X / x,
    "column": lambda x: x * X[:, :1],
    "**": lambda x: x**2,
    "** 0": lambda x: x**0,
    "** -1": lambda x: x**-1,
    "-": lambda x: -x,
    "+": lambda x: +x,
    "@": lambda x: x @ X.T,
    "array @": lambda x: X.T @ x,
    "@ vector": lambda x: x @ X[0],
    "vector @": lambda x: X[:, 0] @ x,
    "@ stack": lambda x: x @ np.ones((4, 1, 3, 2)),
    "integer": lambda x: x[1],
    "numpy integer": lambda x: x[np.int32(1)],
    "negative": lambda x: x[-1, -2],
    "slice": lambda x: x[:, ::-2],
    "ellipsis": lambda x: x[..., 1],
    "None": lambda x: x[None, :, None],
    "integers": lambda x: x[:, np.array([2, 0, 2])],
    "list": lambda x: x[[1, 0, 1]],
    "empty list": lambda x: x[[]],
    "pairs": lambda x: x[np.arange(2), np.array([2, 0])],
    "bools": lambda x: x[np.array([False, True])],
    "mask": lambda x: x[X > 0],
    "reshape": lambda x: x.reshape(3, -1),
    "reshape tuple": lambda x: x.reshape((6,)),
    "T": lambda x: x.T,
    "transpose": lambda x: x[None].transpose(2, 0, 1),
    "transpose tuple": lambda x: x.transpose((1, 0)),
    "swapaxes": lambda x: x.swapaxes(0, -1),
    "sum": lambda x: x.sum(),
    "sum axis": lambda x: x.sum(axis=-1),
    "sum axes": lambda x: x.sum((0, 1), keepdims=True),
    "mean": lambda x: x.mean(0),
    "max": lambda x: x.max(axis=1, keepdims=True),
    "abs": lambda x: abs(x),
    "np.abs": lambda x: np.abs(x),
    "np.tanh": lambda x: np.tanh(x),
    "np.exp": lambda x: np.exp(x),
    "np.add": lambda x: np.add(x, 1),
    "np.concatenate": lambda x: np.concatenate([x, X], axis=1),
    "np.stack": lambda x: np.stack([x, X]),
    "np.where": lambda x: np.where(X > 0, x, 0),
    "iteration": lambda x: sum(row * k for k, row in enumerate(x)),
    "in place": lambda x: _added(x),
}


def _added(x):
    before = x
    x = x * 1
    x += X
    return x * before


@pytest.mark.parametrize("name", AS_NUMPY)
def test_operations_are_numpys(compute, name):
    function = AS_NUMPY[name]
    found, expected = compute(function, X), np.asarray(function(X.copy()))
    assert found.shape == expected.shape
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", AS_NUMPY)
def test_gradients_are_central_differences(name):
    net, direction = Function(AS_NUMPY[name]), np.random.default_rng(0).standard_normal(X.shape)
    y, backward = net.forward(X)
    d = np.random.default_rng(1).standard_normal(y.shape)
    slope = ((net(X + 1e-6 * direction) - net(X - 1e-6 * direction)) * d).sum() / 2e-6
    dx, d_params = backward(d)
    assert (dx * direction).sum() == pytest.approx(slope, rel=1e-7, abs=1e-8)
    assert d_params == {}


FUNCTIONS = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
    "log_softmax": lambda x: np.log(np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_methods_and_functions_are_the_same(compute, name):
    x = X**2 if name in ("log", "sqrt") else X
    function = getattr(pylstm, name)
    for found in (compute(lambda v: getattr(v, name)(), x), compute(function, x), function(x), function(x.tolist())):
        np.testing.assert_allclose(found, FUNCTIONS[name](x), rtol=1e-6 if found.dtype == np.float32 else 1e-14)
    assert type(function(x)) is np.ndarray
    assert function(x).dtype == np.float64
    assert function(x.astype(np.float32)).dtype == function([1, 2]).dtype == np.float32


def test_functions_of_several(compute):
    np.testing.assert_array_equal(pylstm.concatenate([X, X], axis=1), np.concatenate([X, X], axis=1))
    np.testing.assert_array_equal(compute(lambda x: pylstm.stack([x, X], axis=-1), X), np.stack([X, X], axis=-1))
    np.testing.assert_array_equal(compute(lambda x: pylstm.matmul(X.T, x), X), X.T @ X)
    np.testing.assert_array_equal(pylstm.where([True, False, True], X, 0), np.where([True, False, True], X, 0))
    np.testing.assert_array_equal(compute(lambda x: pylstm.tanh(X) + x, X), np.tanh(X) + X)


def test_extreme_numbers():
    x = np.array([[-1e4, 0.0, 1e4], [np.inf, 1.0, 2.0]])
    with np.errstate(all="ignore"):
        for function in (pylstm.sigmoid, pylstm.softmax, pylstm.log_softmax):
            y, backward = Function(function).forward(x[:1])
            assert np.isfinite(y).all()
            assert np.isfinite(backward(np.ones_like(y))[0]).all()
        np.testing.assert_array_equal(pylstm.sigmoid(x), [[0, 0.5, 1], [1, 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-2))]])
        y, backward = Function(lambda v: v.max()).forward(np.array([1.0, np.nan]))
        assert np.isnan(backward(1.0)[0]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "softmax"])
def test_activations_have_the_bits_of_the_layer(name, dtype):
    rng = np.random.default_rng(0)
    x, d = (20 * rng.standard_normal((2, 30, 7))).astype(dtype)
    x[0, :4] = 0.0, -0.0, -1e30, 1e30
    layer, function = pylstm.Activation(name), getattr(pylstm, name)
    want, want_back = layer.forward(x)
    got, got_back = Function(function).forward(x)
    for value in (layer(x), function(x), got):
        assert value.tobytes() == want.tobytes()
    assert got_back(d)[0].tobytes() == want_back(d)[0].tobytes()


def test_the_largest_share_their_gradient():
    _, backward = Function(lambda x: x.max(axis=1)).forward(np.array([[1.0, 3.0, 3.0], [2.0, 1.0, 0.0]]))
    np.testing.assert_array_equal(backward([1.0, 4.0])[0], [[0, 0.5, 0.5], [4, 0, 0]])


def test_dtypes(compute):
    single = X.astype(np.float32)
    for function in (
        lambda x: x + X, lambda x: X * x, lambda x: x * np.float64(2), lambda x: x + 1, lambda x: 1.5 - x,
        lambda x: x.sum(), lambda x: x.mean() * 2, lambda x: x**2.0, lambda x: x.max() / 3, lambda x: x @ X.T,
        lambda x: pylstm.concatenate([x, X]), lambda x: pylstm.where(X > 0, x, 0.0), lambda x: x * (X > 0),
        lambda x: x * np.arange(3), lambda x: x[0, 0] * 2,
    ):  # fmt: skip
        assert compute(function, single).dtype == np.float32
    assert compute(lambda a, b: a * b, single, X).dtype == np.float64
    assert compute(lambda x: x + 1, X.astype(np.float16)).dtype == np.float32
    _, backward = Function(lambda a, b: a * b).forward(single, X)
    assert [d.dtype for d in backward(X)[0]] == [np.float32, np.float64]


def test_as_an_array(compute):
    def look(x):
        assert (x.shape, x.ndim, x.size, len(x), x.dtype) == ((2, 3), 2, 6, 2, np.float64)
        assert "Value" in repr(x)
        assert "0.25" in repr(x)
        assert isinstance(x, pylstm.Value)
        assert x is x
        assert len({x, x * 1, x}) == 2
        return x

    compute(look, X)


def test_plain_numbers_by_name(compute):
    def look(x):
        plain = x.numpy()
        assert type(plain) is np.ndarray
        assert not plain.flags.writeable
        return x * (plain > 0) * np.sin(plain) + x.detach() * 2 + pylstm.stop_gradient(x)

    np.testing.assert_allclose(compute(look, X), X * (X > 0) * np.sin(X) + 3 * X, rtol=1e-15)
    _, backward = Function(look).forward(X)
    np.testing.assert_array_equal(backward(np.ones_like(X))[0], (X > 0) * np.sin(X))
    assert pylstm.stop_gradient(X) is X


REFUSED = {
    "np.sin": (lambda x: np.sin(x), TypeError, r"np\.sin of a value is not recorded: use exp, log.*value\.numpy\(\)"),
    "np.sort": (lambda x: np.sort(x), TypeError, r"np\.sort of a value is not recorded"),
    "np.sum": (lambda x: np.sum(x), TypeError, r"np\.sum of a value"),
    "np.add.reduce": (lambda x: np.add.reduce(x), TypeError, r"np\.add of a value"),
    "np.add out": (lambda x: np.add(x, 1, out=np.zeros(3)), TypeError, "a = a \\+ value"),
    "np.add where": (lambda x: np.add(x, 1, where=[True]), TypeError, r"np\.add of a value"),
    "array += value": (lambda x: X.copy().__iadd__(x), TypeError, "a = a \\+ value"),
    "np.asarray": (lambda x: np.asarray(x), TypeError, r"no plain array.*value\.numpy\(\)"),
    "np.array of a list": (lambda x: np.array([x, x]), TypeError, r"no plain array.*value\.numpy\(\)"),
    "array[..] = value": (lambda x: np.zeros((2, 3)).__setitem__(0, x[0]), TypeError, r"value\.numpy\(\)"),
    "array[0] = number": (lambda x: np.zeros(3).__setitem__(0, x[0, 0]), (TypeError, ValueError), "setting|numpy"),
    "float": (lambda x: float(x[0, 0]), TypeError, r"plain number.*value\.numpy\(\)"),
    "int": (lambda x: int(x[0, 0]), TypeError, r"value\.numpy\(\)"),
    "complex": (lambda x: complex(x[0, 0]), TypeError, r"value\.numpy\(\)"),
    "index": (lambda x: [1, 2][x[0, 0]], TypeError, r"value\.numpy\(\)"),
    "math": (lambda x: math.exp(x[0, 0]), TypeError, r"value\.numpy\(\)"),
    "bool": (lambda x: 1 if x else 0, TypeError, r"neither true nor false.*value\.numpy\(\).*pylstm\.where"),
    "not": (lambda x: not x, TypeError, "neither true"),
    "==": (lambda x: x == X, TypeError, r"comparing.*value\.numpy\(\)"),
    "array ==": (lambda x: x == X, TypeError, r"equal of a value|comparing"),
    "<": (lambda x: x < 0, TypeError, "comparing"),
    "max of two": (lambda x: max(x[0, 0], x[0, 1]), TypeError, "comparing"),
    "in": (lambda x: x[0] in [1, 2], TypeError, "comparing"),
    "x[0] = ..": (lambda x: x.__setitem__(0, 1), TypeError, "cannot be assigned to.*pylstm.stack"),
    "x[0] += ..": (lambda x: exec("x[0] += 1", {"x": x}), TypeError, "cannot be assigned to"),
    "//": (lambda x: x // 2, TypeError, "floordiv of a value is not recorded"),
    "%": (lambda x: x % 2, TypeError, "mod of a value"),
    "2 ** x": (lambda x: 2**x, TypeError, "rpow of a value"),
    "x ** x": (lambda x: x**x, TypeError, r"plain number.*\(b \* a\.log\(\)\)\.exp\(\)"),
    "x ** array": (lambda x: x**X, TypeError, "plain number"),
    "x ** True": (lambda x: x**True, TypeError, "plain number"),
    "x & x": (lambda x: x & x, TypeError, "and of a value"),
    "word": (lambda x: x + "a", TypeError, "unsupported operand"),
    "None": (lambda x: None * x, TypeError, "unsupported operand"),
    "complex array": (lambda x: x * np.ones(3, complex), TypeError, "real numbers"),
    "complex number": (lambda x: x * 1j, TypeError, "complex|unsupported"),
    "objects": (lambda x: x * np.array([None, 1, 2]), TypeError, "real numbers"),
    "masked": (lambda x: x * np.ma.masked_array([1.0, 2, 3], [0, 1, 0]), TypeError, "masked|no plain array"),
    "shapes": (lambda x: x + np.ones(7), ValueError, "broadcast"),
    "matmul shapes": (lambda x: x @ np.ones((7, 2)), ValueError, "columns"),
    "std": (lambda x: x.std(), AttributeError, r"no 'std': use exp, log.*value\.numpy\(\)"),
    "data": (lambda x: x.data, AttributeError, r"value\.numpy\(\)"),
    "item": (lambda x: x.item(), AttributeError, r"value\.numpy\(\)"),
    "shape = ..": (lambda x: setattr(x, "shape", (6,)), AttributeError, "shape|set"),
    "grad = ..": (lambda x: setattr(x, "grad", 0), AttributeError, "grad"),
    "index float": (lambda x: x[1.0], TypeError, "an index is made of integers"),
    "index value": (lambda x: x[x], TypeError, "an index is made of integers"),
    "index bool": (lambda x: x[True], TypeError, "an index is made of integers"),
    "index floats": (lambda x: x[np.ones(2)], TypeError, "an index is made of integers"),
    "index too far": (lambda x: x[2], IndexError, "out of bounds"),
    "len": (lambda x: len(x.sum()), TypeError, "no axes"),
    "iterate": (lambda x: list(x.sum()), TypeError, "no axes"),
    "copy": (lambda x: copy.copy(x), TypeError, r"cannot be copied.*value\.numpy\(\)"),
    "deepcopy": (lambda x: copy.deepcopy(x), TypeError, "cannot be copied"),
    "pickle": (lambda x: pickle.dumps(x), TypeError, "cannot be copied or pickled"),
    "make one": (lambda x: pylstm.Value(), TypeError, "values are made by a model's run"),  # noqa: ARG005
    "concatenate values": (lambda x: pylstm.concatenate(x), TypeError, "must be a list of values"),
    "concatenate none": (lambda x: pylstm.concatenate([]), ValueError, "at least one"),  # noqa: ARG005
    "condition": (lambda x: pylstm.where(x, x, x), TypeError, "condition"),
    "condition of numbers": (lambda x: pylstm.where([1, 0, 1], x, x), TypeError, "condition must be.*bools"),
    "a loss": (lambda x: pylstm.mse(x, X), TypeError, "no plain array"),
    "layer.forward": (lambda x: pylstm.Linear(3, 2).forward(x), TypeError, r"layer\(value\)"),
    "state of a value": (lambda x: pylstm.LSTM(3, 3)(x, x[None]), TypeError, "tuple"),
    "out": (lambda x: pylstm.LSTM(3, 3)(x, out=np.zeros((2, 3))), ValueError, "out="),
    "lengths": (lambda x: pylstm.LastStep()(x[None], lengths=x), TypeError, "lengths|no plain array"),
    "params": (lambda x: x @ pylstm.Linear(3, 2).params["weight"].T, TypeError, r"lose its gradient.*state_dict\(\)"),
    "all params": (lambda x: [p * x for p in pylstm.Linear(3, 2).params.values()], TypeError, "lose its gradient"),
    "stream": (lambda x: pylstm.LSTM(3, 3).stream(2).step(x), TypeError, r"no plain array|state = layer\(x, state\)"),
    "value_and_grad": (
        lambda x: pylstm.value_and_grad(lambda net, v: net(v).sum())(Function(lambda v: v), x), TypeError,
        "another run",
    ),
    "forward": (lambda x: Function(lambda v: v).forward(x), TypeError, "another run|Function.forward inside of"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_recorded_is_refused_and_says_what_to_use(compute, name):
    function, error, text = REFUSED[name]
    with pytest.raises(error, match=f"(?s){text}"):
        compute(function, X)
    assert compute(lambda x: x * 1, X).shape == X.shape  # nothing is left behind


@pytest.mark.filterwarnings("ignore")
def test_no_function_of_numpys_takes_a_value_in_silence(compute, capsys):
    """Every ufunc and function of NumPy's on a value raises or gives a value: none gives an array or a number."""
    found, asked = [], 0

    def try_all(x):
        nonlocal asked
        for name in dir(np):
            function = getattr(np, name)
            if not callable(function) or isinstance(function, type) or name in ("test", "isscalar", "iterable"):
                continue
            for arguments in ((x,), ([x, x],), (x, x) if name not in ("issubdtype", "promote_types") else ()):
                try:
                    result = function(*arguments)
                except Exception:
                    asked += 1
                    continue
                if isinstance(result, (np.ndarray, np.generic, float, int)):
                    found.append((name, result))
        return x

    compute(try_all, X)
    assert found == []
    assert asked > 500
    capsys.readouterr()
