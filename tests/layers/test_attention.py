"""Attention: values and gradients against PyTorch, differences and the plain twin, and what it is as a layer."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

import pylstm
from pylstm.reference import attention as twin
from support.attention import LENGTHS, SCORES, Decoder, K, N, Q, inputs_of, layer_of
from support.differences import slopes_agree

F64 = np.float64
GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "data" / "golden" / "attention" / "golden.npz"


@pytest.fixture(params=SCORES)
def score(request):
    return request.param


# ---- values and gradients --------------------------------------------------------------------------------------------


def in_torch(torch, layer, query, keys, lengths):
    p = {name: torch.tensor(value, requires_grad=True) for name, value in layer.state_dict().items()}
    query, keys = torch.tensor(query, requires_grad=True), torch.tensor(keys, requires_grad=True)
    if layer.score == "additive":
        a, b = query @ p["query_weight"].T, keys @ p["key_weight"].T + p["bias"]
        scores = torch.tanh(a[:, :, None] + b[:, None]) @ p["v"]
    elif layer.score == "general":
        scores = query @ p["weight"] @ keys.mT
    else:
        scores = query @ keys.mT / (layer.query_size**0.5 if layer.score == "scaled_dot" else 1)
    inside = torch.arange(keys.shape[1]) < torch.tensor(lengths)[:, None]
    weights = torch.where(inside[:, None], scores, -1e300).softmax(dim=-1) * inside[:, None]
    return p, query, keys, weights @ keys, weights


@pytest.mark.parametrize("size", [None, 7])
def test_values_and_gradients_are_pytorchs(score, size):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    layer = layer_of(score, size=size if score == "additive" else None)
    query, keys = inputs_of(layer, rng)
    p, t_query, t_keys, t_context, t_weights = in_torch(torch, layer, query, keys, LENGTHS)
    (context, weights), backward = layer.forward(query, keys, lengths=LENGTHS)
    np.testing.assert_allclose(context, t_context.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(weights, t_weights.detach().numpy(), atol=1e-12)
    for own in layer(query, keys, lengths=LENGTHS), layer(query, layer.prepare(keys, lengths=LENGTHS)):
        np.testing.assert_array_equal(own[0], context)
        np.testing.assert_array_equal(own[1], weights)
    d_context, d_weights = rng.standard_normal(context.shape), rng.standard_normal(weights.shape)
    for given in (d_context, d_weights), (d_context, None), (None, d_weights):
        loss = sum(
            (one * torch.tensor(d)).sum() for one, d in zip((t_context, t_weights), given, strict=True) if d is not None
        )
        wanted = torch.autograd.grad(loss, [t_query, t_keys, *p.values()], retain_graph=True, materialize_grads=True)
        (d_query, d_keys), d_params = backward(*given)
        assert list(d_params) == list(layer.params)
        for found, want in zip((d_query, d_keys, *d_params.values()), wanted, strict=True):
            np.testing.assert_allclose(found, want.numpy(), rtol=1e-9, atol=1e-9)
    found, _ = backward((d_context, d_weights))  # as the outputs come
    np.testing.assert_array_equal(found[0], backward(d_context, d_weights)[0][0])


def test_the_plain_twin_and_central_differences(score):
    rng = np.random.default_rng(4)
    layer = layer_of(score)
    query, keys = inputs_of(layer, rng)
    params = layer.state_dict()
    (context, weights), backward = layer.forward(query, keys, lengths=LENGTHS)
    for found, want in zip((context, weights), twin.attention(query, keys, LENGTHS, score, params), strict=True):
        np.testing.assert_allclose(found, want, atol=1e-12)
    ds = rng.standard_normal(context.shape), rng.standard_normal(weights.shape)
    (d_query, d_keys), d_params = backward(*ds)
    w_query, w_keys, w_params = twin.attention_backward(query, keys, LENGTHS, score, params, *ds)
    np.testing.assert_allclose(d_query, w_query, atol=1e-12)
    np.testing.assert_allclose(d_keys, w_keys, atol=1e-12)
    for name, want in w_params.items():
        np.testing.assert_allclose(d_params[name], want, atol=1e-12)

    def loss():
        layer.load_state_dict(params)
        context, weights = layer(query, keys, lengths=LENGTHS)
        return float((context * ds[0]).sum() + (weights * ds[1]).sum())

    of_params = [(params[name], d_params[name]) for name in params]
    slopes_agree(loss, [(query, d_query), (keys, d_keys), *of_params], rng)


def test_steps_of_a_decoder_have_the_gradients_of_a_whole_target(score):
    rng = np.random.default_rng(5)
    layer = layer_of(score)
    query, keys = inputs_of(layer, rng)
    (context, weights), backward = layer.forward(query, keys, lengths=LENGTHS)
    ds = rng.standard_normal(context.shape), rng.standard_normal(weights.shape)
    wanted, w_params = backward(*ds)
    outputs, back = Decoder(layer).forward(query, keys, lengths=LENGTHS)
    np.testing.assert_array_equal(outputs[0], context)
    np.testing.assert_array_equal(outputs[1], weights)
    found, d_params = back(ds)
    for one, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, want, atol=1e-12)
    assert d_params.keys() == {f"attention.{name}" for name in w_params}
    for name, want in w_params.items():
        np.testing.assert_allclose(d_params[f"attention.{name}"], want, atol=1e-12)
    # by hand: the gradients that steps give to the memory are added up
    memory, memory_back = layer.prepare_vjp(keys, lengths=LENGTHS)
    sums, own = [0, 0], dict.fromkeys(w_params, 0)
    for step in range(Q):
        _, step_back = layer.vjp(query[:, step], memory)
        (d_query, d_memory), d_params = step_back(ds[0][:, step], ds[1][:, step])
        np.testing.assert_allclose(d_query, wanted[0][:, step], atol=1e-12)
        sums = [total + d for total, d in zip(sums, d_memory[:2], strict=True)]
        own = {name: total + d_params.get(name, 0) for name, total in own.items()}
    d_keys, d_params = memory_back(pylstm.AttentionMemory(*sums, None))
    np.testing.assert_allclose(d_keys, wanted[1], atol=1e-12)
    for name, want in w_params.items():
        np.testing.assert_allclose(own[name] + d_params.get(name, 0), want, atol=1e-12)


@pytest.mark.skipif(not GOLDEN.is_file(), reason="needs the golden values beside the project")
def test_values_of_keras_and_pytorch():
    golden = np.load(GOLDEN)
    q, v, lengths = golden["q"], golden["v"], golden["v_mask"].sum(axis=1)
    assert (golden["v_mask"] == (np.arange(v.shape[1]) < lengths[:, None])).all()
    counts = golden["q_mask"][..., None]  # Keras zeroes the outputs of masked queries
    additive = pylstm.Attention(4, 4, seed=0)
    eye = np.eye(4)
    additive.load_state_dict({"query_weight": eye, "key_weight": eye, "bias": np.zeros(4), "v": golden["additive_w0"]})
    for layer, name in (additive, "additive"), (pylstm.Attention(4, 4, score="dot"), "dot"):
        context, weights = layer(q, v, lengths=lengths)
        np.testing.assert_allclose(context * counts, golden[f"{name}_out"], atol=1e-6)
        np.testing.assert_allclose(weights, golden[f"{name}_scores"], atol=1e-6)
    scaled = pylstm.Attention(4, 4, score="scaled_dot", dtype=F64)
    context, _ = scaled(q, v, lengths=lengths)
    np.testing.assert_allclose(context, golden["sdpa_out"], atol=1e-6)


# ---- as a layer ------------------------------------------------------------------------------------------------------


def test_frozen_and_without_a_gradient_to_the_query(score):
    rng = np.random.default_rng(17)
    layer = layer_of(score)
    query, keys = inputs_of(layer, rng)
    outputs, backward = layer.forward(query, keys, lengths=LENGTHS)
    ds = rng.standard_normal(outputs[0].shape), rng.standard_normal(outputs[1].shape)
    wanted, _ = backward(*ds)
    d_inputs, _ = layer.vjp(query, keys, lengths=LENGTHS, need_dx=False)[1](*ds)
    assert d_inputs[0] is None
    np.testing.assert_array_equal(d_inputs[1], wanted[1])
    layer.trainable = False
    found, d_params = layer.forward(query, keys, lengths=LENGTHS)[1](*ds)
    assert d_params == {}
    for one, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, want, atol=1e-12)
    (d_query, d_keys), d_params = Decoder(layer).forward(query, keys, lengths=LENGTHS)[1](ds)
    assert d_params == {}
    np.testing.assert_allclose(d_query, wanted[0], atol=1e-12)
    np.testing.assert_allclose(d_keys, wanted[1], atol=1e-12)


def test_seeds_copies_pickles_and_what_it_says_of_itself(score):
    layer = layer_of(score)
    query, keys = inputs_of(layer, np.random.default_rng(18))
    wanted = layer(query, keys)
    again = pylstm.Attention.from_config(layer.get_config())
    again.load_state_dict(layer.state_dict())
    for other in copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), again:
        np.testing.assert_array_equal(other(query, keys)[0], wanted[0])
        assert repr(other) == repr(layer)
    make = {"query_size": 4, "key_size": 4, "score": score}
    one, two = pylstm.Attention(**make, seed=3), pylstm.Attention(**make, seed=3)
    assert one.params == two.params
    assert one.dtype == np.float32
    if one.num_parameters:
        assert one.params != pylstm.Attention(**make, seed=4).params
    assert pylstm.Attention(3, 5, 2).num_parameters == 2 * 3 + 2 * 5 + 2 + 2
    assert repr(pylstm.Attention(3, 5, 2)) == "Attention(3, 5, size=2)"


def test_it_is_saved_in_a_models_file(tmp_path):
    @pylstm.register("attention.test.Copier")
    class Copier(pylstm.Model):
        def __init__(self, size):
            self.size = size
            self.query, self.attention = pylstm.Linear(size, size), pylstm.Attention(size, size)

        def run(self, x, lengths=None):
            return self.attention(self.query(x), x, lengths=lengths)[0]

    model = Copier(4)
    x = np.random.default_rng(19).standard_normal((2, 3, 4), dtype=np.float32)
    model.save(tmp_path / "model.npz")
    np.testing.assert_array_equal(pylstm.load(tmp_path / "model.npz")(x), model(x))
    model.save_weights(tmp_path / "weights.npz")
    other = Copier(4)
    other.load_weights(tmp_path / "weights.npz")
    np.testing.assert_array_equal(other(x, lengths=[2, 0]), model(x, lengths=[2, 0]))


def test_copying_is_learned_through_it():
    """A query of a place finds the symbol at that place."""
    rng = np.random.default_rng(20)

    class Copy(pylstm.Model):
        def __init__(self):
            self.attention, self.head = pylstm.Attention(6, 12, 16, seed=1), pylstm.Linear(12, 6, seed=2)

        def run(self, places, keys):
            return self.head(self.attention(places, keys)[0])

    x = rng.integers(0, 6, (128, 6))
    places = np.broadcast_to(np.eye(6, dtype=np.float32), (128, 6, 6)).copy()
    keys = np.concatenate([places, np.eye(6, dtype=np.float32)[x]], axis=2)
    model = Copy()
    model.keeps_time = True
    model.fit((places, keys), x, loss="cross_entropy", epochs=30, batch_size=16, optimizer=pylstm.Adam(0.02), verbose=0,
              seed=0)  # fmt: skip
    assert (model(places, keys).argmax(axis=2) == x).mean() > 0.99


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        ((0, 4), {}, ValueError, "query_size"),
        ((4, 2.0), {}, TypeError, "key_size"),
        ((4, 4, 0), {}, ValueError, "size must be"),
        ((4, 4), {"score": "scaled"}, ValueError, "did you mean 'scaled_dot'"),
        ((4, 4), {"score": None}, TypeError, "score"),
        ((4, 5), {"score": "dot"}, ValueError, "key_size must be query_size"),
        ((4, 5), {"score": "scaled_dot"}, ValueError, "key_size must be query_size"),
        ((4, 4, 3), {"score": "general"}, ValueError, "size must be None"),
        ((4, 4), {"dtype": "int32"}, TypeError, "dtype"),
        ((4, 4), {"seed": -1}, ValueError, "seed"),
        ((2**40, 2**40), {}, ValueError, "GiB"),
    ],
)
def test_wrong_arguments(arguments, options, error, match):
    with pytest.raises(error, match=match):
        pylstm.Attention(*arguments, **options)


def test_wrong_inputs(score):
    layer = layer_of(score)
    query, keys = inputs_of(layer, np.random.default_rng(21))
    memory = layer.prepare(keys, lengths=LENGTHS)
    other = pylstm.Attention(4, 9, score="general", dtype=F64).prepare(np.zeros((N, K, 9)))
    for arguments, options, error, match in [
        ((query[0, 0], keys), {}, ValueError, "query must have shape"),
        ((query[..., :2], keys), {}, ValueError, "query must have shape"),
        ((query, keys[..., :2]), {}, ValueError, "keys must have shape"),
        ((query, keys[:, 0]), {}, ValueError, "keys must have shape"),
        ((query[:2], keys), {}, ValueError, "query must have the N of keys, 4"),
        ((query[:2], memory), {}, ValueError, "query must have the N of keys, 4"),
        ((query, keys), {"lengths": [6, 0, 0, 0]}, ValueError, "lengths must lie in 0..5"),
        ((query, keys), {"lengths": [1, 2]}, ValueError, "lengths must have shape"),
        ((query, keys), {"lengths": [1.0, 2, 3, 4]}, TypeError, "lengths"),
        ((query, memory), {"lengths": LENGTHS}, TypeError, "lengths must be given to prepare"),
        ((query, other), {}, ValueError, "memory"),
        ((query, memory._replace(lengths=[9, 0, 0, 0])), {}, ValueError, "lengths"),
        ((query,), {}, TypeError, "a query and keys"),
        ((None, keys), {}, TypeError, "query"),
        (("words", keys), {}, TypeError, "query"),
        ((query * 1j, keys), {}, TypeError, "query"),
    ]:
        for call in layer, layer.forward, layer.vjp:
            with pytest.raises(error, match=match):
                call(*arguments, **options)
    with pytest.raises(TypeError, match="already"):
        layer.prepare(memory)
    (context, weights), backward = layer.forward(query, keys)
    for wrong in (context[:1], weights), (context, weights[:1]), (weights, context):
        with pytest.raises(ValueError, match="dy must have the shape"):
            backward(*wrong)
    with pytest.raises(TypeError, match="d_memory"):
        layer.prepare_vjp(keys)[1](context)


def test_in_a_chain_it_says_that_it_takes_two():
    model = pylstm.Sequential([pylstm.Attention(4, 4), pylstm.Linear(4, 2)])
    x = np.zeros((2, 3, 4))
    for call in model, model.forward, lambda x: model.fit(x, np.zeros((2, 3, 2)), loss="mse", verbose=0):
        with pytest.raises(TypeError, match="in the run of a Model"):
            call(x)


def test_in_a_run_nothing_computes_apart():
    layer = layer_of("additive")
    query, keys = inputs_of(layer, np.random.default_rng(22))

    class Wrong(pylstm.Model):
        def __init__(self, method):
            self.attention, self.method = layer, method

        def run(self, query, keys):
            return getattr(self.attention, self.method)(keys if self.method == "prepare_vjp" else query)[0]

    for method in "forward", "vjp", "prepare_vjp":
        with pytest.raises(TypeError, match="gradients would be lost"):
            Wrong(method).forward(query, keys)


def test_a_memory_from_outside_of_the_run_is_not_trained_with_in_silence():
    rng = np.random.default_rng(0)
    x, keys = rng.standard_normal((2, N, K, 4))

    class Looking(pylstm.Model):
        def __init__(self, score):
            self.attention = pylstm.Attention(4, 4, score=score, dtype=F64, seed=0)
            self.memory = self.attention.prepare(keys)

        def run(self, query, memory=None):
            return self.attention(query, memory or self.memory)[0]

    for score in "additive", "general":
        model = Looking(score)
        expected = model.attention(x, keys)[0]
        np.testing.assert_array_equal(model(x), expected)
        with pytest.raises(TypeError, match="would get no gradient"):
            model.fit(x, x, loss="mse", verbose=0)
        outputs, backward = model.forward(x, model.memory)  # one that the run is given has a gradient of its own
        np.testing.assert_array_equal(outputs, expected)
        assert np.any(backward(x)[0][1].projected)
        model.freeze("attention")
        model.forward(x)
    Looking("dot").forward(x)
