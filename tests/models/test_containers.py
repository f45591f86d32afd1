"""Containers are users of the graph: what they compute is what their layers do one after another, by hand."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from support.models import F64, RNG, Each

WIDTH = 4


def by_hand(layer, x, lengths):
    """Output and backward of a layer, containers by plain loops over their layers."""
    if isinstance(layer, pylstm.Columns):
        runs = [by_hand(inner, x[..., k], lengths) for k, inner in enumerate(layer.layers)]
        y = np.concatenate([one for one, _ in runs], axis=-1)
        edges = np.cumsum([0] + [one.shape[-1] for one, _ in runs])

        def back(d):
            parts = [run[1](d[..., edges[k] : edges[k + 1]])[1] for k, run in enumerate(runs)]
            return None, {f"{k}.{name}": value for k, own in enumerate(parts) for name, value in own.items()}

        return y, back
    if not isinstance(layer, (pylstm.Sequential, pylstm.Residual)):
        (y, *_), run_back = layer.vjp(x, lengths=lengths)

        def back(d):
            d_inputs, own = run_back(d)
            return d_inputs[0], own

        return y, back
    y, backs = x, []
    for inner in layer.layers:
        y, one = by_hand(inner, y, lengths)
        backs.append(one)
        lengths = None if lengths is None else inner.output_lengths(lengths)
    around = isinstance(layer, pylstm.Residual)

    def back_through(dy):
        d, found = dy, {}
        for k in reversed(range(len(backs))):
            d, own = backs[k](d)
            found = {**{f"{k}.{name}": value for name, value in own.items()}, **found}
        return (d + dy if around else d), found

    return (x + y if around else y), back_through


def recurrent(seed):
    return pylstm.LSTM(WIDTH, WIDTH, 2, dropout=0.3, batch_first=True, seed=seed, **F64)


def some_layer(rng, depth):
    kind = rng.integers(0, 8 if depth else 5)
    seed = int(rng.integers(1 << 30))
    if kind == 0:
        return pylstm.Linear(WIDTH, WIDTH, seed=seed, **F64)
    if kind == 1:
        return pylstm.Activation(str(rng.choice(["tanh", "relu", "softmax"])))
    if kind == 2:
        return pylstm.Dropout(float(rng.choice([0.0, 0.4])), seed=seed)
    if kind == 3:
        return recurrent(seed)
    if kind == 4:
        return pylstm.GRU(WIDTH, WIDTH // 2, bidirectional=True, batch_first=True, seed=seed, **F64)
    inner = [recurrent(seed), *[some_layer(rng, depth - 1) for _ in range(rng.integers(0, 3))]]  # which knows its shape
    return pylstm.Residual(inner) if kind == 5 else pylstm.Sequential(inner)


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(value), err_msg=name)


@pytest.mark.parametrize("seed", range(25))
def test_random_containers_have_the_bits_of_their_layers_by_hand(seed):
    rng = np.random.default_rng(seed)
    layers = [some_layer(rng, 2) for _ in range(rng.integers(1, 5))]
    layers.insert(0, pylstm.Residual([recurrent(seed)]))
    first = None
    if seed % 3 == 0:
        table = pylstm.Sequential([pylstm.Embedding(9, 1, seed=seed, **F64), pylstm.Dropout(0.3, seed=seed)])
        first = pylstm.Columns([table, pylstm.Embedding(9, WIDTH - 1, seed=seed + 1, **F64)])
    if seed % 2:
        layers.append(pylstm.MeanOverTime())
    model = pylstm.Sequential([first, *layers] if first else layers)
    x = rng.integers(0, 9, (3, 5, 2)) if first else rng.standard_normal((3, 5, WIDTH))
    lengths = None if seed % 4 else np.array([5, 2, 3])
    masks = model._dropout_state()
    y, back = by_hand(model, x, lengths)
    d = rng.standard_normal(y.shape)
    dx, wanted = back(d)
    for need_dx in (True, False):
        model._set_dropout_state(masks)
        found, backward = model.forward(x, lengths=lengths, need_dx=need_dx)
        np.testing.assert_array_equal(found, y)
        for _ in range(2):  # as often as wanted
            mine, grads = backward(d)
            assert_same(grads, wanted)
            if need_dx and not first:
                np.testing.assert_array_equal(mine, dx)
            else:
                assert mine is None


def test_a_residual_of_another_dtype_than_its_input():
    """The output is the layers' dtype; so are gradients, which are added before anything is rounded twice."""
    layer, x = pylstm.Residual([pylstm.Linear(3, 3, seed=0)]), RNG.standard_normal((4, 3))
    y, backward = layer.forward(x)
    f, back = layer.layers[0].forward(x)
    np.testing.assert_array_equal(y, (x + f).astype(np.float32))
    d = RNG.standard_normal((4, 3)).astype(np.float32)
    assert y.dtype == backward(d)[0].dtype == layer(x).dtype == np.float32
    np.testing.assert_array_equal(backward(d)[0], back(d)[0] + d)


