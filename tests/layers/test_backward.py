"""`backward`: again, later, and whatever the caller does with his arrays meanwhile."""

from __future__ import annotations

import numpy as np
import pytest

from support.compare import assert_same_bits
from support.problems import as_state, flat, problem

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 3, 4)).astype(np.float32)  # T, N, I


def gradients(grads):
    return {"x": grads.x, **{str(k): s for k, s in enumerate(flat(grads.state))}, **grads.params}


def test_backward_again_and_after_other_calls(module, variant):
    layer = variant.make(module, 4, 6, num_layers=2, bidirectional=True, dropout=0.5, seed=1)
    d = RNG.standard_normal((5, 3, 2 * layer.output_size)).astype(np.float32)
    _, _, backward = layer.forward(X, lengths=[5, 0, 3])
    first = gradients(backward(d))
    kept = {name: value.copy() for name, value in first.items()}
    layer.forward(X[::-1])[2](d)
    layer(X[:2])
    again = gradients(backward(d))
    assert_same_bits(again, kept)
    assert_same_bits(first, kept)  # what was handed out has not been touched
    for name in first:
        assert not np.shares_memory(first[name], again[name])
        first[name][...] = 0  # and belongs to the caller
    assert_same_bits(gradients(backward(d)), kept)


def test_backward_does_not_depend_on_buffers_of_the_caller(module, variant):
    layer = variant.make(module, 4, 6, seed=1)
    case = problem(layer, 5, 3, 0, state=True)
    states = tuple(s.astype(np.float32) for s in case.states)
    lengths = np.array([5, 2, 3])
    d = case.d_output.astype(np.float32)
    _, final, backward = layer.forward(X, as_state(layer, states), lengths=lengths)
    want = gradients(backward(d))
    for array in (*states, *flat(final), lengths):
        array[...] = 0
    assert_same_bits(gradients(backward(d)), want)


def test_what_backward_reads_is_read_only(gru):
    output, state, _ = gru.forward(X)
    with pytest.raises(ValueError, match="read-only"):
        output[0] = 0
    state[...] = 0
    output, _ = gru(X)
    output[...] = 0


def test_inputs_are_not_changed(module, variant):
    layer = variant.make(module, 4, 6, num_layers=2, bidirectional=True, dropout=0.3, seed=1)
    case = problem(layer, 5, 3, 0, lengths=True, state=True)
    arrays = [case.x, case.lengths, case.d_output, *case.states, *case.d_states]
    arrays = [a if a.dtype == np.int64 else a.astype(np.float32) for a in arrays]
    x, lengths, d_output, *others = arrays
    before = [a.copy() for a in arrays]
    half = len(others) // 2
    backward = layer.forward(x, as_state(layer, tuple(others[:half])), lengths=lengths)[2]
    backward(d_output, as_state(layer, tuple(others[half:])))
    layer(x, as_state(layer, tuple(others[:half])), lengths=lengths)
    for array, kept in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, kept)


def test_returned_states_are_fresh(module, variant):
    layer = variant.make(module, 4, 6, seed=1)
    _, state = layer(X)
    for steps in (0, 5):
        _, final = layer(X[:steps], state)
        for old, new in zip(flat(state), flat(final), strict=True):
            assert not np.shares_memory(old, new)


def test_gradients_have_the_keys_of_params(gru):
    grads = gru.forward(X)[2]()
    assert list(grads.params) == list(gru.params)
    assert not any(value.any() for value in grads.params.values())
