"""Arrays that are held for later: what a user does to the objects at hand changes nothing that was promised."""

from __future__ import annotations

import copy
import gc
import pickle

import numpy as np
import pytest

import pylstm
from support.problems import flat

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # setting a shape in place is to go, some day

RNG = np.random.default_rng(0)


def edits(array):
    """Everything that can be set in place on an array's description, without a word to those who hold the array."""
    size = array.size
    for name, value in [
        *(("shape", shape) for shape in ((size,), (1, size), (size, 1), (1, 1, size), array.shape[::-1])),
        ("dtype", np.int32), ("dtype", np.float64), ("dtype", np.int8), ("strides", (0,)), ("strides", (0, 0)),
        ("strides", (0, 0, 0)),
    ]:  # fmt: skip
        try:
            setattr(array, name, value)
        except (AttributeError, ValueError, TypeError):  # does not fit: nothing has changed
            continue
        yield


def unlock(array):
    """Tries every way NumPy knows to make an array, or what it is a view of, writeable; those that went through."""
    found = []
    seen = array
    while isinstance(seen, np.ndarray):
        for way in (
            lambda a: setattr(a.flags, "writeable", True),
            lambda a: a.setflags(write=True),
            lambda a: memoryview(a).cast("B").__setitem__(0, 1),
            lambda a: a.view().setflags(write=True),
            lambda a: np.asarray(a).setflags(write=True),
            lambda a: np.lib.stride_tricks.as_strided(a, writeable=True).setflags(write=True),
            lambda a: np.asarray(type("Held", (), {"__array_interface__": a.__array_interface__})()).setflags(
                write=True
            ),
            lambda a: np.frombuffer(a, np.uint8).setflags(write=True),
            lambda a: a.resize(a.size + 1, refcheck=False),
            lambda a: a.fill(7),
        ):
            try:
                way(seen)
            except (ValueError, TypeError, BufferError):
                continue
            found.append(way)
        seen = seen.base
    if seen is not None:
        try:
            memoryview(seen).cast("B")[0] = 1
        except (TypeError, ValueError):
            pass
        else:
            found.append("the base's buffer")
    return found


def same(a, b):
    return np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


def all_of(grads):
    return [grads.x, *flat(grads.state), *grads.params.values()]


@pytest.mark.parametrize("form", ["T, N", "N, T", "T"])
@pytest.mark.parametrize("steps", [6, 600])  # in memory of NumPy's size and of the core's
def test_shapes_set_between_forward_and_backward(module, variant, form, steps):
    if module is pylstm.reference and (steps > 6 or variant.name != "gru_after"):
        pytest.skip("one front for all")
    layer = variant.make(module, 4, 6, num_layers=2, batch_first=form == "N, T", seed=1)
    shape = {"T, N": (steps, 6, 4), "N, T": (6, steps, 4), "T": (steps, 4)}[form]
    numbers = RNG.standard_normal(shape).astype(np.float32)
    x = numbers.view()
    d = RNG.standard_normal((*shape[:-1], layer.output_size)).astype(np.float32)
    want = all_of(layer.forward(x.copy())[2](d))
    output, state, backward = layer.forward(x)
    kept = output.copy()
    for array in (x, output, *flat(state), output.base):
        if not isinstance(array, np.ndarray):
            continue
        for _ in edits(array):
            got = all_of(backward(d))
            assert [g.shape for g in got] == [w.shape for w in want]
            assert all(map(same, got, want))
    assert same(layer.forward(numbers)[0], kept)


@pytest.mark.parametrize("form", ["T, N", "N, T", "T"])
@pytest.mark.parametrize("steps", [1, 6, 600])
def test_an_output_that_is_read_again_stays_read_only(module, form, steps):
    layer = module.GRU(4, 6, batch_first=form == "N, T", seed=1)
    x = RNG.standard_normal({"T, N": (steps, 6, 4), "N, T": (6, steps, 4), "T": (steps, 4)}[form]).astype(np.float32)
    output = layer.forward(x)[0]
    before = output.copy()
    assert unlock(output) == []
    assert same(output, before)
    inference = layer(x)[0]
    inference[...] = 0  # nobody reads it again


LAYERS = {
    "Linear": lambda: pylstm.Linear(4, 4, seed=0),
    "Embedding": lambda: pylstm.Embedding(5, 4, seed=0),
    "relu": lambda: pylstm.Activation("relu"),
    "tanh": lambda: pylstm.Activation("tanh"),
    "sigmoid": lambda: pylstm.Activation("sigmoid"),
    "softmax": lambda: pylstm.Activation("softmax"),
    "Dropout": lambda: pylstm.Dropout(0.0),
    "Dropout that drops": lambda: pylstm.Dropout(0.5, seed=0),
    "LastStep": pylstm.LastStep,
    "BothEnds": pylstm.BothEnds,
    "MeanOverTime": pylstm.MeanOverTime,
    "MaxOverTime": pylstm.MaxOverTime,
    "Residual": lambda: pylstm.Residual([pylstm.Linear(4, 4, seed=0), pylstm.Activation("tanh")]),
    "Columns": lambda: pylstm.Columns([pylstm.Embedding(5, 3, seed=0), pylstm.Embedding(5, 3, seed=1)]),
    "Sequential": lambda: pylstm.Sequential([
        pylstm.LSTM(4, 6, batch_first=True, seed=0), pylstm.Activation("tanh"), pylstm.LastStep()
    ]),
    "no dropout": lambda: pylstm.Sequential([pylstm.Dropout(0.0), pylstm.Linear(4, 4, seed=0)]),
}  # fmt: skip


def given(name):
    if name in ("Embedding", "Columns"):
        return RNG.integers(0, 5, (3, 6, 2))
    return RNG.standard_normal((3, 6, 4)).astype(np.float32)


