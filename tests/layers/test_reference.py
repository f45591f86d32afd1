"""The NumPy twin against central differences in float64, and its dropout against published numbers."""

from __future__ import annotations

import numpy as np
import pytest

from pylstm import reference
from pylstm.reference import dropout
from support.compare import assert_same_bits
from support.problems import as_state, flat, problem, run

STEP = 1e-5  # central differences: error about STEP^2 from the third derivative, and 1e-16 / STEP from rounding
TOLERANCE = 1e-7
SAMPLES = 8  # elements checked one by one per array, besides one random direction that moves all of them


def loss(layer, case):
    layer._dropout_calls = 0  # every evaluation draws the same mask
    output, state, _ = layer.forward(case.x, as_state(layer, case.states), lengths=case.lengths)
    value = (output * case.d_output).sum()
    return value + sum((s * d).sum() for s, d in zip(flat(state), case.d_states, strict=True))


def directions(rng, shape):
    size = int(np.prod(shape))
    for index in rng.permutation(size)[:SAMPLES]:
        yield np.eye(1, size, index).reshape(shape)
    yield rng.standard_normal(shape)


def check_gradients(layer, case):
    """Every gradient of `layer` at `case`, in some coordinate directions and a random one."""
    rng = np.random.default_rng(7)
    layer._dropout_calls = 0
    grads = run(layer, case)

    def check(name, gradient, evaluate):
        scale = np.abs(gradient).max()
        for v in directions(rng, gradient.shape):
            numeric = (evaluate(STEP * v) - evaluate(-STEP * v)) / (2 * STEP)
            error = abs(numeric - (gradient * v).sum())
            assert error <= TOLERANCE * scale * np.abs(v).sum(), f"{name}: {error:.1e} of {scale:.1e}"

    check("x", grads["d_x"], lambda v: loss(layer, case._replace(x=case.x + v)))
    if case.states is not None:
        for k in range(len(case.states)):

            def move(v, k=k):
                states = tuple(s + v if j == k else s for j, s in enumerate(case.states))
                return loss(layer, case._replace(states=states))

            check(f"state[{k}]", grads[f"d_state[{k}]"], move)
    params = dict(layer.params)
    for name, value in params.items():

        def change(v, name=name, value=value):
            layer.load_state_dict({**params, name: value + v})
            return loss(layer, case)

        check(name, grads["d_" + name], change)
    layer.load_state_dict(params)


@pytest.mark.parametrize(
    ("options", "lengths", "state"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"recurrent_bias": False}, False, True),
        ({"bias": False}, False, True),
        ({"num_layers": 2}, True, True),
        ({"bidirectional": True}, True, True),
        ({"num_layers": 2, "bidirectional": True, "batch_first": True}, True, True),
        ({"num_layers": 3, "dropout": 0.4}, True, True),
        ({"num_layers": 2, "bidirectional": True, "dropout": 0.4}, False, True),
    ],
    ids=lambda value: "-".join(value) or "plain" if isinstance(value, dict) else str(value),
)
def test_gradients(variant, options, lengths, state):
    layer = variant.make(reference, 3, 4, dtype=np.float64, seed=1, **options)
    check_gradients(layer, problem(layer, 4, 3, 2, lengths=lengths, state=state))


def test_gradient_of_state_is_given_for_the_zero_state_too(variant):
    layer = variant.make(reference, 3, 4, dtype=np.float64, seed=1)
    case = problem(layer, 4, 3, 2)
    zeros = tuple(np.zeros_like(d) for d in case.d_states)
    assert_same_bits(run(layer, case), run(layer, case._replace(states=zeros)))


def test_lengths_equal_running_each_sequence_alone(variant):
    layer = variant.make(reference, 3, 4, num_layers=2, bidirectional=True, dtype=np.float64, seed=1)
    case = problem(layer, 6, 5, 3, lengths=True, state=True)
    got = run(layer, case)
    sums = {}
    for n, length in enumerate(case.lengths):
        alone = run(
            layer,
            case._replace(
                x=case.x[:length, n : n + 1],
                states=tuple(s[:, n : n + 1] for s in case.states),
                lengths=None,
                d_output=case.d_output[:length, n : n + 1],
                d_states=tuple(d[:, n : n + 1] for d in case.d_states),
            ),
        )
        for name, value in alone.items():
            if name in ("output", "d_x"):
                np.testing.assert_allclose(got[name][:length, n : n + 1], value, rtol=0, atol=1e-13)
                assert not got[name][length:, n].any()
            elif "state" in name:
                np.testing.assert_allclose(got[name][:, n : n + 1], value, rtol=0, atol=1e-13)
                if length == 0 and not name.startswith("d_"):
                    k = int(name[-2])
                    assert np.array_equal(value, case.states[k][:, n : n + 1])
            else:
                sums[name] = sums.get(name, 0) + value
    for name, value in sums.items():
        np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-12)