@pytest.mark.parametrize("layer", [pylstm.Residual([pylstm.Linear(3, 3)]), pylstm.Residual([pylstm.Activation("relu")]),
                                   pylstm.Columns([pylstm.Embedding(3, 2), pylstm.Embedding(3, 1)])])  # fmt: skip
@pytest.mark.parametrize("need_dx", [True, False])
def test_gradients_of_a_wrong_shape_are_refused(layer, need_dx):
    x = np.array([[0, 1], [2, 2]]) if isinstance(layer, pylstm.Columns) else np.ones((2, 3))
    y, backward = layer.forward(x, need_dx=need_dx)
    assert y.shape == (2, 3)
    for wrong in (np.ones((3, 2)), np.ones(3), None, "d"):
        with pytest.raises((TypeError, ValueError), match="dy"):
            backward(wrong)
    backward(np.ones((2, 3)))


class Rounding(pylstm.Layer):
    """A layer whose backward says that its input has no gradient."""

    def __call__(self, x, **options):  # noqa: ARG002
        return np.round(x)

    def forward(self, x, **options):  # noqa: ARG002
        return np.round(x), lambda dy: (None, {})  # noqa: ARG005


@pytest.mark.parametrize("last", [
    Rounding(), pylstm.Sequential([Rounding(), pylstm.Activation("tanh")]),
    pylstm.Columns([pylstm.Linear(5, 3, **F64) for _ in range(WIDTH)]),
])  # fmt: skip
def test_gradients_that_a_layer_keeps_from_those_before_it_are_an_error(last):
    name = type(last).__name__
    said = rf"backward of {name}.* gave None for the gradient to its input, and"
    x = RNG.standard_normal((2, 5, WIDTH))
    for first in (pylstm.Linear(WIDTH, WIDTH, **F64), recurrent(0)):
        for before in ([first], [pylstm.Residual([first])], [first, pylstm.Activation("tanh")]):
            y, backward = pylstm.Sequential([*before, last]).forward(x)
            for _ in range(2):
                with pytest.raises(ValueError, match=said):
                    backward(y)
    y, backward = pylstm.Residual([pylstm.Linear(WIDTH, WIDTH, **F64), Rounding()]).forward(x)
    with pytest.raises(ValueError, match=said.replace(name, "Rounding")):
        backward(y)
    # where no layer before it has parameters, nothing is lost
    y, backward = pylstm.Sequential([pylstm.Activation("tanh"), last, pylstm.Dropout(0)]).forward(x)
    assert backward(y)[0] is None


class RoundingPair(Rounding):
    def __call__(self, x, other):
        return np.round(x + other)

    def forward(self, x, other, **options):  # noqa: ARG002
        return np.round(x + other), lambda d: ((None, None), {})  # noqa: ARG005


@pytest.mark.parametrize("run", [
    lambda net, x: net.last(net.first(x) * 2),
    lambda net, x: net.last(net.lstm(x)[0]),
    lambda net, x: net.last(net.lstm(x)[1][0].sum(axis=0)),
    lambda net, x: net.last(net.some(net.first(x) + 1)).tanh() * 2,
    lambda net, x: net.pair(x, net.first(x)),
])  # fmt: skip
def test_so_they_are_in_a_model(run):
    parts = {"first": pylstm.Linear(WIDTH, WIDTH, **F64), "lstm": recurrent(0), "some": pylstm.Activation("tanh")}
    net = Each(run, **parts, last=Rounding(), pair=RoundingPair())
    y, backward = net.forward(RNG.standard_normal((2, 5, WIDTH)))
    with pytest.raises(ValueError, match=r"backward of Rounding.* gave None for the gradient to its input, and L"):
        backward(np.ones_like(y))
    # of an input of the model there may be none
    y, backward = Each(lambda net, x: net.last(net.some(x * 2)), **parts, last=Rounding()).forward(np.ones(WIDTH))
    np.testing.assert_array_equal(backward(y)[0], np.zeros(WIDTH))