def dense(result):
    dx, dparams = result
    return [np.zeros(0) if dx is None else dx, *(np.asarray(value) for value in dparams.values())]


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_models_hold_views_of_their_own(name):
    x = given(name)
    y, backward = LAYERS[name]().forward(x)
    dy = RNG.standard_normal(y.shape).astype(y.dtype)
    want = dense(backward(dy))
    for array in (x, y, y.base):
        if not isinstance(array, np.ndarray):
            continue
        for _ in edits(array):
            assert all(map(same, dense(backward(dy)), want))


@pytest.mark.parametrize("function", ["relu", "tanh", "sigmoid", "softmax"])
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (30, 30, 40)])
@pytest.mark.parametrize("order", ["C", "F", "swapped", "reversed"])
def test_an_activation_that_is_read_again_stays_read_only(function, shape, order):
    x = RNG.standard_normal(shape).astype(np.float32)
    x = {"C": x, "F": np.asfortranarray(x), "swapped": x.swapaxes(0, -1), "reversed": x[::-1]}[order]
    layer = pylstm.Activation(function)
    y, backward = layer.forward(x)
    want = layer(x)
    assert same(y, want)
    assert y.strides == want.strides
    before = backward(np.ones_like(want))[0]
    assert unlock(y) == []
    assert same(backward(np.ones_like(want))[0], before)


# ---- parameters ------------------------------------------------------------------------------------------------------


def owners():
    model = pylstm.Sequential([
        pylstm.Embedding(5, 4, seed=0), pylstm.LSTM(4, 6, batch_first=True, seed=0), pylstm.Linear(6, 2, seed=0)
    ])  # fmt: skip
    ids = RNG.integers(0, 5, (3, 7))
    x = RNG.standard_normal((3, 7, 4)).astype(np.float32)
    yield model, ids
    yield pylstm.Embedding(5, 4, seed=0), ids
    yield pylstm.Linear(4, 2, seed=0), x
    yield pylstm.GRU(4, 6, batch_first=True, seed=0), x
    yield pylstm.reference.RNN(4, 6, batch_first=True, seed=0), x


def run(layer, x):
    got = layer(x)
    return (got[0] if isinstance(got, tuple) else got).copy()


def trained(layer, x):
    """The layer after one step of an optimizer, which takes its arrays over without a copy."""
    if isinstance(layer, pylstm.reference.RNN):
        return layer
    output, *_, backward = layer.forward(x)
    grads = backward(np.ones_like(output))
    pylstm.SGD(0.1).step(layer, grads.params if hasattr(grads, "params") else grads[1])
    return layer


CHANGES = {
    "new": lambda layer, x: layer,  # noqa: ARG005
    "trained": trained,
    "loaded": lambda layer, x: layer.load_state_dict(layer.state_dict()) or layer,  # noqa: ARG005
    "pickled": lambda layer, x: pickle.loads(pickle.dumps(layer)),  # noqa: ARG005
    "deep copy": lambda layer, x: copy.deepcopy(layer),  # noqa: ARG005
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("which", range(5))
def test_parameters_cannot_be_edited_in_any_way(which, change):
    layer, x = list(owners())[which]
    layer = CHANGES[change](layer, x)
    want, before = run(layer, x), layer.state_dict()
    for name, value in before.items():
        assert unlock(layer.params[name]) == [], name
        held = layer.params[name]
        bases = [held]
        while isinstance(bases[-1].base, np.ndarray):
            bases.append(bases[-1].base)
        for array in bases:
            for _ in edits(array):
                again = layer.params[name]
                assert again.shape == value.shape
                assert again.dtype == value.dtype
                assert again.strides == value.strides
                assert same(again, value)
        with pytest.raises(TypeError):
            layer.params[name] = value
        with pytest.raises(TypeError):
            del layer.params[name]
    assert same(run(layer, x), want)
    assert same(run(pickle.loads(pickle.dumps(layer)), x), want)
    layer.load_state_dict(before)  # nothing is packed any more
    assert same(run(layer, x), want)
    again = trained(layer, x)
    assert {name: value.shape for name, value in again.params.items()} == {n: v.shape for n, v in before.items()}


def test_params_are_a_mapping():
    layer = pylstm.LSTM(4, 6, seed=0)
    params, other = layer.params, pylstm.LSTM(4, 6, seed=1).params
    assert layer.params is params
    assert list(params) == list(params.keys()) == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    assert list(reversed(params)) == list(params)[::-1]
    assert len(params) == 4
    assert "bias_ih_l0" in params
    assert 3 not in params
    assert params.get("nothing") is None
    with pytest.raises(KeyError):
        params["nothing"]
    assert params == params
    assert params == dict(params)
    assert params == pylstm.LSTM(4, 6, seed=0).params
    assert params != other
    assert params != 3
    with pytest.raises(TypeError):
        hash(params)
    assert "weight_ih_l0" in repr(params)
    assert {**params}.keys() == (params | {}).keys() == ({} | params).keys() == params.copy().keys()
    for twin in (pickle.loads(pickle.dumps(params)), copy.deepcopy(params), copy.copy(params)):
        assert twin == params
        assert unlock(twin["bias_ih_l0"]) == []
    assert all(type(value) is np.ndarray and not value.flags.writeable for value in params.values())


def test_parameters_of_before_keep_their_values():
    layer = pylstm.Linear(4, 2, seed=0)
    old, kept = layer.params, layer.state_dict()
    for _ in range(3):
        layer.load_state_dict({name: value + 1 for name, value in layer.params.items()})
        trained(layer, np.ones((2, 4), np.float32))
        gc.collect()
    for name, value in kept.items():
        assert same(old[name], value)
        assert not same(layer.params[name], value)