def test_the_reverse_direction_is_a_layer_on_the_reversed_sequence(variant):
    both = variant.make(reference, 3, 4, bidirectional=True, dtype=np.float64, seed=1)
    one = variant.make(reference, 3, 4, dtype=np.float64)
    case = problem(both, 6, 5, 3)
    output = both(case.x)[0]
    half = both.output_size
    for suffix, order, columns in [("", 1, slice(half)), ("_reverse", -1, slice(half, None))]:
        one.load_state_dict({name: both.params[name + suffix] for name in one.params})
        want = one(case.x[::order])[0][::order]
        np.testing.assert_allclose(output[:, :, columns], want, rtol=0, atol=1e-14)


def test_padding_is_not_read(variant):
    layer = variant.make(reference, 3, 4, num_layers=2, bidirectional=True, dtype=np.float64, seed=1)
    case = problem(layer, 6, 5, 3, lengths=True)
    padding = np.arange(6)[:, None] >= case.lengths
    x, d_output = case.x.copy(), case.d_output.copy()
    x[padding], d_output[padding] = np.nan, np.nan
    assert_same_bits(run(layer, case._replace(x=x, d_output=d_output)), run(layer, case))


def test_saturated_gates_neither_overflow_nor_warn(variant):
    layer = variant.make(reference, 1, 2, seed=0)
    layer.load_state_dict({name: np.full_like(value, -1e4) for name, value in layer.params.items()})
    with np.errstate(over="raise", invalid="raise"):
        output, _ = layer(np.array([[3e4], [-1e-4]], np.float32))
    assert np.isfinite(output).all()


# ---- dropout ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (0x00000000, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (0xFFFFFFFF, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ],
)
def test_philox_known_answers(word, expected):
    """Vectors published with Random123 (kat_vectors, philox4x32 10)."""
    counter = [np.full(1, word, np.uint64)] * 4
    assert tuple(int(w[0]) for w in dropout.philox(*counter, (word, word))) == expected


def test_philox_uses_every_word_of_counter_and_key():
    """The third published vector: digits of pi, all six words different."""
    counter = [np.full(1, w, np.uint64) for w in (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)]
    words = dropout.philox(*counter, (0xA4093822, 0x299F31D0))
    assert tuple(int(w[0]) for w in words) == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)


def test_keep_mask_places_the_words():
    seed, call, layer, layers, p = 0x0123456789ABCDEF, 5, 1, 3, 0.3
    keep = dropout.keep_mask(p, (3, 2, 6), layer, layers, (seed, call))
    for t, n, j in np.ndindex(3, 2, 6):
        counter = [np.full(1, w, np.uint64) for w in (j // 4, n, t, call * layers + layer)]
        word = int(dropout.philox(*counter, (0x89ABCDEF, 0x01234567))[j % 4][0])
        assert keep[t, n, j] == (word >= int(p * 2**32))


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_keep_mask_keeps_the_share_it_should(p):
    count = 100 * 40 * 50
    kept = dropout.keep_mask(p, (100, 40, 50), 0, 2, (12345, 0)).sum()
    assert abs(kept - count * (1 - p)) <= 5 * np.sqrt(count * p * (1 - p))  # five standard deviations


def test_dropout_is_in_training_only_and_new_at_each_call(variant):
    layer = variant.make(reference, 3, 8, num_layers=2, dropout=0.5, dtype=np.float64, seed=1)
    plain = variant.make(reference, 3, 8, num_layers=2, dtype=np.float64, seed=1)
    x = np.random.default_rng(0).standard_normal((5, 2, 3))
    inference = layer(x)[0]
    first, second = layer.forward(x)[0], layer.forward(x)[0]
    assert np.array_equal(inference, plain(x)[0])
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, inference)
    again = variant.make(reference, 3, 8, num_layers=2, dropout=0.5, dtype=np.float64, seed=1)
    assert np.array_equal(again.forward(x)[0], first)


def test_dropout_of_one_cuts_the_layers_apart():
    layer = reference.LSTM(3, 4, num_layers=2, dropout=1.0, dtype=np.float64, seed=1)
    rng = np.random.default_rng(0)
    output, _, backward = layer.forward(rng.standard_normal((5, 2, 3)))
    assert np.array_equal(output, layer.forward(rng.standard_normal((5, 2, 3)))[0])
    grads = backward(np.ones_like(output))
    assert not grads.x.any()
    assert not grads.params["weight_ih_l0"].any()
    assert grads.params["weight_hh_l1"].any()
