"""Models among layers, and what others hold of a run: nothing trains wrongly in silence."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from support.models import F64, Each, Held

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 3))
W = RNG.standard_normal((4, 3))


def test_a_layer_that_two_models_hold_is_refused_in_a_chain():
    shared = pylstm.Linear(3, 3, **F64)
    for layers in ([Held(shared), Held(shared)], [shared, Held(shared)], [Held(pylstm.Residual([shared])), shared]):
        with pytest.raises(ValueError, match="are the same Linear object"):
            pylstm.Sequential(layers)
    one = Held(shared)
    with pytest.raises(ValueError, match="are the same"):
        pylstm.Sequential([one, one])
    zeros = {name: np.zeros_like(value) for name, value in one.params.items()}
    with pytest.raises(ValueError, match="are the same Linear object"):
        pylstm.SGD(0.1).step({"a": Held(shared), "b": Held(shared)}, {"a": zeros, "b": zeros})
    pylstm.Sequential([Held(shared, shared)])  # a model may: its gradients add up


class Keeps(pylstm.layers.layer.Layer):
    """A layer of somebody's whose backward reads its output."""

    def __call__(self, x, *, lengths=None):  # noqa: ARG002
        return np.tanh(x)

    def forward(self, x, *, lengths=None, need_dx=True):  # noqa: ARG002
        y = np.tanh(x)
        return y, lambda dy: (dy * (1 - y * y), {})


@pytest.mark.parametrize("middle", [pylstm.Dropout(0.0), Keeps()], ids=["a view of x", "a layer of somebody's"])
def test_outputs_that_are_written_to(middle):
    a, b = pylstm.Linear(3, 3, seed=0, **F64), pylstm.Linear(3, 2, seed=1, **F64)

    def run(net, x):
        h = net.a(x)
        return net.middle(h), net.b(h)

    net, ds = Each(run, a=a, b=b, middle=middle), (RNG.standard_normal((4, 3)), RNG.standard_normal((4, 2)))
    _, want = net.forward(X)[1](ds)
    outputs, backward = net.forward(X)
    for output in outputs:
        output[...] = 7
    _, got = backward(ds)
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)


class Lends:
    """Whatever lends its memory to NumPy, as tensors do."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.mark.parametrize("use", ["input", "operand"])
def test_operands_that_are_written_to(use):
    net = Each(lambda net, x, w: net.a(w) if use == "input" else net.a(x) * w, a=pylstm.Linear(3, 3, seed=0, **F64))

    def gradients(write):
        w = W.copy()
        lent = w.view(type("Sub", (np.ndarray,), {})) if use == "operand" else Lends(w)
        y, backward = net.forward(X, w=lent)
        if write:
            w[...] = 0
        return backward(np.ones_like(y))[1]

    want, got = gradients(False), gradients(True)
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)


def test_states_that_truncation_would_lose_are_refused():
    x, y = RNG.integers(0, 5, (4, 6, 2)), RNG.integers(0, 2, (4, 6))
    inner = pylstm.Sequential([pylstm.Embedding(5, 3), pylstm.LSTM(3, 3, batch_first=True)])
    columns = pylstm.Sequential([pylstm.Columns([inner, pylstm.Embedding(5, 3)]), pylstm.Linear(6, 2)])
    with pytest.raises(ValueError, match="truncate cannot carry a state through"):
        columns.fit(x, y, loss="cross_entropy", optimizer=pylstm.SGD(0.1), truncate=2, verbose=0)
    model = pylstm.Sequential([Held(pylstm.LSTM(3, 3, batch_first=True)), pylstm.Linear(3, 2)])
    z = RNG.standard_normal((4, 6, 3))
    with pytest.raises(ValueError, match=r"truncate cannot carry a state through held\.0 in Held"):
        model.fit(z, y, loss="cross_entropy", optimizer=pylstm.SGD(0.1), truncate=2, verbose=0)


def test_saliency_without_dropout():
    columns = pylstm.Columns([pylstm.Sequential([pylstm.Embedding(5, 3), pylstm.Dropout(0.5)])])
    model, x = pylstm.Sequential([columns, pylstm.LastStep(), pylstm.Linear(3, 2)]), RNG.integers(0, 5, (2, 4, 1))
    before = model._dropout_state()
    np.testing.assert_array_equal(model.saliency(x, 0), model.saliency(x, 0))
    assert model._dropout_state() == before
    held = pylstm.Sequential([Held(pylstm.Linear(3, 3), pylstm.Dropout(0.5)), pylstm.LastStep(), pylstm.Linear(3, 2)])
    with pytest.raises(ValueError, match=r"the dropout of held\.1 in Held cannot be turned off"):
        held.saliency(RNG.standard_normal((2, 4, 3)), 0)


class Twice(pylstm.LSTM):
    """A subclass with a forward of its own, of the documented signature."""

    def forward(self, x, state=None, **options):
        y, new_state, back = super().forward(x, state, **options)
        return 2 * y, new_state, lambda dy=None, d_state=None: back(None if dy is None else 2 * np.asarray(dy), d_state)


def test_a_subclass_with_a_forward_of_its_own():
    own = Twice(3, 4, batch_first=True, seed=0, **F64)
    plain = pylstm.LSTM(3, 4, batch_first=True, seed=0, **F64)
    x, dy = RNG.standard_normal((2, 5, 3)), RNG.standard_normal((2, 5, 4))
    want = plain.forward(x)[2](2 * dy).params
    _, back = pylstm.Sequential([own]).forward(x)
    for name, value in back(dy)[1].items():
        np.testing.assert_array_equal(value, want[name[2:]])
    net = Each(lambda net, x: net.layer(x)[0] + net.layer(x)[0], layer=own)
    for name, value in net.forward(x)[1](dy)[1].items():
        np.testing.assert_allclose(value, 2 * want[name[6:]], rtol=1e-12)


def test_a_constructor_that_names_itself_otherwise():
    class Odd(pylstm.Model):
        def __init__(me, size=3):
            me.size, me.a = size, pylstm.Linear(size, size)

        def run(self, x):
            return self.a(x)

    assert Odd(4).get_config() == {"size": 4}
