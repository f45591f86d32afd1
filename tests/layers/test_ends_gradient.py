"""`LastStep` and `BothEnds` in a chain: the same gradients as layer by layer, without the zeros of the other steps."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import pylstm
from pylstm.layers.ends_gradient import EndsGradient

N, T, F = 4, 6, 5
LENGTHS = {"none": None, "ragged": [6, 1, 0, 3], "full": [6, 6, 6, 6]}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


CELLS = {
    "lstm": ("LSTM", {}),
    "two_layers": ("LSTM", {"num_layers": 2, "dropout": 0.3}),
    "projected": ("LSTM", {"proj_size": 3}),
    "gru": ("GRU", {}),
    "gru_before": ("GRU", {"reset_after": False}),
    "rnn": ("RNN", {"nonlinearity": "relu"}),
    "peepholes": ("LSTM", {"peephole": True, "clip": 3.0}),
    "float64": ("LSTM", {"dtype": np.float64}),
}


def made(name, **more):
    cls, options = CELLS[name]
    return getattr(pylstm, cls)(F, 4, batch_first=True, seed=1, **options, **more)


def by_layers(layers, x, dy, lengths):
    """The gradients to x and to all parameters, layer by layer as a user would."""
    backs = []
    for layer in layers:
        recurs = isinstance(layer, (pylstm.LSTM, pylstm.GRU, pylstm.RNN))
        known = {} if layer.__class__ in (pylstm.Dropout, pylstm.Linear, pylstm.Activation) else {"lengths": lengths}
        x, *_, backward = layer.forward(x, **known)
        backs.append((backward, recurs))
    grads = []
    for backward, recurs in reversed(backs):
        found = backward(dy)
        dy, params = (found.x, found.params) if recurs else found
        grads.append(params)
    return dy, grads[::-1]


def check(layers, lengths, rng, dense):
    """dense: how often the gradient is spread out."""
    model = pylstm.Sequential(layers)
    x = rng.standard_normal((N, T, F)).astype(layers[0].dtype)
    states = model._dropout_state()
    y, backward = model.forward(x, lengths=lengths)
    dy = rng.standard_normal(y.shape).astype(y.dtype)
    spread = []
    original = EndsGradient.dense
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EndsGradient, "dense", lambda self: spread.append(self) or original(self))
        dx, params = backward(dy)
    assert len(spread) == dense
    model._set_dropout_state(states)
    want_dx, want = by_layers(layers, x, dy, lengths)
    assert isinstance(dx, np.ndarray)
    np.testing.assert_array_equal(dx, want_dx)
    for i, own in enumerate(want):
        for name, gradient in own.items():
            np.testing.assert_array_equal(params[f"{i}.{name}"], gradient)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("name", CELLS)
def test_the_last_step_of_a_recurrent_layer(name, lengths, rng):
    layer = made(name)
    head = pylstm.Linear(layer.output_size, 2, dtype=layer.dtype, seed=2)
    check([layer, pylstm.LastStep(), head], LENGTHS[lengths], rng, dense=0)


def test_the_gradient_that_comes_is_left_as_it_is(rng):
    model = pylstm.Sequential([made("lstm"), pylstm.LastStep()])
    y, backward = model.forward(rng.standard_normal((N, T, F)).astype(np.float32), lengths=LENGTHS["ragged"])
    dy = np.ones_like(y)
    dy.flags.writeable = False
    backward(dy)
    assert (dy == 1).all()


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("name", ["lstm", "two_layers", "gru"])
def test_both_ends_of_two_directions(name, lengths, rng):
    check([made(name, bidirectional=True), pylstm.BothEnds()], LENGTHS[lengths], rng, dense=0)


def test_what_is_not_the_last_state_gets_an_array(rng):
    lengths = LENGTHS["ragged"]
    check([made("lstm", bidirectional=True), pylstm.LastStep()], lengths, rng, dense=1)
    check([made("lstm"), pylstm.BothEnds()], lengths, rng, dense=1)
    check([made("lstm"), pylstm.Activation("tanh"), pylstm.LastStep()], lengths, rng, dense=1)
    check([pylstm.Linear(F, F, seed=1), pylstm.LastStep()], lengths, rng, dense=1)


@pytest.mark.parametrize("shape", [(0, T, F), (N, 0, F), (1, 1, F)])
def test_batches_of_nothing_and_of_one_step(shape, rng):
    x = rng.standard_normal(shape).astype(np.float32)
    for layers in ([made("lstm"), pylstm.LastStep()], [made("gru", bidirectional=True), pylstm.BothEnds()]):
        y, backward = pylstm.Sequential(layers).forward(x)
        dy = np.ones_like(y)
        dx, params = backward(dy)
        want_dx, want = by_layers(layers, x, dy, None)
        np.testing.assert_array_equal(dx, want_dx)
        for name, gradient in want[0].items():
            np.testing.assert_array_equal(params[f"0.{name}"], gradient)


def test_lengths_that_the_recurrent_layer_does_not_have(rng):
    """A gradient to steps in the middle is none to the last state."""
    layer, lengths = made("lstm"), np.array(LENGTHS["ragged"])
    x = rng.standard_normal((N, T, F)).astype(np.float32)
    values = rng.standard_normal((N, 4)).astype(np.float32)
    ends = EndsGradient(values, lengths, (N, T, 4), 4)
    grads, want = layer.forward(x)[-1](ends), layer.forward(x)[-1](ends.dense())
    np.testing.assert_array_equal(grads.x, want.x)
    for name in want.params:
        np.testing.assert_array_equal(grads.params[name], want.params[name])


def test_with_a_state_that_goes_on(rng):
    """The gradient to the state after is added to that of the last step."""
    model = pylstm.Sequential([made("lstm"), pylstm.LastStep()])
    x = rng.standard_normal((N, T, F)).astype(np.float32)
    begin = [tuple(rng.standard_normal((2, 1, N, 4)).astype(np.float32)), None]
    (y, after), backward = model.vjp(x, begin)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    d_after = [tuple(rng.standard_normal((2, 1, N, 4)).astype(np.float32)), None]
    (dx, d_begin), params = backward(dy, d_after)
    _, _, back = model.layers[0].forward(x, begin[0])
    d = np.zeros((N, T, 4), np.float32)
    d[:, -1] = dy
    want = back(d, d_after[0])
    np.testing.assert_array_equal(dx, want.x)
    for found, one in zip(d_begin[0], want.state, strict=True):
        np.testing.assert_array_equal(found, one)
    for name, gradient in want.params.items():
        np.testing.assert_array_equal(params[f"0.{name}"], gradient)
    assert after[0][0].shape == (1, N, 4)


def test_layers_with_a_forward_of_their_own_see_arrays(rng):
    seen = []

    class Recurrent(pylstm.LSTM):
        def forward(self, x, state=None, **options):
            output, new_state, backward = super().forward(x, state, **options)

            @functools.wraps(backward)
            def own(d_output=None, d_state=None):
                seen.append(d_output)
                return backward(d_output, d_state)

            return output, new_state, own

    class Last(pylstm.LastStep):
        def forward(self, x, **options):
            y, backward = super().forward(x, **options)

            @functools.wraps(backward)
            def own(dy):
                dx, params = backward(dy)
                seen.append(dx)
                return dx, params

            return y, own

    x = rng.standard_normal((N, T, F)).astype(np.float32)
    for layers in ([Recurrent(F, 4, batch_first=True), pylstm.LastStep()], [made("lstm"), Last()]):
        y, backward = pylstm.Sequential(layers).forward(x)
        backward(np.ones_like(y))
        assert [type(one) for one in seen] == [np.ndarray]
        assert seen.pop().shape == (N, T, 4)
