"""`pylstm.jax`: the results and gradients of the layers, under jit, grad and vmap."""

from __future__ import annotations

import ctypes

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pylstm
import pylstm.jax
from pylstm import _core
from pylstm.adapters.jax import calls, programs, tapes

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


@pytest.fixture(params=["custom call", "callback"])
def way(request, monkeypatch):
    """Both ways into a program; the first has to be there on a CPU."""
    assert programs.HANDLED
    monkeypatch.setattr(programs, "HANDLED", request.param == "custom call")


@pytest.mark.usefixtures("way")
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


@pytest.fixture
def passes(monkeypatch):
    """What was called, in order."""
    seen, run = [], calls.run

    def watched(text, *arrays):
        seen.append(text.split()[0])
        run(text, *arrays)

    monkeypatch.setattr(programs, "HANDLED", False)  # the handler has the function itself
    monkeypatch.setattr(calls, "run", watched)
    monkeypatch.setattr(calls, "_train", lambda *args: (seen.append("pass"), train(*args))[1])
    return seen


train = calls._train


def test_the_gradient_takes_the_tape_of_its_forward_pass(passes):
    _, function, params, x = problem("LSTM", {})
    loss = jax.jit(jax.grad(lambda p: function(p, x)[0].sum()))
    jax.block_until_ready(loss(params))
    assert passes == ["train", "pass", "backward"]
    assert not tapes._KEPT
    _, back = jax.vjp(lambda p: function(p, x)[0], params)
    first, second = back(jnp.ones((6, 3, 5))), back(jnp.ones((6, 3, 5)))
    assert passes[3:] == ["train", "pass", "backward", "backward", "pass"]  # the second had to begin again
    assert all(jnp.array_equal(a, b) for a, b in zip(first[0].values(), second[0].values(), strict=True))


def test_tapes_whose_gradient_never_comes_are_bounded(monkeypatch):
    monkeypatch.setattr(tapes, "MOST_KEPT", 20_000)
    layer, function, params, x = problem("LSTM", {})
    backs = [jax.vjp(lambda p, k=k: function(p, k * x)[0], params)[1] for k in range(1, 9)]
    jax.effects_barrier()
    assert 0 < len(tapes._KEPT) < 8
    assert sum(size for _, size in tapes._KEPT.values()) <= 20_000
    for k, back in enumerate(backs, 1):  # with a tape or without
        want = layer.forward(k * x)[2](np.ones((6, 3, 5), np.float32)).params
        np.testing.assert_allclose(back(jnp.ones((6, 3, 5)))[0]["weight_hh_l0"], want["weight_hh_l0"], rtol=1e-5)
    tapes._KEPT.clear()


def test_checkpoints_scans_and_jacobians():
    _, function, params, x = problem("GRU", {})
    want = jax.grad(lambda p: (function(p, x)[0] ** 2).sum())(params)
    remat = jax.jit(jax.grad(lambda p: (jax.checkpoint(lambda p: function(p, x)[0])(p) ** 2).sum()))(params)
    np.testing.assert_allclose(remat["weight_hh_l0"], want["weight_hh_l0"], rtol=1e-5)

    def chained(params):
        def step(h, part):
            output, h = function(params, part, h)
            return h, output

        return (jax.lax.scan(step, jnp.zeros((1, 3, 5)), x.reshape(3, 2, 3, 4))[1] ** 2).sum()

    np.testing.assert_allclose(jax.jit(jax.grad(chained))(params)["weight_hh_l0"], want["weight_hh_l0"], rtol=1e-5)
    jacobian = jax.jacrev(lambda x: function(params, x)[1][0, 0])(x)
    for unit in range(5):
        alone = jax.grad(lambda x, unit=unit: function(params, x)[1][0, 0, unit])(x)
        np.testing.assert_allclose(jacobian[unit], alone, rtol=1e-5, atol=1e-7)


def test_a_failure_inside_a_program_is_an_error():
    """Not garbage: whatever is raised behind the handler gets to the caller."""
    described = (((6, 3, 5), "float32"), ((1, 3, 5), "float32"))
    given = jnp.ones((6, 3, 4)), jnp.ones((1, 3, 5))
    with pytest.raises(Exception, match="pylstm: TypeError: params: expected an array"):
        jax.block_until_ready(programs._compute("infer 0 rnn_tanh 4 5 5 1 0", described, True, *given))


@pytest.mark.parametrize(("major", "answer"), [(0, (0, 7)), (1, (-1, -1))])
def test_the_handler_refuses_another_version_of_the_interface(major, answer):
    word = ctypes.c_uint64
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    handler = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(pointer(_core.xla_handler(calls.run), None))
    metadata = (word * 6)(48, 24, 0, 99 | 99 << 32)
    extension = (word * 4)(32, 1, 0, ctypes.addressof(metadata))
    api = (word * 30)(240, 0, 24, 0, major | 7 << 32)
    frame = (word * 22)(168, ctypes.addressof(extension), ctypes.addressof(api))
    assert handler(ctypes.addressof(frame)) is None
    assert tuple((ctypes.c_int * 2).from_buffer(metadata, 24)) == answer
    frame[0] = 100  # a frame that is too short for what is read
    handler(ctypes.addressof(frame))
    assert tuple((ctypes.c_int * 2).from_buffer(metadata, 24)) == (-1, -1)
