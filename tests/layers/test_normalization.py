"""LayerNorm: values and gradients against PyTorch, differences and the plain twin."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import pylstm
from pylstm.reference import normalization as twin
from support.differences import slopes_agree

F64 = np.float64


def layer_of(size, eps=1e-5, dtype=F64):
    layer = pylstm.LayerNorm(size, eps, dtype=dtype)
    rng = np.random.default_rng(size)
    layer.load_state_dict({"weight": rng.standard_normal(size), "bias": rng.standard_normal(size)})
    return layer


@pytest.mark.parametrize("shape", [(7,), (5, 7), (3, 4, 7), (2, 300, 33), (4, 1), (0, 7), (2, 0, 7)], ids=str)
@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_values_and_gradients_are_pytorchs(shape, eps):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    layer = layer_of(shape[-1], eps)
    theirs = torch.nn.LayerNorm(shape[-1], eps, dtype=torch.float64)
    theirs.load_state_dict({name: torch.tensor(value) for name, value in layer.state_dict().items()})
    x = rng.standard_normal(shape) * 3 + 1
    tx = torch.tensor(x, requires_grad=True)
    ty = theirs(tx)
    y, backward = layer.forward(x)
    np.testing.assert_array_equal(layer(x), y)
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=1e-9, atol=1e-9)
    dy = rng.standard_normal(shape)
    wanted = torch.autograd.grad((ty * torch.tensor(dy)).sum(), [tx, *theirs.parameters()])
    dx, dparams = backward(dy)
    for found, want in zip((dx, *dparams.values()), wanted, strict=True):
        np.testing.assert_allclose(found, want.numpy(), rtol=1e-9, atol=1e-9)
    rows = x.reshape(-1, shape[-1]), layer.params["weight"]
    np.testing.assert_allclose(y, twin.layer_norm(*rows, layer.params["bias"], eps).reshape(shape), atol=1e-12)
    d_rows = twin.layer_norm_backward(*rows, eps, dy.reshape(rows[0].shape))
    for found, want in zip((dx.reshape(rows[0].shape), *dparams.values()), d_rows, strict=True):
        np.testing.assert_allclose(found, want, atol=1e-10)


def test_central_differences():
    rng = np.random.default_rng(2)
    layer, x = layer_of(6), rng.standard_normal((3, 6))
    values, dy = layer.state_dict(), rng.standard_normal((3, 6))
    dx, dparams = layer.forward(x)[1](dy)

    def value():
        layer.load_state_dict(values)
        return (layer(x) * dy).sum()

    slopes_agree(value, [(x, dx), *((values[name], dparams[name]) for name in values)], rng)


@pytest.mark.parametrize("dtype", [np.float32, F64])
@pytest.mark.parametrize("size", [1, 5, 64, 301])
def test_rows_have_the_same_bits_alone_and_in_any_layout(dtype, size):
    layer = layer_of(size, dtype=dtype)
    x = np.random.default_rng(3).standard_normal((4, 9, size)).astype(dtype)
    y, backward = layer.forward(x)
    np.testing.assert_array_equal(np.stack([[layer(row) for row in rows] for rows in x]), y)
    np.testing.assert_array_equal(layer(x[2, 3:5]), y[2, 3:5])
    turned = np.ascontiguousarray(x.transpose(1, 0, 2)).transpose(1, 0, 2)
    np.testing.assert_array_equal(layer(turned), y)
    dx = backward(y)[0]
    np.testing.assert_array_equal(layer.forward(x[1, 2])[1](y[1, 2])[0], dx[1, 2])


def test_as_a_layer(tmp_path):
    layer = layer_of(4, dtype=np.float32)
    model = pylstm.Sequential([layer, pylstm.Linear(4, 2, seed=1)])
    x = np.random.default_rng(4).standard_normal((3, 5, 4), dtype=np.float32)
    model.save(tmp_path / "model.npz")
    for other in pylstm.load(tmp_path / "model.npz"), copy.deepcopy(model), pickle.loads(pickle.dumps(model)):
        np.testing.assert_array_equal(other(x), model(x))
    stream = model.stream(3)
    np.testing.assert_array_equal(np.stack([stream.step(x[:, t]) for t in range(5)], axis=1), model(x))
    assert repr(layer) == "LayerNorm(4)"
    assert repr(pylstm.LayerNorm(4, 0.1, dtype="float64")) == "LayerNorm(4, eps=0.1, dtype=float64)"
    again = pylstm.LayerNorm(4)
    assert again.params == {"weight": np.ones(4), "bias": np.zeros(4)}
    model.redraw(5)
    assert layer.params == again.params
    y, backward = layer.forward(x, need_dx=False)
    assert backward(y)[0] is None
    layer.trainable = False
    assert layer.forward(x)[1](y)[1] == {}
    np.testing.assert_array_equal(pylstm.Residual([pylstm.LayerNorm(4)])(x), x + again(x))


def test_what_is_not_finite_stays_in_its_row():
    layer = layer_of(4)
    x = np.random.default_rng(5).standard_normal((3, 4))
    wanted = layer(x)
    x[0, 1], x[1, 2] = np.nan, np.inf
    y = layer(x)
    assert np.isnan(y[:2]).all()
    np.testing.assert_array_equal(y[2], wanted[2])


def test_wrong_arguments():
    for arguments, options, error, match in [
        ((0,), {}, ValueError, "size"),
        ((4, 0), {}, ValueError, "eps"),
        ((4, "a"), {}, TypeError, "eps"),
        ((4,), {"dtype": "int8"}, TypeError, "dtype"),
        ((4,), {"seed": -1}, ValueError, "seed"),
    ]:
        with pytest.raises(error, match=match):
            pylstm.LayerNorm(*arguments, **options)
    for wrong in np.zeros((2, 3)), 1.0, np.zeros((4, 0)):
        with pytest.raises(ValueError, match=r"x must have shape \(..., 4\)"):
            pylstm.LayerNorm(4)(wrong)
