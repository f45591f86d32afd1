"""Functions of cells that are chosen, peepholes, coupled gates and clips. What holds for all cells is tested with the
others, over `support.variants`."""

from __future__ import annotations

import copy
import json
import math
import pickle

import numpy as np
import pytest

import pylstm
import pylstm.reference
from pylstm.layers.cell_functions import FUNCTIONS
from pylstm.reference import activations
from support.differences import slopes_agree

RNG = np.random.default_rng(0)
CHOSEN = [
    *FUNCTIONS, ("affine", 0.5, -0.1), ("leaky_relu", 0.3), ("thresholded_relu", 0.2), ("scaled_tanh", 0.7, 1.3),
    ("hard_sigmoid", 1 / 6, 0.5), ("elu", 0.4),
]  # fmt: skip


def gradients(grads):
    states = grads.state if isinstance(grads.state, tuple) else (grads.state,)
    return [grads.x, *states, *grads.params.values()]


def of_z(function, z, **options):
    """The core's function of z, and its derivative, by an RNN of one step that multiplies by 1."""
    layer = pylstm.RNN(1, 1, nonlinearity=function, bias=False, dtype=z.dtype, **options)
    layer.load_state_dict({"weight_ih_l0": [[1.0]], "weight_hh_l0": [[0.0]]})
    output, _, backward = layer.forward(z.reshape(1, -1, 1))
    return output.ravel(), backward(np.ones_like(output)).x.ravel()


