"""The one contract of all layers: `vjp`, recurrent layers and containers included."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm

N, T, F = 3, 5, 4


def lstm(**options):
    return pylstm.LSTM(F, 6, batch_first=True, dtype="float64", seed=1, **options)


LAYERS = {
    "Embedding": lambda: pylstm.Embedding(7, 3, dtype="float64", seed=0),
    "Linear": lambda: pylstm.Linear(F, 3, dtype="float64", seed=0),
    "Conv1d": lambda: pylstm.Conv1d(F, 3, 3, stride=2, padding=1, dtype="float64", seed=0),
    "causal Conv1d": lambda: pylstm.Conv1d(F, 3, 2, dilation=2, causal=True, dtype="float64", seed=0),
    "LayerNorm": lambda: pylstm.LayerNorm(F, dtype="float64", seed=0),
    "Dropout": lambda: pylstm.Dropout(0.5, seed=3),
    "Activation": lambda: pylstm.Activation("tanh"),
    "LastStep": pylstm.LastStep,
    "BothEnds": pylstm.BothEnds,
    "MeanOverTime": pylstm.MeanOverTime,
    "MaxOverTime": pylstm.MaxOverTime,
    "LSTM": lambda: lstm(num_layers=2, dropout=0.5),
    "LSTM with projection": lambda: lstm(proj_size=2, bidirectional=True),
    "GRU": lambda: pylstm.GRU(F, 6, batch_first=True, dtype="float64", seed=1),
    "RNN": lambda: pylstm.RNN(F, 6, batch_first=True, dtype="float64", seed=1),
    "LSTM of the reference": lambda: pylstm.reference.LSTM(F, 6, batch_first=True, dtype="float64", seed=1),
    "Residual": lambda: pylstm.Residual([lstm(), pylstm.Linear(6, F, dtype="float64", seed=2)]),
    "Columns": lambda: pylstm.Columns([pylstm.Embedding(7, 2, dtype="float64", seed=k) for k in range(F)]),
    "Sequential": lambda: pylstm.Sequential([lstm(), pylstm.MeanOverTime(), pylstm.Linear(6, 2, dtype="float64")]),
}


def some_input(layer, rng):
    if isinstance(layer, (pylstm.Embedding, pylstm.Columns)):
        return rng.integers(0, 7, (N, T) if isinstance(layer, pylstm.Embedding) else (N, T, F))
    return rng.standard_normal((N, T, F))


def weighted(outputs, weights):
    """The sum of all numbers in a structure of arrays, each times its weight."""
    if isinstance(outputs, (tuple, list)):
        return sum(weighted(one, own) for one, own in zip(outputs, weights, strict=True))
    return 0.0 if outputs is None or weights is None else float(np.sum(outputs * weights))


def like(outputs, rng):
    if isinstance(outputs, (tuple, list)):
        return type(outputs)([like(one, rng) for one in outputs])
    return None if outputs is None else rng.standard_normal(outputs.shape)


def set_back(layer, masks):
    layer._set_dropout_state(masks)
    return layer


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_obeys_it(name):
    """vjp gives what forward gives, and its backward the gradient of all outputs, states included."""
    rng = np.random.default_rng(5)
    layer, lengths = LAYERS[name](), np.array([5, 2, 4])
    assert isinstance(layer, pylstm.Layer)
    x, masks = some_input(layer, rng), layer._dropout_state()
    outputs, backward = layer.vjp(x, lengths=lengths)
    assert type(outputs) is tuple
    found = set_back(layer, masks).forward(x, lengths=lengths)
    assert np.array_equal(outputs[0], found[0])
    if layer.returns_state:
        assert all(map(np.array_equal, outputs[1], found[1]))
        assert layer(x)[0].shape == outputs[0].shape
    else:
        assert isinstance(layer(x), np.ndarray)
    weights = tuple(like(one, rng) for one in outputs)
    d_inputs, d_params = backward(*weights)
    assert d_params.keys() == layer.params.keys()

    def value(inputs):
        return weighted(set_back(layer, masks).vjp(inputs, lengths=lengths)[0], weights)

    if x.dtype.kind == "f":
        direction = rng.standard_normal(x.shape)
        slope = (value(x + 1e-6 * direction) - value(x - 1e-6 * direction)) / 2e-6
        assert np.isclose(slope, np.sum(d_inputs[0] * direction), rtol=1e-6, atol=1e-8)
        assert set_back(layer, masks).vjp(x, lengths=lengths, need_dx=False)[1](*weights)[0][0] is None
    else:
        assert d_inputs[0] is None
    before = layer.state_dict()
    for key, gradient in d_params.items():
        direction = rng.standard_normal(before[key].shape)
        ends = []
        for sign in (1, -1):
            layer.load_state_dict({**before, key: before[key] + sign * 1e-6 * direction})
            ends.append(value(x))
        slope = (ends[0] - ends[1]) / 2e-6
        assert np.isclose(slope, np.sum(np.asarray(gradient) * direction), rtol=1e-6, atol=1e-8), key


@pytest.mark.parametrize("kind", [pylstm.LSTM, pylstm.GRU, pylstm.reference.LSTM])
def test_states_go_in_and_out_with_gradients(kind):
    """A container cut in time, with the states' gradients handed back, is the whole run: values to the bit."""
    rng = np.random.default_rng(6)

    def inner(seed):
        return kind(F, F, batch_first=True, dtype="float64", seed=seed)

    model = pylstm.Sequential([
        inner(1), pylstm.Residual([inner(2), pylstm.Activation("tanh")]),
        pylstm.Sequential([inner(3), pylstm.Linear(F, 2, dtype="float64", seed=4)]),
    ])  # fmt: skip
    x, dy = rng.standard_normal((N, T, F)), rng.standard_normal((N, T, 2))
    (whole, end), whole_back = model.vjp(x)
    (first, state), first_back = model.vjp(x[:, :3])
    (second, after), second_back = model.vjp(x[:, 3:], state)
    assert np.array_equal(whole, np.concatenate([first, second], axis=1))
    assert str(end) == str(after)
    (dx, _), want = whole_back(dy)
    (d_second, d_state), params = second_back(dy[:, 3:])
    (d_first, _), rest = first_back(dy[:, :3], d_state)
    assert np.allclose(dx, np.concatenate([d_first, d_second], axis=1), rtol=1e-12, atol=1e-13)
    for name in want:
        assert np.allclose(want[name], params[name] + rest[name], rtol=1e-12, atol=1e-13), name
    (d_cut, _), _ = first_back(dy[:, :3])
    assert not np.allclose(d_cut, d_first)  # without the state's gradient something is missing


