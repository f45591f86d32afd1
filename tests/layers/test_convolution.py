"""Conv1d: values and gradients against PyTorch, differences and the plain twin; lengths, streams, bad input."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import pylstm
from pylstm.reference import convolution as twin
from support.differences import slopes_agree

F64 = np.float64
IN, OUT, T = 3, 4, 11
FORMS = {  # kernel_size, stride, padding, dilation, causal
    "plain": (3, 1, 0, 1, False),
    "one step": (1, 1, 0, 1, False),
    "padded": (3, 1, 2, 1, False),
    "stride": (3, 2, 1, 1, False),
    "wide stride": (2, 5, 0, 1, False),
    "dilation": (3, 1, 1, 2, False),
    "all": (4, 3, 2, 2, False),
    "causal": (3, 1, 0, 1, True),
    "causal dilation": (2, 1, 0, 4, True),
    "causal stride": (4, 3, 0, 1, True),
}


@pytest.fixture(params=FORMS, ids=str)
def form(request):
    return FORMS[request.param]


def layer_of(form, dtype=F64, out=OUT, **options):
    return pylstm.Conv1d(IN, out, *form, dtype=dtype, seed=2, **options)


@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_pytorchs(form, bias):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    kernel, stride, padding, dilation, causal = form
    layer = layer_of(form, bias=bias)
    theirs = torch.nn.Conv1d(IN, OUT, kernel, stride, padding, dilation, bias=bias, dtype=torch.float64)
    theirs.load_state_dict({name: torch.tensor(value) for name, value in layer.state_dict().items()})
    x = rng.standard_normal((2, T, IN))
    tx = torch.tensor(x, requires_grad=True)
    ty = theirs(torch.nn.functional.pad(tx.mT, (dilation * (kernel - 1) if causal else 0, 0))).mT
    y, backward = layer.forward(x)
    assert y.shape == ty.shape == layer.output_shape(x.shape)
    np.testing.assert_allclose(y, ty.detach().numpy(), atol=1e-12)
    dy = rng.standard_normal(y.shape)
    wanted = torch.autograd.grad((ty * torch.tensor(dy)).sum(), [tx, *theirs.parameters()])
    dx, dparams = backward(dy)
    for found, want in zip((dx, *dparams.values()), wanted, strict=True):
        np.testing.assert_allclose(found, want.numpy(), rtol=1e-9, atol=1e-9)
    assert list(dparams) == [name for name, _ in theirs.named_parameters()]


def test_lengths_give_each_sequence_alone(form):
    """To the bit, NaN past the lengths or not, with the gradients of each alone."""
    rng = np.random.default_rng(4)
    lengths = np.array([11, 0, 1, 6])
    for dtype, out in (F64, OUT), (np.float32, 1), (np.float32, 20):
        layer = layer_of(form, dtype, out)
        x = rng.standard_normal((4, T, IN)).astype(dtype)
        for n, length in enumerate(lengths):
            x[n, length:] = np.nan
        y, backward = layer.forward(x, lengths=lengths)
        np.testing.assert_array_equal(layer(x, lengths=lengths), y)
        counts = layer.output_lengths(lengths)
        dy = rng.standard_normal(y.shape).astype(dtype)
        dy[np.arange(y.shape[1]) >= counts[:, None]] = np.nan  # of zeros that are there in any case
        dx, dparams = backward(dy)
        sums = {name: np.zeros(value.shape, F64) for name, value in dparams.items()}
        for n, length in enumerate(lengths):
            own, own_back = layer.forward(x[n, :length])
            assert own.shape == (counts[n], out)
            np.testing.assert_array_equal(y[n, : counts[n]], own)
            assert not y[n, counts[n] :].any()
            own_dx, own_params = own_back(dy[n, : counts[n]])
            np.testing.assert_array_equal(dx[n, :length], own_dx)
            assert not dx[n, length:].any()
            for name in sums:
                sums[name] += own_params[name]
        for name, total in sums.items():
            np.testing.assert_allclose(dparams[name], total, atol=1e-12 if dtype is F64 else 1e-4)


def test_the_plain_twin_and_central_differences(form):
    rng = np.random.default_rng(5)
    layer = layer_of(form)
    kernel, stride, padding, dilation, causal = form
    around = (dilation * (kernel - 1), 0) if causal else (padding, padding)
    values = layer.state_dict()
    x = rng.standard_normal((T, IN))
    y, backward = layer.forward(x)
    np.testing.assert_allclose(y, twin.conv1d(x, *values.values(), stride, dilation, *around), atol=1e-12)
    dy = rng.standard_normal(y.shape)
    dx, dparams = backward(dy)
    wanted = twin.conv1d_backward(x, values["weight"], stride, dilation, *around, dy)
    for found, want in zip((dx, *dparams.values()), wanted, strict=True):
        np.testing.assert_allclose(found, want, atol=1e-12)

    def value():
        layer.load_state_dict(values)
        return (layer(x) * dy).sum()

    slopes_agree(value, [(x, dx), *((values[name], dparams[name]) for name in values)], rng)


def test_threads_have_the_same_bits():
    layer, threads = pylstm.Conv1d(40, 48, 5, dilation=2, seed=1), pylstm.get_num_threads()
    x = np.random.default_rng(6).standard_normal((8, 60, 40), dtype=np.float32)
    found = []
    try:
        for number in 1, 2, 3:
            pylstm.set_num_threads(number)
            y, backward = layer.forward(x)
            found.append((y, *[backward(y)[0]], *backward(y)[1].values()))
    finally:
        pylstm.set_num_threads(threads)
    for other in found[1:]:
        for one, want in zip(other, found[0], strict=True):
            np.testing.assert_array_equal(one, want)


@pytest.mark.parametrize("sizes", [(0, 5), (2, 0), (0, 0), (2, 1)], ids=str)
def test_few_steps_and_none(form, sizes):
    layer = layer_of(form)
    x = np.zeros((*sizes, IN))
    y, backward = layer.forward(x)
    assert y.shape == layer.output_shape(x.shape)
    assert y.shape[1] == layer.output_lengths([sizes[1]])[0]
    dx, dparams = backward(np.ones_like(y))
    assert dx.shape == x.shape
    assert {name: d.shape for name, d in dparams.items()} == layer._param_shapes
    assert np.isfinite(dx).all()


# ---- in a stream -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (2, 4), (4, 3)])
@pytest.mark.parametrize("dtype", [np.float32, F64])
def test_a_causal_layer_streams_with_the_same_bits(kernel, dilation, dtype):
    model = pylstm.Sequential([
        pylstm.Conv1d(IN, 6, kernel, dilation=dilation, causal=True, dtype=dtype), pylstm.Activation("relu"),
        pylstm.Residual([pylstm.Conv1d(6, 6, 2, causal=True, dtype=dtype)]), pylstm.LayerNorm(6, dtype=dtype),
        pylstm.GRU(6, 5, batch_first=True, dtype=dtype), pylstm.Linear(5, 2, dtype=dtype),
    ], seed=1)  # fmt: skip
    x = np.random.default_rng(7).standard_normal((3, 17, IN)).astype(dtype)
    wanted = model(x)
    stream = model.stream(3)
    np.testing.assert_array_equal(np.stack([stream.step(x[:, t]) for t in range(17)], axis=1), wanted)
    stream.reset()
    first = stream(x[:, :5])
    other = copy.copy(stream)
    again = pickle.loads(pickle.dumps(stream))
    state = stream.state
    second = [stream.step(x[:, t]) for t in range(5, 9)]
    rest = stream(x[:, 9:])
    np.testing.assert_array_equal(np.concatenate([first, np.stack(second, axis=1), rest], axis=1), wanted)
    for one in other, again:
        np.testing.assert_array_equal(one(x[:, 5:]), wanted[:, 5:])
    stream.state = state
    np.testing.assert_array_equal(stream(x[:, 5:]), wanted[:, 5:])
    single = model.stream()
    np.testing.assert_array_equal(np.stack([single.step(one) for one in x[0]]), wanted[0])
    single.reset()
    np.testing.assert_array_equal(single(x[0]), wanted[0])
    model.load_state_dict({name: 2 * value for name, value in model.state_dict().items()})
    single.reset()
    np.testing.assert_array_equal(single.step(x[0, 0]), model(x[0, :1])[0])


def test_a_stream_says_what_is_wrong_and_goes_on():
    model = pylstm.Sequential([pylstm.Conv1d(IN, OUT, 3, causal=True, seed=0)])
    x = np.random.default_rng(8).standard_normal((2, 6, IN), dtype=np.float32)
    stream, wanted = model.stream(2), model(x)
    np.testing.assert_array_equal(stream.step(x[:, 0]), wanted[:, 0])
    for wrong in x[:1, 1], x[:, 1, :2], x[0, 1], "words":
        with pytest.raises((TypeError, ValueError), match="x must"):
            stream.step(wrong)
    for wrong in x[:1], x[..., :2], x[0]:
        with pytest.raises(ValueError, match="x must have shape"):
            stream(wrong)
    np.testing.assert_array_equal(stream(x[:, 1:]), wanted[:, 1:])
    assert stream.is_finite().all()
    stream.step(np.array([[0, 0, 0], [0, np.nan, 0]]))
    np.testing.assert_array_equal(stream.is_finite(), [True, False])
    for wrong, error in ([None], ValueError), ([np.zeros((2, 1, IN))], ValueError):
        with pytest.raises(error, match="state"):
            stream.state = wrong
    for layer in (
        pylstm.Conv1d(IN, OUT, 3),
        pylstm.Conv1d(IN, OUT, 3, 2, causal=True),
        pylstm.Conv1d(IN, OUT, 1, padding=1),
    ):
        with pytest.raises(ValueError, match="cannot stream"):
            pylstm.Sequential([layer]).stream()


# ---- as a layer ------------------------------------------------------------------------------------------------------


def test_it_trains_in_a_chain_with_lengths_and_in_a_file(tmp_path):
    rng = np.random.default_rng(9)
    model = pylstm.Sequential([
        pylstm.Conv1d(2, 8, 3, causal=True), pylstm.LayerNorm(8), pylstm.Activation("relu"),
        pylstm.Residual([pylstm.Conv1d(8, 8, 3, padding=1)]), pylstm.Linear(8, 2),
    ], seed=3)  # fmt: skip
    x = rng.standard_normal((64, 12, 2), dtype=np.float32)
    y = (x[:, :, 0] + np.roll(x[:, :, 0], 1, axis=1) * (np.arange(12) > 0) > 0).astype(np.int64)
    lengths = rng.integers(1, 13, 64)
    model.fit(x, y, lengths=lengths, loss="cross_entropy", epochs=25, batch_size=16, verbose=0, seed=0,
              optimizer=pylstm.Adam(0.02), metrics=["accuracy"])  # fmt: skip
    assert model.evaluate(x, y, lengths=lengths)["accuracy"] > 0.95
    assert "Conv1d(2, 8, 3, causal=True)" in model.summary()
    model.save(tmp_path / "model.npz")
    again = pylstm.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again(x, lengths=lengths), model(x, lengths=lengths))
    for one in copy.deepcopy(model), pickle.loads(pickle.dumps(model)):
        np.testing.assert_array_equal(one(x), model(x))


def test_a_stride_shortens_what_comes_after():
    rng = np.random.default_rng(10)
    front = pylstm.Conv1d(2, 3, 4, stride=2, padding=1, dtype=F64, seed=1)
    lstm = pylstm.LSTM(3, 4, batch_first=True, dtype=F64, seed=2)
    model = pylstm.Sequential([front, lstm])
    lengths = np.array([9, 4, 1])
    x = rng.standard_normal((3, 9, 2))
    y = model(x, lengths=lengths)
    counts = model.output_lengths(lengths)
    np.testing.assert_array_equal(counts, [4, 2, 0])
    for n, length in enumerate(lengths):
        if counts[n]:
            np.testing.assert_array_equal(y[n, : counts[n]], model(x[n : n + 1, :length])[0])
        assert not y[n, counts[n] :].any()
    found = model.predict([one[:length] for one, length in zip(x, [9, 4, 2], strict=True)])
    assert [one.shape for one in found] == [(4, 4), (2, 4), (1, 4)]


def test_in_a_models_run_and_frozen():
    rng = np.random.default_rng(11)
    layer = layer_of(FORMS["all"])

    class Net(pylstm.Model):
        def __init__(self):
            self.front = layer

        def run(self, x, lengths=None):
            return self.front(x, lengths=lengths) + self.front(x * 2, lengths=lengths)

    x, lengths = rng.standard_normal((2, T, IN)), [11, 8]
    y, backward = Net().forward(x, lengths=lengths)
    dy = rng.standard_normal(y.shape)
    dx, dparams = backward(dy)
    (_, one), (_, two) = (layer.forward(k * x, lengths=lengths) for k in (1, 2))
    np.testing.assert_allclose(dx, one(dy)[0] + 2 * two(dy)[0], atol=1e-12)
    np.testing.assert_allclose(dparams["front.weight"], one(dy)[1]["weight"] + two(dy)[1]["weight"], atol=1e-12)
    assert layer.forward(x, need_dx=False)[1](np.ones_like(layer(x)))[0] is None
    layer.trainable = False
    again, none = Net().forward(x, lengths=lengths)[1](dy)
    np.testing.assert_allclose(again, dx, atol=1e-12)
    assert none == {}


@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        ((0, 1, 1), {}, ValueError, "in_size"),
        ((1, 1.5, 1), {}, TypeError, "out_size"),
        ((1, 1, 0), {}, ValueError, "kernel_size"),
        ((1, 1, 1, 0), {}, ValueError, "stride"),
        ((1, 1, 1), {"padding": -1}, ValueError, "padding"),
        ((1, 1, 1), {"padding": "same"}, TypeError, "padding"),
        ((1, 1, 1), {"dilation": 0}, ValueError, "dilation"),
        ((1, 1, 3), {"causal": True, "padding": 1}, ValueError, "padding must be 0 where causal"),
        ((1, 1, 1), {"causal": 1}, TypeError, "causal"),
        ((1, 1, 1), {"bias": None}, TypeError, "bias"),
        ((1, 1, 3), {"dilation": 2**50}, ValueError, "2\\*\\*48"),
        ((2**20, 2**20, 2**20), {}, ValueError, "GiB"),
    ],
)
def test_wrong_arguments(arguments, options, error, match):
    with pytest.raises(error, match=match):
        pylstm.Conv1d(*arguments, **options)


def test_wrong_inputs():
    layer = pylstm.Conv1d(IN, OUT, 3, seed=0)
    x = np.zeros((2, 5, IN))
    for wrong, options, error, match in [
        (x[0, 0], {}, ValueError, "x must have shape"),
        (x[..., :2], {}, ValueError, "x must have shape"),
        (x[0], {"lengths": [5]}, ValueError, "lengths is for a batch"),
        (x, {"lengths": [6, 1]}, ValueError, "lengths must lie in 0..5"),
        (x, {"lengths": [1]}, ValueError, "lengths must have shape"),
        ("words", {}, TypeError, "x"),
    ]:
        for call in layer, layer.forward:
            with pytest.raises(error, match=match):
                call(wrong, **options)
    with pytest.raises(ValueError, match="dy must have the shape"):
        layer.forward(x)[1](x)
    with pytest.raises(ValueError, match="does not fit"):
        pylstm.Sequential([pylstm.Linear(3, 7), layer]).summary()
    with pytest.raises(ValueError, match="carry a state"):
        pylstm.Sequential([layer, pylstm.LSTM(OUT, 2, batch_first=True)]).fit(
            x, np.zeros((2, 3, 2)), loss="mse", truncate=2, verbose=0
        )


def test_what_windows_are_cut_by_is_fixed():
    layer = pylstm.Conv1d(3, 2, 3, causal=True, seed=0)
    x = np.ones((1, 5, 3))
    before = layer(x)
    for name, value in (("dilation", -(10**6)), ("stride", 0), ("kernel_size", 9), ("padding", 1), ("causal", False)):
        with pytest.raises(AttributeError, match=f"{name} is fixed"):
            setattr(layer, name, value)
    for same in (layer, copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(same(x), before)
