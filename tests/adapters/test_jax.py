"""`pylstm.jax`: the results and gradients of the layers, under jit, grad and vmap."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pylstm
import pylstm.jax

CASES = [
    ("LSTM", {"num_layers": 2, "bidirectional": True}),
    ("LSTM", {"proj_size": 3, "bias": False}),
    ("GRU", {"batch_first": True}),
    ("GRU", {"reset_after": False}),
    ("RNN", {"nonlinearity": "relu", "recurrent_bias": False}),
]


def problem(name, options):
    layer = getattr(pylstm, name)(4, 5, seed=0, **options)
    function = getattr(pylstm.jax, name.lower())
    own = {key: options[key] for key in ("batch_first", "reset_after", "nonlinearity") if key in options}
    x = np.random.default_rng(1).standard_normal((6, 3, 4)).astype(np.float32)
    params = {key: jnp.asarray(value) for key, value in layer.params.items()}
    return layer, lambda *args, **more: function(*args, **own, **more), params, x


def leaves(state):
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("ragged", [False, True])
def test_the_bits_and_gradients_of_the_layer(name, options, ragged):
    layer, function, params, x = problem(name, options)
    lengths = np.arange(6 if layer.batch_first else 3) % 4 if ragged else None
    output, state, backward = layer.forward(x, lengths=lengths)

    def loss(params, x):
        found, final = function(params, x, lengths=lengths)
        return (found**2).sum() + sum(one.sum() for one in leaves(final))

    found, final = jax.jit(lambda p, x: function(p, x, lengths=lengths))(params, x)
    np.testing.assert_array_equal(found, output)
    for ours, theirs in zip(leaves(final), leaves(state), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    ones = tuple(np.ones_like(one) for one in leaves(state))
    wanted = backward(2 * output, ones if len(ones) > 1 else ones[0])
    d_params, d_x = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, x)
    np.testing.assert_allclose(d_x, wanted.x, rtol=1e-6, atol=1e-6)
    for key, value in wanted.params.items():
        np.testing.assert_allclose(d_params[key], value, rtol=1e-5, atol=1e-5)


def test_vmap_over_samples_and_parameters():
    layer, function, params, x = problem("LSTM", {})
    many = np.stack([x, 2 * x])
    np.testing.assert_array_equal(jax.vmap(lambda one: function(params, one)[0])(many)[1], layer(2 * x)[0])
    both = jax.tree.map(lambda one: jnp.stack([one, one / 2]), params)
    found = jax.vmap(lambda p: function(p, x)[0])(both)
    np.testing.assert_array_equal(found[0], layer(x)[0])
    assert not np.array_equal(found[0], found[1])
    each = jax.vmap(jax.grad(lambda p, one: function(p, one)[0].sum()), (None, 0))
    alone = jax.grad(lambda p: function(p, many[1])[0].sum())(params)
    np.testing.assert_allclose(each(params, many)["weight_hh_l0"][1], alone["weight_hh_l0"], rtol=1e-6)


def test_one_sequence_and_states():
    layer, function, params, x = problem("LSTM", {"num_layers": 2})
    _, state = layer(x[:3, 0])
    want, final = layer(x[3:, 0], state)
    found, ended = function(params, x[3:, 0], state)
    np.testing.assert_array_equal(found, want)
    np.testing.assert_array_equal(ended[1], final[1])
    grad = jax.grad(lambda state: function(params, x, state)[0].sum())(tuple(jnp.ones((2, 3, 5)) for _ in range(2)))
    assert all(float(jnp.abs(one).sum()) > 0 for one in grad)


def test_wrong_arguments():
    _, function, params, x = problem("LSTM", {})
    with pytest.raises(ValueError, match=r"bias_ih_l0: expected \(20,\), got \(3,\)"):
        function({**params, "bias_ih_l0": params["bias_ih_l0"][:3]}, x)
    with pytest.raises(ValueError, match="weight_hh_l1: expected"):
        function({**params, "weight_ih_l1": params["weight_ih_l0"]}, x)
    with pytest.raises(ValueError, match="x must have shape"):
        function(params, x[..., :3])
    with pytest.raises(TypeError, match="float32 or float64, got int32"):
        function(params, x.astype(np.int32))
    with pytest.raises(TypeError, match="params must be a dict"):
        function([1], x)
    with pytest.raises(NotImplementedError, match="no second derivatives"):
        jax.grad(lambda a: jax.grad(lambda b: function(params, b)[0].sum())(a).sum())(x)