@pytest.mark.parametrize("function", CHOSEN, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_functions_are_those_of_the_twin(function, dtype):
    small = 10.0 ** np.arange(-12, 0)
    z = np.concatenate([np.linspace(-9.1, 9.2, 1001), small, -small, [0, 30, -30]]).astype(dtype)
    value, slope = of_z(function, z)
    exact = z.astype(np.float64)
    eps = np.finfo(dtype).eps
    sums = "affine" in function or "hard_sigmoid" in function  # of two numbers, which may be each other's negative
    least = 2 * eps if sums else 4 * np.finfo(dtype).tiny
    np.testing.assert_allclose(value, activations.value(function, exact), rtol=10 * eps, atol=least)
    np.testing.assert_allclose(slope, activations.derivative(function, exact), rtol=20 * eps, atol=40 * eps)


@pytest.mark.parametrize("function", CHOSEN, ids=str)
def test_the_derivatives_of_the_twin(function):
    z = np.array([-7.3, -1.7, -0.31, 0.13, 0.6, 1.9, 8.2])
    step = 1e-6
    rise = activations.value(function, z + step) - activations.value(function, z - step)
    np.testing.assert_allclose(activations.derivative(function, z), rise / (2 * step), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("function", CHOSEN, ids=str)
def test_nan_and_large_numbers(function):
    value, slope = of_z(function, np.array([np.nan, 3e38, -3e38, 200.0, -200.0], np.float32))
    assert np.isnan(value[0])
    name = function if isinstance(function, str) else function[0]
    bounded = name in ("tanh", "sigmoid", "relu6", "scaled_tanh", "hard_sigmoid", "softsign")
    assert not np.isnan(value[1:]).any()
    assert not np.isnan(slope[1:]).any() or name in ("silu", "elu", "selu")
    if bounded:
        assert (np.abs(value[1:]) <= 6).all()


def test_a_clip_cuts_what_goes_in_and_its_gradient():
    z = np.array([-3.0, -0.5, 0.2, 0.5, 3.0])
    value, slope = of_z("linear", z, clip=0.5)
    np.testing.assert_array_equal(value, np.clip(z, -0.5, 0.5))
    np.testing.assert_array_equal(slope, [0, 1, 1, 1, 0])
    np.testing.assert_allclose(of_z("tanh", z, clip=0.5)[0], np.tanh(np.clip(z, -0.5, 0.5)), rtol=1e-14)


LAYERS = {
    "lstm": lambda module, f: module.LSTM(
        3, 5, 2, activation="softsign", recurrent_activation=f, output_activation=("scaled_tanh", 0.8, 1.2),
        peephole=True, clip=1.1, bidirectional=True, dtype="float64", seed=1),
    "lstm without clip": lambda module, f: module.LSTM(3, 5, activation=f, dtype="float64", seed=1),
    "coupled": lambda module, f: module.LSTM(
        3, 5, 2, activation=f, coupled=True, peephole=True, dtype="float64", seed=1),
    "gru": lambda module, f: module.GRU(3, 5, 2, recurrent_activation=f, clip=0.9, dtype="float64", seed=1),
    "gru before": lambda module, f: module.GRU(3, 5, 2, activation=f, reset_after=False, dtype="float64", seed=1),
    "rnn": lambda module, f: module.RNN(3, 5, 2, nonlinearity=f, clip=1.2, dtype="float64", seed=1),
}  # fmt: skip


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("function", ["hard_sigmoid", ("elu", 0.4), "softplus", "relu", "silu"], ids=str)
def test_gradients(kind, function):
    """Against the twin, and against central differences of the core itself."""
    layer, twin = (LAYERS[kind](module, function) for module in (pylstm, pylstm.reference))
    x = RNG.standard_normal((6, 3, 3))
    lengths = [6, 0, 4]
    output, _, backward = layer.forward(x, lengths=lengths)
    d = RNG.standard_normal(output.shape)
    grads = backward(d)
    want = twin.forward(x, lengths=lengths)
    np.testing.assert_allclose(output, want[0], rtol=1e-11, atol=1e-13)
    for ours, theirs in zip(gradients(grads), gradients(want[2](d)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)

    values = layer.state_dict()

    def loss():
        layer.load_state_dict(values)
        return (layer(x, lengths=lengths)[0] * d).sum()

    slopes_agree(loss, [(x, grads.x), *((values[name], grads.params[name]) for name in values)], RNG)


def test_the_usual_functions_give_the_bits_of_the_usual_cells():
    x = RNG.standard_normal((7, 4, 3)).astype(np.float32)
    for cls, options in (("LSTM", {}), ("GRU", {}), ("GRU", {"reset_after": False}), ("RNN", {"nonlinearity": "relu"})):
        plain, general = (getattr(pylstm, cls)(3, 20, 2, seed=1, **options, clip=clip) for clip in (None, 1e30))
        assert "general" in general._cell_name
        assert "general" not in plain._cell_name
        (a, _, back), (b, _, back_general) = plain.forward(x), general.forward(x)
        np.testing.assert_array_equal(a, b)
        d = RNG.standard_normal(a.shape).astype(np.float32)
        for one, other in zip(gradients(back(d)), gradients(back_general(d)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_peepholes_of_zero_change_nothing_and_have_gradients():
    without, peeps = (pylstm.LSTM(3, 6, clip=50, peephole=peephole, seed=1) for peephole in (False, True))
    vectors = {f"weight_c{gate}_l0": np.zeros(6) for gate in "ifo"}
    peeps.load_state_dict({**without.state_dict(), **vectors})
    x = RNG.standard_normal((5, 2, 3)).astype(np.float32)
    (a, _, back), (b, _, back_with) = without.forward(x), peeps.forward(x)
    np.testing.assert_array_equal(a, b)
    grads, more = back(np.ones_like(a)), back_with(np.ones_like(a))
    assert list(more.params) == [*grads.params, *vectors]
    for name, gradient in grads.params.items():
        np.testing.assert_array_equal(gradient, more.params[name])
    assert all(np.abs(more.params[name]).min() > 0 for name in vectors)


def test_coupled_gates_have_three_blocks():
    lstm = pylstm.LSTM(3, 5, coupled=True, peephole=True, seed=0)
    assert {name: value.shape for name, value in lstm.params.items()} == {
        "weight_ih_l0": (15, 3), "weight_hh_l0": (15, 5), "bias_ih_l0": (15,), "bias_hh_l0": (15,),
        "weight_ci_l0": (5,), "weight_co_l0": (5,),
    }  # fmt: skip
    trace = lstm.trace(RNG.standard_normal((4, 3)))
    assert list(trace) == ["i_l0", "g_l0", "o_l0", "h_l0", "c_l0"]
    c = np.concatenate([np.zeros((1, 5)), trace["c_l0"][:-1]])
    np.testing.assert_allclose(trace["c_l0"], (1 - trace["i_l0"]) * c + trace["i_l0"] * trace["g_l0"], rtol=1e-5)


def test_options_have_one_form():
    gru = pylstm.GRU(2, 3, activation=["leaky_relu", 0.01], recurrent_activation=("hard_sigmoid", np.float32(0.25)))
    assert (gru.activation, gru.recurrent_activation) == ("leaky_relu", ("hard_sigmoid", 0.25, 0.5))
    assert repr(gru) == "GRU(2, 3, activation='leaky_relu', recurrent_activation=('hard_sigmoid', 0.25, 0.5))"
    lstm = pylstm.LSTM(2, 3, activation="relu", output_activation="relu")
    assert lstm.output_activation is None
    assert pylstm.LSTM(2, 3, output_activation=("tanh",))._cell_name == "lstm"
    with pytest.raises(AttributeError, match="activation is fixed"):
        gru.activation = "tanh"


WRONG = [
    (lambda: pylstm.LSTM(2, 3, activation="swish"), ValueError, "did you mean 'silu'"),
    (lambda: pylstm.LSTM(2, 3, recurrent_activation="hard_sigmiod"), ValueError, "did you mean 'hard_sigmoid'"),
    (lambda: pylstm.LSTM(2, 3, output_activation=np.tanh), TypeError, "output_activation must be the name"),
    (lambda: pylstm.LSTM(2, 3, activation=None), TypeError, "activation must be the name"),
    (lambda: pylstm.LSTM(2, 3, activation=()), TypeError, "activation must be the name"),
    (lambda: pylstm.GRU(2, 3, activation=("tanh", 1.0)), ValueError, "'tanh' takes no parameters, got 1"),
    (lambda: pylstm.GRU(2, 3, activation=("elu", 1.0, 2.0)), ValueError, "'elu' takes alpha, got 2"),
    (lambda: pylstm.GRU(2, 3, activation=("elu", math.nan)), ValueError, "activation's alpha must be finite"),
    (lambda: pylstm.GRU(2, 3, activation=("elu", "1")), TypeError, "activation's alpha must be a number"),
    (lambda: pylstm.RNN(2, 3, nonlinearity="gelu"), ValueError, "nonlinearity must be 'tanh' or"),
    (lambda: pylstm.RNN(2, 3, clip=0), ValueError, "clip must be above 0"),
    (lambda: pylstm.RNN(2, 3, clip=math.inf), ValueError, "clip must be finite"),
    (lambda: pylstm.LSTM(2, 3, clip=True), TypeError, "clip must be a number"),
    (lambda: pylstm.LSTM(2, 3, peephole=1), TypeError, "peephole must be True or False"),
    (lambda: pylstm.LSTM(2, 3, coupled="yes"), TypeError, "coupled must be True or False"),
    (lambda: pylstm.LSTM(2, 3, proj_size=2, coupled=True), ValueError, "proj_size must be 0 with coupled=True"),
]


@pytest.mark.parametrize(("make", "error", "message"), WRONG)
def test_wrong_options(make, error, message):
    with pytest.raises(error, match=message):
        make()


def saved(model, tmp_path):
    model.save(tmp_path / "model.safetensors")
    raw = (tmp_path / "model.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    return pylstm.load(tmp_path / "model.safetensors"), json.dumps(header)


def test_files(tmp_path):
    model = pylstm.Sequential([
        pylstm.LSTM(3, 4, batch_first=True, activation=("elu", 0.3), peephole=True, clip=3, seed=0),
        pylstm.LSTM(4, 4, batch_first=True, coupled=True, seed=1),
        pylstm.GRU(4, 4, batch_first=True, recurrent_activation="hard_sigmoid", seed=2),
        pylstm.RNN(4, 4, batch_first=True, nonlinearity=("leaky_relu", 0.2), seed=3),
        pylstm.LastStep(),
    ])  # fmt: skip
    again, _ = saved(model, tmp_path)
    x = RNG.standard_normal((2, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(again(x), model(x))
    assert repr(again) == repr(model)
    for twin in (copy.deepcopy(model.layers[0]), pickle.loads(pickle.dumps(model.layers[0]))):
        assert repr(twin) == repr(model.layers[0])
        np.testing.assert_array_equal(twin(x)[0], model.layers[0](x)[0])


def test_files_say_of_the_usual_cells_what_they_always_did(tmp_path):
    model = pylstm.Sequential([pylstm.LSTM(3, 4, batch_first=True), pylstm.GRU(4, 4, batch_first=True)])
    _, header = saved(model, tmp_path)
    assert not any(word in header for word in ("activation", "peephole", "coupled", "clip"))


def test_weights_of_pytorch_are_refused():
    for layer, option in (
        (pylstm.LSTM(3, 4, peephole=True), "peephole"),
        (pylstm.GRU(3, 4, activation="relu"), "activation"),
        (pylstm.RNN(3, 4, nonlinearity="elu"), "nonlinearity"),
        (pylstm.RNN(3, 4, nonlinearity="relu", clip=1), "clip"),
    ):
        with pytest.raises(ValueError, match=f"PyTorch has no layer with {option}"):
            pylstm.to_torch(layer)
        with pytest.raises(ValueError, match=f"PyTorch has no layer with {option}"):
            pylstm.from_torch(pylstm.to_torch(pylstm.RNN(3, 4)), layer)


def test_pictures():
    pytest.importorskip("matplotlib").use("Agg")
    x = 9 * RNG.standard_normal((6, 3))
    for options, limits in (
        ({"coupled": True}, {"i": (0, 1), "o": (0, 1)}),
        ({"recurrent_activation": "softsign"}, {"i": (-1, 1), "f": (-1, 1)}),
        ({"recurrent_activation": "hard_sigmoid"}, {"i": (0, 1), "f": (0, 1)}),
    ):
        figure = pylstm.plot_trace(pylstm.LSTM(3, 5, seed=0, **options).trace(x))
        shown = {ax.get_title(loc="left")[0]: ax.images[0].get_clim() for ax in figure.axes if ax.images}
        assert limits.items() <= shown.items()
