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


class Blind(pylstm.Activation):
    """A layer whose backward gives None for its input."""

    def forward(self, x, **options):
        y, _ = super().forward(x, **options)
        return y, lambda dy: (None, {})  # noqa: ARG005


def test_a_gradient_that_a_layer_before_needs_is_not_lost():
    first, last, x = pylstm.Linear(3, 3), Blind("relu"), np.ones((2, 3))
    net = Each(lambda net, x: net.last(net.first(x)), first=first, last=last)
    for model in (pylstm.Sequential([first, last]), net):
        _, backward = model.forward(x)
        with pytest.raises(ValueError, match=r"Blind.* gave None for the gradient to its input, and Linear\(3, 3\)"):
            backward(np.ones((2, 3)))
    assert pylstm.Sequential([last]).forward(x)[1](np.ones((2, 3)))[0] is None  # nobody needs one
