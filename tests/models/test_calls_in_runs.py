"""Methods that compute apart from a model's run are refused in it while it is recorded: gradients would be lost."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
import pylstm.reference
from support.models import F64, RNG, Each, linear

X, STEPS, IDS = RNG.standard_normal((4, 2)), RNG.standard_normal((4, 5, 2)), np.array([[0, 1, 1]])


class Own(pylstm.Layer):
    """A layer of somebody's, which calls another one's `forward` in its own."""

    def __init__(self):
        super().__init__()
        self.inner = linear(**F64, seed=1)
        self.dtype, self._param_shapes = self.inner.dtype, self.inner._param_shapes

    @property
    def params(self):
        return self.inner.params

    def __call__(self, x, *, lengths=None):
        return np.tanh(self.inner(x, lengths=lengths))

    def forward(self, x, *, lengths=None, need_dx=True):
        h, back = self.inner.forward(x, lengths=lengths, need_dx=need_dx)
        y = np.tanh(h)
        return y, lambda dy: back(dy * (1 - y * y))


class OwnVJP(Own):
    """One that writes the contract's other form."""

    def vjp(self, *inputs, **options):
        outputs, back = super().vjp(*inputs, **options)
        return outputs, back


def held():
    return Each(lambda net, x, lengths=None: net.a(x), a=linear(**F64))  # noqa: ARG005


LAYERS = {
    "Linear": (lambda: linear(**F64), X),
    "Embedding": (lambda: pylstm.Embedding(3, 2), IDS),
    "Dropout": (pylstm.Dropout, X),
    "Activation": (lambda: pylstm.Activation("tanh"), X),
    "LastStep": (pylstm.LastStep, STEPS),
    "LSTM": (lambda: pylstm.LSTM(2, 3, batch_first=True, **F64), STEPS),
    "GRU of the reference": (lambda: pylstm.reference.GRU(2, 3, batch_first=True, **F64), STEPS),
    "Sequential": (lambda: pylstm.Sequential([linear(**F64)]), X),
    "Residual": (lambda: pylstm.Residual([pylstm.Linear(2, 2, **F64)]), X),
    "Columns": (lambda: pylstm.Columns([pylstm.Embedding(3, 2) for _ in range(3)]), IDS),
    "Model": (held, X),
    "a layer of somebody's": (Own, X),
    "with a vjp of its own": (OwnVJP, X),
}


@pytest.mark.parametrize("method", ["forward", "vjp"])
@pytest.mark.parametrize("name", LAYERS)
def test_forward_in_a_recorded_run_is_refused(name, method):
    make, x = LAYERS[name]
    layer = make()

    def run(net, x):
        getattr(net.layer, method)(x.numpy() if isinstance(x, pylstm.Value) else x)
        return net.other(np.ones((1, 2)))

    net = Each(run, layer=layer, other=linear(**F64))
    for attempt in (lambda: net.forward(x), lambda: pylstm.value_and_grad(lambda net, x: net(x).sum())(net, x)):
        with pytest.raises(TypeError, match=rf"{type(layer).__name__}\.(forward|vjp) inside .* layer\(value\)"):
            attempt()
    net(x)  # in inference nothing is lost
    getattr(layer, method)(x)  # and outside of a run


def test_streams_in_a_recorded_run_are_refused():
    net = Each(lambda net, x: (net.lstm.stream(4), x * 2)[1], lstm=pylstm.LSTM(2, 3))
    with pytest.raises(TypeError, match=r"LSTM\.stream inside .* y, state = layer\(x, state\)"):
        net.forward(X)
    net(X)
    net.lstm.stream(4)


