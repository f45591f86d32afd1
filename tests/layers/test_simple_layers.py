"""Layers that are not recurrent, and containers: their gradients, lengths, bad input, copies."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import pylstm

F64 = np.float64
N, T, F = 3, 5, 4
LENGTHS = [2, 5, 0]


def recurrent(cls="LSTM", size=F, hidden=F, **options):
    return getattr(pylstm, cls)(size, hidden, batch_first=True, dtype=F64, **{"seed": 1, **options})


def linear(n=F, m=F, **options):
    return pylstm.Linear(n, m, dtype=F64, seed=2, **options)


def embedding(num=6, dim=F, **options):
    return pylstm.Embedding(num, dim, dtype=F64, **{"seed": 3, **options})


LAYERS = {
    "linear": lambda: linear(F, 3),
    "linear_no_bias": lambda: linear(F, 1, bias=False),
    "relu": lambda: pylstm.Activation("relu"),
    "tanh": lambda: pylstm.Activation("tanh"),
    "sigmoid": lambda: pylstm.Activation("sigmoid"),
    "softmax": lambda: pylstm.Activation("softmax"),
    "last": pylstm.LastStep,
    "ends": pylstm.BothEnds,
    "mean": pylstm.MeanOverTime,
    "max": pylstm.MaxOverTime,
    "residual": lambda: pylstm.Residual([linear(), pylstm.Activation("tanh")]),
    "residual_lstm": lambda: pylstm.Residual(recurrent()),
    "sequential": lambda: pylstm.Sequential(
        [recurrent("GRU", F, 3, bidirectional=True), pylstm.MaxOverTime(), linear(6, 2)]
    ),
    "nested": lambda: pylstm.Sequential([pylstm.Sequential([linear(), recurrent("RNN")]), pylstm.MeanOverTime()]),
}


@pytest.fixture(params=LAYERS, ids=str)
def layer(request):
    return LAYERS[request.param]()


def arrays_of(gradients):
    return {k: v.dense() if isinstance(v, pylstm.RowGradient) else v for k, v in gradients.items()}


def check_gradients(layer, x, lengths, rng, samples=12, eps=1e-6):
    """d of sum(y·w) against central differences, at random places of x and of every parameter."""
    y, backward = layer.forward(x, lengths=lengths)
    weight = rng.standard_normal(y.shape)
    dx, dparams = backward(weight)
    dparams = arrays_of(dparams)
    assert dparams.keys() == layer.params.keys()

    def loss():
        return float((layer.forward(x, lengths=lengths)[0] * weight).sum())

    checked = 0
    targets = [] if dx is None else [(x, dx, None)]
    values = layer.state_dict()
    targets += [(values[name], grad, name) for name, grad in dparams.items()]
    for array, grad, name in targets:
        assert grad.shape == array.shape
        assert np.isfinite(grad).all()
        for flat in rng.choice(array.size, min(samples, array.size), replace=False):
            at = np.unravel_index(flat, array.shape)
            before = array[at]
            sides = []
            for step in (eps, -eps):
                array[at] = before + step
                if name is not None:
                    layer.load_state_dict(values)
                sides.append(loss())
            array[at] = before
            if name is not None:
                layer.load_state_dict(values)
            numeric = (sides[0] - sides[1]) / (2 * eps)
            assert grad[at] == pytest.approx(numeric, rel=2e-5, abs=2e-8), (name, at)
            checked += 1
    assert checked


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_gradients(layer, lengths):
    rng = np.random.default_rng(7)
    check_gradients(layer, rng.standard_normal((N, T, F)), lengths, rng)


@pytest.mark.parametrize("shape", [(7,), (N, T), (2, 3, 4)], ids=str)
def test_gradient_of_embedding(shape):
    rng = np.random.default_rng(0)
    check_gradients(embedding(), rng.integers(0, 6, shape), None, rng, samples=24)


def test_gradients_of_columns():
    rng = np.random.default_rng(0)
    layer = pylstm.Columns([embedding(5, 3), embedding(6, 2)])
    x = np.stack([rng.integers(0, 5, (N, T)), rng.integers(0, 6, (N, T))], axis=-1)
    assert layer(x).shape == (N, T, 5)
    np.testing.assert_array_equal(layer(x)[..., 3:], layer.layers[1](x[..., 1]))
    check_gradients(layer, x, None, rng)


def test_dropout_uses_its_own_mask_backwards_and_does_nothing_in_a_call():
    layer = pylstm.Dropout(0.3, seed=5)
    x = np.random.default_rng(0).standard_normal((40, 50))
    np.testing.assert_array_equal(layer(x), x)
    y, backward = layer.forward(x)
    kept = y != 0
    np.testing.assert_allclose(y[kept], x[kept] / 0.7, rtol=1e-12)
    assert 0.65 < kept.mean() < 0.75
    dx, dparams = backward(np.ones_like(x))
    np.testing.assert_array_equal(dx != 0, kept)
    assert dparams == {}
    again = layer.forward(x)[0]
    assert ((again != 0) != kept).any()  # another call, another mask
    twin = pylstm.Dropout(0.3, seed=5)
    np.testing.assert_array_equal(twin.forward(x)[0], y)
    np.testing.assert_array_equal(twin.forward(x)[0], again)


def test_dropout_the_same_for_all_steps():
    y, _ = pylstm.Dropout(0.5, same_for_all_steps=True, seed=0).forward(np.ones((8, 9, 10)))
    assert (y == y[:, :1]).all()
    assert 0 < (y == 0).mean() < 1


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_dropout_at_the_ends(p):
    y, backward = pylstm.Dropout(p, seed=0).forward(np.ones((4, 5)))
    assert (y == 1 - p).all()
    assert (backward(np.ones((4, 5)))[0] == 1 - p).all()


# ---- lengths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["last", "mean", "max", "sequential", "nested"])
def test_what_stands_past_a_length_does_not_matter(name):
    rng = np.random.default_rng(1)
    layer = LAYERS[name]()
    if name == "nested":  # Linear runs over padding, too, and what it makes of it is not looked at
        rng = np.random.default_rng(2)
    x = rng.standard_normal((N, T, F))
    dirty = x.copy()
    for row, length in zip(dirty, LENGTHS, strict=True):
        row[length:] = np.nan
    results = []
    for value in (x, dirty):
        y, backward = layer.forward(value, lengths=LENGTHS)
        dx, dparams = backward(np.ones_like(y))
        inside = np.arange(T) < np.array(LENGTHS)[:, None]
        if name != "nested":
            assert (dx[~inside] == 0).all()
            results.append((y, dx, *arrays_of(dparams).values()))
        else:
            results.append((y,))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cls", [pylstm.LastStep, pylstm.BothEnds, pylstm.MeanOverTime, pylstm.MaxOverTime])
def test_pooling_equals_pooling_of_each_sequence(cls):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4, T, F)) - 3  # the largest value is below the zeros of padding
    lengths = [5, 1, 3, 0]
    y = cls()(x, lengths=lengths)
    for row, sequence, length in zip(y, x, lengths, strict=True):
        np.testing.assert_allclose(row, cls()(sequence[:length]) if length else np.zeros(F), rtol=1e-12)
    half = F // 2
    want = {"LastStep": x[:, -1], "MeanOverTime": x.mean(axis=1), "MaxOverTime": x.max(axis=1),
            "BothEnds": np.concatenate([x[:, -1, :half], x[:, 0, half:]], axis=1)}[cls.__name__]  # fmt: skip
    np.testing.assert_allclose(cls()(x), want, rtol=1e-12)
    assert cls()(np.zeros((2, 0, F))).tolist() == np.zeros((2, F)).tolist()


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_both_ends_of_a_bidirectional_layer_are_its_last_states(kind):
    rng = np.random.default_rng(2)
    layer = recurrent(kind, F, 3, bidirectional=True, num_layers=2)
    x, lengths = rng.standard_normal((4, T, F)), np.array([5, 1, 3, 4])
    y, state = layer(x, lengths=lengths)
    h = (state[0] if kind == "LSTM" else state)[-2:]
    np.testing.assert_array_equal(pylstm.BothEnds()(y, lengths=lengths), np.concatenate(list(h), axis=1))


def test_both_ends_needs_two_halves():
    with pytest.raises(ValueError, match=r"BothEnds needs .* even number, got 3"):
        pylstm.BothEnds()(np.zeros((2, 5, 3)))
    with pytest.raises(ValueError, match=r"BothEnds needs .* even number, got 3"):
        pylstm.Sequential([pylstm.GRU(2, 3, batch_first=True), pylstm.BothEnds()])


@pytest.mark.parametrize("lengths", [None, [3, 5, 0, 1]])
def test_of_several_equal_steps_the_first_gets_the_gradient(lengths):
    x = np.random.default_rng(0).integers(-2, 3, (4, 5, 40)).astype(F64)
    y, backward = pylstm.MaxOverTime().forward(x, lengths=lengths)
    dx, _ = backward(np.ones_like(y))
    for n, length in enumerate(lengths or [5] * 4):
        for f in range(40):
            want = np.zeros(5)
            if length:
                want[x[n, :length, f].argmax()] = 1
            np.testing.assert_array_equal(dx[n, :, f], want)


def test_a_single_sequence_equals_a_batch_of_one():
    model = pylstm.Sequential([embedding(), recurrent("LSTM"), pylstm.MaxOverTime(), linear(F, 2)])
    ids = np.array([1, 5, 2])
    np.testing.assert_allclose(model(ids), model(ids[None])[0], rtol=1e-12)
    y, backward = model.forward(ids)
    _, one = backward(np.ones_like(y))
    _, batch = model.forward(ids[None])[1](np.ones((1, 2)))
    for name, value in arrays_of(one).items():
        np.testing.assert_allclose(value, arrays_of(batch)[name], rtol=1e-10, atol=1e-12)


# ---- the contract ----------------------------------------------------------------------------------------------------


def test_backward_again_and_with_the_weights_of_its_own_call(layer):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((N, T, F))
    y, backward = layer.forward(x, lengths=LENGTHS)
    dy = rng.standard_normal(y.shape)
    first = backward(dy)
    layer.load_state_dict({name: value + 1 for name, value in layer.params.items()})
    pylstm.SGD(0.5).step(layer, first[1])
    second = backward(dy)
    np.testing.assert_array_equal(first[0], second[0])
    for name, value in first[1].items():
        np.testing.assert_array_equal(value, second[1][name])
    assert layer.forward(x, need_dx=False)[1](np.ones_like(layer(x)))[0] is None
    with pytest.raises(ValueError, match="shape"):
        backward(np.ones((*y.shape, 2)))


def test_params_are_read_only_and_load_state_dict_is_strict(layer):
    values = layer.state_dict()
    assert sum(value.size for value in values.values()) == layer.num_parameters
    for name, value in layer.params.items():
        with pytest.raises(ValueError, match="read-only"):
            layer.params[name][...] = 0
        with pytest.raises(TypeError):
            layer.params[name] = value
    if not values:
        return
    name = next(iter(values))
    with pytest.raises(ValueError, match=f"missing {name}"):
        layer.load_state_dict({k: v for k, v in values.items() if k != name})
    with pytest.raises(ValueError, match="unexpected nonsense"):
        layer.load_state_dict({**values, "nonsense": np.zeros(3)})
    with pytest.raises(ValueError, match="must have shape"):
        layer.load_state_dict({**values, name: np.zeros((1, 1, 1))})
    for key, value in layer.params.items():  # nothing was changed
        np.testing.assert_array_equal(value, values[key])


def test_a_loaded_weight_takes_effect_everywhere():
    model = pylstm.Sequential([embedding(), recurrent(), pylstm.LastStep(), linear(F, 2)])
    ids = np.array([[1, 2, 3]])
    before = model(ids)
    for name, value in model.state_dict().items():
        changed = model.state_dict()
        changed[name] = value * 1.5 + 0.1
        model.load_state_dict(changed)
        assert (model(ids) != before).any(), name
        changed[name] = value
        model.load_state_dict(changed)
        np.testing.assert_array_equal(model(ids), before)


@pytest.mark.parametrize(
    "clone", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))], ids=["deepcopy", "pickle"]
)
def test_copies(layer, clone):
    x = np.random.default_rng(0).standard_normal((N, T, F))
    other = clone(layer)
    np.testing.assert_array_equal(other(x), layer(x))
    assert repr(other) == repr(layer)
    y, backward = other.forward(x)
    pylstm.SGD(0.1).step(other, backward(np.ones_like(y))[1])  # the copy can be trained ..
    if layer.num_parameters:
        assert (other(x) != y).any()
        np.testing.assert_array_equal(layer(x), y)  # .. and the original does not notice


def test_copies_of_dropout_and_embedding():
    model = pylstm.Sequential([embedding(padding_idx=0), pylstm.Dropout(0.5, seed=1)])
    ids = np.array([[1, 2, 3, 0]])
    model.forward(ids)
    other = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(other.forward(ids)[0], model.forward(ids)[0])


def test_shapes_and_summary():
    model = pylstm.Sequential([
        pylstm.Embedding(10000, 32),
        pylstm.LSTM(32, 100, batch_first=True, recurrent_bias=False),
        pylstm.LastStep(),
        pylstm.Linear(100, 1),
    ])  # fmt: skip
    assert model.num_parameters == 373_301
    assert model.shapes() == [(None, None), (None, None, 32), (None, None, 100), (None, 100), (None, 1)]
    text = model.summary()
    for expected in ("320,000", "53,200", "101", "373,301", "(None, None, 100)"):
        assert expected in text
    assert pylstm.Sequential([pylstm.Linear(4, 3), pylstm.GRU(3, 2, batch_first=True)]).shapes()[-1] == (None, None, 2)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (lambda: [linear(4, 3), linear(4, 3)], "layer 1 does not fit"),
        (lambda: [embedding(), recurrent(size=7)], "takes \\(N, T, 7\\)"),
        (lambda: [embedding(), pylstm.LastStep(), recurrent()], "cannot follow"),
        (lambda: [pylstm.LSTM(4, 4)], "batch_first=True"),
        (lambda: [linear(), pylstm.Linear(4, 4)], "float32 and float64"),
        (list, "at least one"),
    ],
)
def test_models_that_do_not_fit(layers, message):
    with pytest.raises(ValueError, match=message):
        pylstm.Sequential(layers())


@pytest.mark.parametrize("layers", [linear, lambda: "abc", lambda: [3]])
def test_models_of_something_else(layers):
    with pytest.raises(TypeError, match="layers"):
        pylstm.Sequential(layers())


@pytest.mark.parametrize(
    "make",
    [
        lambda: pylstm.Linear(0, 3), lambda: pylstm.Linear(3, 2.5), lambda: pylstm.Embedding(3, 2, padding_idx=3),
        lambda: pylstm.Embedding(3, 2, std=-1), lambda: pylstm.Dropout(1.5), lambda: pylstm.Activation("gelu"),
        lambda: pylstm.Linear(3, 3, dtype=np.int32), lambda: pylstm.Residual([linear(4, 3)])(np.zeros((2, 4))),
        lambda: linear()(np.zeros((2, 5))), lambda: pylstm.LastStep()(np.zeros(3)),
        lambda: pylstm.LastStep()(np.zeros((2, 3, 4)), lengths=[1, 4]), lambda: linear()(np.array(["a"] * 4)),
        lambda: pylstm.Columns([embedding()])(np.zeros((2, 2), int)),
    ],
)  # fmt: skip
def test_bad_arguments(make):
    with pytest.raises((TypeError, ValueError)):
        make()


def test_the_same_seed_gives_the_same_model():
    def make(seed):
        return pylstm.Sequential(
            [pylstm.Embedding(9, 4), pylstm.LSTM(4, 4, 2, batch_first=True, dropout=0.5), pylstm.Linear(4, 2)],
            seed=seed,
        )

    a, b, c = make(1), make(1), make(2)
    ids = np.array([[1, 2, 3]])
    for name, value in a.params.items():
        np.testing.assert_array_equal(value, b.params[name])
        assert (value != c.params[name]).any()
    np.testing.assert_array_equal(a.forward(ids)[0], b.forward(ids)[0])


def test_a_model_written_by_hand():
    """Two LSTMs and one shared embedding: an encoder-decoder whose loss falls."""
    rng = np.random.default_rng(0)
    embed = pylstm.Embedding(12, 8, seed=0)
    encoder, decoder = (pylstm.LSTM(8, 24, batch_first=True, seed=s) for s in (1, 2))
    head = pylstm.Linear(24, 12, seed=3)
    layers = {"embed": embed, "encoder": encoder, "decoder": decoder, "head": head}
    optimizer = pylstm.Adam(1e-2)
    losses = []
    for _ in range(60):
        source = rng.integers(1, 12, (16, 5))
        target = source[:, ::-1]
        shifted = np.concatenate([np.zeros((16, 1), int), target[:, :-1]], axis=1)
        a, back_a = embed.forward(source)
        _, state, back_encoder = encoder.forward(a)
        b, back_b = embed.forward(shifted)
        h, _, back_decoder = decoder.forward(b, state)
        logits, back_head = head.forward(h)
        loss, d = pylstm.cross_entropy(logits, target)
        dh, d_head = back_head(d)
        g_decoder = back_decoder(dh)
        g_encoder = back_encoder(None, g_decoder.state)
        d_embed = [back_b(g_decoder.x)[1], back_a(g_encoder.x)[1]]
        grads = {"embed": d_embed, "encoder": g_encoder.params, "decoder": g_decoder.params, "head": d_head}
        optimizer.step(layers, grads, clip_norm=1.0)
        losses.append(loss)
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(("made", "names"), [
    (lambda: pylstm.Embedding(5, 3), ["num", "dim", "dtype"]),
    (lambda: pylstm.Linear(3, 2), ["in_features", "out_features", "bias", "dtype"]),
    (lambda: pylstm.LayerNorm(3), ["size", "dtype"]),
    (lambda: pylstm.Attention(3, 2), ["query_size", "key_size", "size", "score", "dtype"]),
    (lambda: pylstm.Conv1d(3, 2, 2), ["in_size", "out_size", "kernel_size", "stride", "causal", "dtype"]),
    (lambda: pylstm.GRU(3, 2), ["input_size", "hidden_size", "num_layers", "reset_after", "num_directions", "dtype"]),
])  # fmt: skip
def test_what_decides_the_parameters_is_fixed(made, names):
    """It would do nothing, but show in a file; copies and pickles are free of it until they are made."""
    for layer in (made(), copy.deepcopy(made()), pickle.loads(pickle.dumps(made()))):
        before = repr(layer)
        for name in names:
            with pytest.raises(AttributeError, match=f"{name} is fixed when a layer is made"):
                setattr(layer, name, getattr(layer, name))
        assert repr(layer) == before
        layer.note = "anything else is the user's"