@pytest.mark.parametrize("name", [name for name, make in LAYERS.items() if "_outputs_own" in vars(type(make()))])
def test_outputs_that_are_handed_out_without_a_copy(name):
    """What a class says of its outputs: none is a view of the input, and writing to it changes no gradient."""
    rng, layer = np.random.default_rng(8), LAYERS[name]()
    x, masks = some_input(layer, rng), layer._dropout_state()
    outputs, backward = layer.vjp(x)
    d = tuple(like(one, rng) for one in outputs)
    arrays = [one for output in outputs for one in (output if isinstance(output, tuple) else (output,))]
    want = backward(*d)
    for array in arrays:
        assert not np.may_share_memory(array, x)
        if array.flags.writeable:
            array[...] = 7
    got = backward(*d)
    assert str(want) == str(got)
    assert np.array_equal(set_back(layer, masks).vjp(x)[1](*d)[0][0], got[0][0])


def test_gradients_of_several_calls_add_up_in_place():
    layer, x = lstm(), np.random.default_rng(7).standard_normal((N, T, F))
    (y, _), backward = layer.vjp(x)
    _, once = backward(y)
    arrays = {name: array.copy() for name, array in once.items()}
    _, rest = backward(y, into=arrays)
    assert rest == {}
    for name, array in arrays.items():
        assert np.array_equal(array, once[name] + once[name])


def test_no_layer_is_special():
    """Nothing but the layers themselves asks whether a layer is a recurrent one."""
    lstm_time_first = pylstm.LSTM(F, 6, seed=0)
    with pytest.raises(ValueError, match="batch_first=True"):
        pylstm.Sequential([lstm_time_first])

    class TimeFirst(pylstm.Layer):
        batch_first = False

        def __call__(self, x, *, lengths=None):  # noqa: ARG002
            return x

        def forward(self, x, *, lengths=None, need_dx=True):  # noqa: ARG002
            return x, lambda d: (d, {})

    with pytest.raises(ValueError, match="batch_first=True"):
        pylstm.Sequential([TimeFirst()])


def test_a_layer_with_several_inputs_and_outputs():
    class Both(pylstm.Layer):
        """Sum and product of two arrays."""

        def __call__(self, a, b):
            return a + b, a * b

        def forward(self, a, b, *, need_dx=True):  # noqa: ARG002
            def backward(d_sum, d_product):
                return (d_sum + b * d_product, d_sum + a * d_product), {}

            return (a + b, a * b), backward

    a, b = np.arange(3.0), np.arange(3.0, 6.0)
    outputs, backward = Both().vjp(a, b)
    assert [list(one) for one in outputs] == [list(a + b), list(a * b)]
    (d_a, d_b), d_params = backward(np.ones(3), np.full(3, 2.0))
    assert list(d_a) == list(1 + 2 * b)
    assert list(d_b) == list(1 + 2 * a)
    assert d_params == {}


def test_reprs_of_subclasses_with_a_constructor_of_their_own():
    class Small(pylstm.LSTM):
        def __init__(self):
            super().__init__(3, 4, dropout=0.0, proj_size=2, seed=0)

    assert repr(Small()) == "Small(3, 4, proj_size=2)"
    assert repr(pylstm.GRU(3, 4, reset_after=False, dtype="float64")) == "GRU(3, 4, reset_after=False, dtype=float64)"