@pytest.mark.parametrize("kind", [Own, OwnVJP])
def test_a_layer_of_somebodys_may_call_the_forward_of_others(kind):
    """In its own `forward` and `backward`, wherever it stands: alone, in a chain, in a run, in a model in a chain."""
    own, tail, d = kind(), pylstm.Linear(3, 2, seed=2, **F64), RNG.standard_normal((4, 2))
    h, first = own.forward(X)
    y, second = tail.forward(h)
    dh, want_tail = second(d)
    want_dx, want_own = first(dh)

    class Both(Each):
        keeps_time = True

    inside = Both(lambda net, x, lengths=None: net.tail(net.own(x, lengths=lengths)), own=own, tail=tail)
    for net in (pylstm.Sequential([own, tail]), inside, pylstm.Sequential([pylstm.Sequential([inside])])):
        found, backward = net.forward(X)
        np.testing.assert_array_equal(found, y)
        np.testing.assert_array_equal(net(X), y)
        dx, grads = backward(d)
        np.testing.assert_array_equal(dx, want_dx)
        for mine, theirs in zip(grads.values(), [*want_own.values(), *want_tail.values()], strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_weights_that_two_layers_would_share():
    def run(net, ids):
        return pylstm.matmul(net.embed(ids), net.embed.params["weight"].T)

    net = Each(run, embed=pylstm.Embedding(5, 3))
    for call in (net, net.forward):
        with pytest.raises(TypeError, match=r"'weight' taken as an array would lose its gradient.*one layer share"):
            call(IDS)


def test_the_backward_of_a_model_in_a_chain_runs_as_often_as_wanted():
    net = Each(lambda net, x, lengths=None: net.a(x).tanh() * net.a(x), a=linear(**F64, seed=0))  # noqa: ARG005
    type(net).keeps_time = True
    try:
        chain, alone = pylstm.Sequential([net, pylstm.Activation("tanh")]), net
        for backward, d in (
            (chain.forward(X)[1], RNG.standard_normal((4, 3))),
            (alone.vjp(X)[1], RNG.standard_normal((4, 3))),
        ):
            first, again, doubled = backward(d), backward(d), backward(2 * d)
            assert str(first) == str(again)
            for name, value in first[1].items():
                np.testing.assert_allclose(doubled[1][name], 2 * value, rtol=1e-12)
    finally:
        del type(net).keeps_time
    _, backward = net.forward(X)  # what it recorded is freed
    backward(None)
    with pytest.raises(RuntimeError, match="retain_graph"):
        backward(None)


def test_a_model_without_lengths_in_a_chain_that_has_them():
    class Plain(pylstm.Model):
        keeps_time = True

        def __init__(self):
            self.a = linear()

        def run(self, x):
            return self.a(x)

    class Any_(Plain):
        def run(self, x, **options):
            assert list(options) == ["lengths"]
            return self.a(x)

    chain, lengths = pylstm.Sequential([Plain(), pylstm.Activation("tanh")]), [5, 3, 2, 1]
    for call in (chain, chain.forward, chain.vjp, Plain(), Plain().forward):
        with pytest.raises(TypeError, match=r"Plain\.run takes no lengths: write run\(self, \.\., lengths=None\)"):
            call(STEPS, lengths=lengths)
        call(STEPS)
        call(STEPS, lengths=None)
    pylstm.Sequential([Any_()]).forward(STEPS, lengths=lengths)


class Gated(pylstm.Layer):
    """A layer of two inputs: x · g, and 0 where there is no g."""

    def __call__(self, x, scale=1.0, gate=None, *, extra=None, lengths=None):  # noqa: ARG002
        return x * scale * (0 if gate is None else gate)

    def forward(self, x, scale=1.0, gate=None, *, need_dx=True, **options):  # noqa: ARG002
        return self(x, scale, gate), lambda d: ((d * scale * gate, None, d * scale * x), {})


class TwoSteps(pylstm.LSTM):
    """A subclass with a call of its own."""

    def __call__(self, x, state=None, *, lengths=None):
        return super().__call__(x, state, lengths=lengths)


def test_inputs_by_name_have_the_gradients_of_inputs_by_position():
    a, b, gated = linear(**F64, seed=1), linear(**F64, seed=2), Gated()
    ways = [
        lambda net, x: net.gated(net.a(x), 1.0, net.b(x)),
        lambda net, x: net.gated(net.a(x), gate=net.b(x)),
        lambda net, x: net.gated(net.a(x), gate=net.b(x), scale=1.0),
        lambda net, x: net.gated(gate=net.b(x), x=net.a(x)),
    ]
    d = RNG.standard_normal((4, 3))
    wanted = [(d * b(X)).T @ X, (d * a(X)).T @ X]
    for run in ways:
        net = Each(run, a=a, b=b, gated=gated)
        y, backward = net.forward(X)
        np.testing.assert_array_equal(net(X), y)
        grads = backward(d)[1]
        np.testing.assert_allclose(grads["a.weight"], wanted[0], rtol=1e-12)
        np.testing.assert_allclose(grads["b.weight"], wanted[1], rtol=1e-12)
    cell = TwoSteps(2, 2, batch_first=True, seed=0, **F64)
    found = []
    for by_name in (True, False):

        def run(net, x, by_name=by_name):
            y, state = net.cell(x)
            return net.cell(y, state=state)[0] if by_name else net.cell(y, state)[0]

        y, backward = Each(run, cell=cell).forward(STEPS)
        found.append(backward(np.ones_like(y))[1])
    for name, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][name])