class Doubled(pylstm.Sequential):
    """A container with a forward of its own."""

    def __call__(self, x, **options):
        return 2 * super().__call__(x, **options)

    def forward(self, x, **options):
        y, back = super().forward(x, **options)
        return 2 * y, lambda dy: back(2 * np.asarray(dy))


class DoubledAgain(Doubled):
    def vjp(self, x, state=None, **options):
        (y, after), back = super().vjp(x, state, **options)
        return (2 * y, after), lambda dy, *d_state, **given: back(2 * dy, *d_state, **given)


@pytest.mark.parametrize("kind", [Doubled, DoubledAgain])
def test_a_container_with_a_forward_of_its_own(kind):
    """It is what trains the container, alone and among others."""
    layers = [pylstm.Linear(3, 4, seed=0, **F64), pylstm.Activation("tanh"), pylstm.Linear(4, 2, seed=1, **F64)]
    x, d = RNG.standard_normal((5, 3)), RNG.standard_normal((5, 2))
    y, back = pylstm.Sequential(layers).forward(x)
    dx, grads = back(2 * d)
    for model in (kind(layers), pylstm.Sequential([kind(layers)])):
        np.testing.assert_array_equal(model(x), 2 * y)
        outputs, backward = model.vjp(x)
        np.testing.assert_array_equal(outputs[0], 2 * y)
        (mine, *_), found = backward(d)
        np.testing.assert_array_equal(mine, dx)
        for value, wanted in zip(found.values(), grads.values(), strict=True):
            np.testing.assert_array_equal(value, wanted)
    model = kind(layers)
    loss = model.fit(x, 2 * y, loss="mse", optimizer=pylstm.SGD(1e-3), verbose=0)["loss"][0]
    assert loss < 1e-20


def test_states_that_a_forward_of_its_own_would_lose_are_refused():
    model, x = Doubled([recurrent(0)]), np.ones((2, 6, WIDTH))
    with pytest.raises(ValueError, match=r"cannot carry a state through Doubled.layers\[0\]"):
        model.fit(x, x, loss="mse", optimizer=pylstm.SGD(0.1), truncate=2, verbose=0)
    with pytest.raises(TypeError, match=r"Doubled\.forward takes no state"):
        model.vjp(x, [None])


@pytest.mark.parametrize("kind", [pylstm.Sequential, pylstm.Residual])
def test_states_that_are_not_one_per_layer_are_refused(kind):
    model, x = kind([recurrent(0), recurrent(1)]), np.ones((2, 3, WIDTH))
    (y, after), backward = model.vjp(x)
    for wrong, error, said in (([None], ValueError, "2 states, one per layer, got"), ([None] * 3, ValueError, "got 3"),
                               (np.ones(2), TypeError, "list of states, one per layer, got ndarray")):  # fmt: skip
        with pytest.raises(error, match=rf"^state must.*{said}"):
            model.vjp(x, wrong)
        with pytest.raises(error, match=rf"^d_state must.*{said}"):
            backward(y, wrong)
    backward(y, after)


class Forgetful(pylstm.Linear):
    """A layer whose backward leaves a parameter out."""

    def forward(self, x, **options):
        y, back = super().forward(x, **options)
        return y, lambda dy: (back(dy)[0], {"weight": back(dy)[1]["weight"]})


def test_a_parameter_without_a_gradient_is_an_error():
    layer, x = Forgetful(3, 3), np.ones((2, 3))
    net = Each(lambda net, x: net.layer(x), layer=layer)
    for model in (pylstm.Sequential([layer]), net):
        _, backward = model.forward(x)
        with pytest.raises(ValueError, match=r"Forgetful\(3, 3\) gave no gradient of bias"):
            backward(np.ones((2, 3)))


def test_a_gradient_that_a_layer_before_needs_is_not_lost():
    first, last, x = pylstm.Linear(3, 3), Rounding(), np.ones((2, 3))
    net = Each(lambda net, x: net.last(net.first(x)), first=first, last=last)
    for model in (pylstm.Sequential([first, last]), net):
        _, backward = model.forward(x)
        with pytest.raises(ValueError, match=r"Rounding.* gave None for the gradient to its input, and Linear\(3, 3\)"):
            backward(np.ones((2, 3)))
    assert pylstm.Sequential([last]).forward(x)[1](np.ones((2, 3)))[0] is None  # nobody needs one