@pytest.mark.parametrize("record", [True, False])
def test_values_that_are_no_inputs_are_refused(record):
    net = Each(lambda net, x: net.gated(x, 1.0, x, extra={"a": [net.a(x)]}), a=linear(**F64), gated=Gated())
    with pytest.raises(TypeError, match=r"extra of Gated\(\) is a value, whose gradient would be lost"):
        net.forward(X) if record else net(X)


class Mean(pylstm.Layer):
    """A layer whose output is what NumPy makes of an array without axes: a scalar."""

    def __call__(self, x, *, lengths=None):  # noqa: ARG002
        return x.mean()

    def forward(self, x, **options):  # noqa: ARG002
        return x.mean(), lambda d: (np.full(x.shape, d / x.size), {})


class MeanAndMore(Mean):
    def forward(self, x, **options):
        y, back = super().forward(x, **options)
        return (y, len(x)), lambda d, _: back(d)

    def __call__(self, x, **options):
        return super().__call__(x, **options), len(x)


@pytest.mark.parametrize("kind", [Mean, MeanAndMore])
def test_an_output_without_axes_has_its_gradient(kind):
    def run(net, x):
        y = net.mean(net.a(x))
        y, number = y if kind is MeanAndMore else (y, 4)
        assert type(number) is int
        return (y * 3).tanh()

    net = Each(run, a=linear(**F64), mean=kind())
    y, backward = net.forward(X)
    assert y.shape == () == net(X).shape
    assert y == net(X) == np.tanh(3 * net.a(X).mean())
    d = np.full((4, 3), 3 * (1 - y * y) / 12)
    np.testing.assert_allclose(backward(1.0)[1]["a.weight"], d.T @ X, rtol=1e-12)


class Remembering(pylstm.Layer):
    """A layer that computes with what somebody has put into it."""

    other = 0.0

    def __call__(self, x, **options):  # noqa: ARG002
        return x + self.other

    def forward(self, x, **options):  # noqa: ARG002
        return x + self.other, lambda d: (d, {})


@pytest.mark.parametrize("record", [True, False])
def test_a_layer_that_holds_a_value_is_refused(record):
    def run(net, x):
        net.layer.other = net.b(x)
        return net.layer(net.a(x))

    net = Each(run, a=linear(**F64, seed=1), b=linear(**F64, seed=2), layer=Remembering())
    with pytest.raises(TypeError, match="a value of the model's run that it was not called with"):
        net.forward(X) if record else net(X)


@pytest.mark.parametrize("model", [
    pylstm.Residual([pylstm.Linear(2, 2, seed=0, **F64)]),
    pylstm.Sequential([pylstm.Activation("tanh"), pylstm.Linear(2, 2, seed=0, **F64)]),
])  # fmt: skip
def test_lists_are_as_exact_in_a_run_as_outside(model):
    x = [[0.1, 1 / 3], [16777217, 0.7]]
    value, grads = pylstm.value_and_grad(lambda net, x: net(x).sum())(model, x)
    y, backward = model.forward(x)
    assert value == model(x).sum() == y.sum()
    for name, wanted in backward(np.ones_like(y))[1].items():
        np.testing.assert_array_equal(grads[name], wanted)
