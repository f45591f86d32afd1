"""Attention: the same bits however it is called, lengths, NaN, empty axes, and memories of keys."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from support.attention import LENGTHS, SCORES, K, N, Q, inputs_of, layer_of

F64 = np.float64


@pytest.fixture(params=SCORES)
def score(request):
    return request.param


# ---- the same bits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, F64])
@pytest.mark.parametrize("sizes", [(3, 5, 4, 6), (9, 21, 33, 17), (2, 300, 5, 70), (40, 7, 64, 64)], ids=str)
def test_steps_sequences_and_threads_have_the_same_bits(score, dtype, sizes):
    """A whole target at once, its steps one by one, each sequence alone without its padding, on one thread and two."""
    steps, count, query_size, key_size = sizes
    layer = layer_of(score, dtype, query_size=query_size, key_size=key_size)
    rng = np.random.default_rng(6)
    query, keys = inputs_of(layer, rng, N, steps, count)
    lengths = np.array([count, 1, 0, count // 2])
    threads = pylstm.get_num_threads()
    try:
        pylstm.set_num_threads(2)
        context, weights = layer(query, keys, lengths=lengths)
        assert (weights >= 0).all()
        pylstm.set_num_threads(1)
        again = layer(query, keys, lengths=lengths)
    finally:
        pylstm.set_num_threads(threads)
    np.testing.assert_array_equal(again[0], context)
    np.testing.assert_array_equal(again[1], weights)
    memory = layer.prepare(keys, lengths=lengths)
    for step in {0, 1, steps // 2, steps - 1}:
        for own in layer(query[:, step : step + 1], keys, lengths=lengths), layer(query[:, step], memory):
            np.testing.assert_array_equal(own[0].reshape(N, -1), context[:, step])
            np.testing.assert_array_equal(own[1].reshape(N, -1), weights[:, step])
    for n, length in enumerate(lengths):
        own = layer(query[n : n + 1], keys[n : n + 1, :length])
        np.testing.assert_array_equal(own[0][0], context[n])
        np.testing.assert_array_equal(own[1][0], weights[n, :, :length])
        assert not weights[n, :, length:].any()
    one = layer(query[1:2, :1], keys[1:2, : lengths[1]], lengths=[1])
    np.testing.assert_array_equal(one[0][0, 0], context[1, 0])


def test_blocks_do_not_show_in_the_bits(monkeypatch):
    """The hidden layer of additive attention is computed some sequences or queries at a time."""
    from pylstm.layers import attention_scores

    layer = layer_of("additive", np.float32, query_size=32, key_size=32)
    query, keys = inputs_of(layer, np.random.default_rng(7), 6, 9, 11)
    lengths = [11, 0, 3, 11, 7, 1]
    wanted = layer.forward(query, keys, lengths=lengths)
    ds = np.ones_like(wanted[0][0]), np.ones_like(wanted[0][1])
    for block in 1, 32 * 11 * 4, 32 * 11 * 9 * 2, 10**9:
        monkeypatch.setattr(attention_scores, "_BLOCK", block)
        outputs, backward = layer.forward(query, keys, lengths=lengths)
        np.testing.assert_array_equal(outputs[0], wanted[0][0])
        np.testing.assert_array_equal(outputs[1], wanted[0][1])
        for found, want in zip(backward(*ds)[0], wanted[1](*ds)[0], strict=True):
            np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_memory_of_additive_attention_is_bounded():
    import tracemalloc

    layer = pylstm.Attention(64, 64, seed=0)
    query, keys = inputs_of(layer, np.random.default_rng(8), 8, 40, 50)  # 4 MB of tanh, were it there at once
    whole = 8 * 40 * 50 * 64 * 4
    layer(query, keys)
    tracemalloc.start()
    try:
        (context, weights), backward = layer.forward(query, keys)
        backward(np.ones_like(context), np.ones_like(weights))
        assert tracemalloc.get_traced_memory()[1] < 0.6 * whole
    finally:
        tracemalloc.stop()


# ---- lengths, NaN, empty axes ----------------------------------------------------------------------------------------


def test_what_stands_past_a_length_does_not_matter(score):
    layer = layer_of(score)
    rng = np.random.default_rng(9)
    query, keys = inputs_of(layer, rng)
    clean, dirty = keys.copy(), keys.copy()
    for n, length in enumerate(LENGTHS):
        clean[n, length:], dirty[n, length:] = 0, [np.nan, np.inf, -np.inf, 1e300][n]
    found, back = layer.forward(query, dirty, lengths=LENGTHS)
    wanted, want_back = layer.forward(query, clean, lengths=LENGTHS)
    ds = rng.standard_normal(found[0].shape), rng.standard_normal(found[1].shape)
    past = np.broadcast_to((np.arange(K) >= LENGTHS[:, None])[:, None], ds[1].shape)
    wrong = ds[0], np.where(past, np.nan, ds[1])  # of weights that are 0 in any case
    for a, b in zip((*found, *back(*wrong)[0]), (*wanted, *want_back(*ds)[0]), strict=True):
        np.testing.assert_array_equal(a, b)
    (d_query, d_keys), d_params = back(*wrong)
    assert not found[0][2].any()
    assert not found[1][2].any()
    assert not d_query[2].any()
    assert not d_keys[past[:, 0]].any()
    assert all(np.isfinite(d).all() for d in d_params.values())
    np.testing.assert_allclose(found[1].sum(axis=2), (LENGTHS > 0)[:, None] * np.ones(Q), atol=1e-12)


def test_nan_stays_in_its_query_and_its_sequence(score):
    layer = layer_of(score)
    query, keys = inputs_of(layer, np.random.default_rng(10))
    wanted = layer(query, keys, lengths=LENGTHS)
    query[0, 1, 0], keys[1, 1, 0] = np.nan, np.nan
    context, weights = layer(query, keys, lengths=LENGTHS)
    assert np.isnan(context[0, 1]).all()
    assert np.isnan(weights[0, 1]).all()
    assert np.isnan(weights[1, :, :2]).all()
    assert not weights[1, :, 2:].any()
    query[0, 1], context[0, 1], weights[0, 1] = 0, wanted[0][0, 1], wanted[1][0, 1]
    context[1], weights[1] = wanted[0][1], wanted[1][1]
    np.testing.assert_array_equal(context, wanted[0])
    np.testing.assert_array_equal(weights, wanted[1])


def test_large_scores_do_not_overflow(score):
    layer = layer_of(score, np.float32)
    query, keys = inputs_of(layer, np.random.default_rng(11))
    context, weights = layer(query * 1e10, keys * 1e10, lengths=LENGTHS)
    assert np.isfinite(context).all()
    np.testing.assert_allclose(weights.sum(axis=2)[LENGTHS > 0], 1, rtol=1e-6)


@pytest.mark.parametrize("sizes", [(0, 3, 5), (2, 0, 5), (2, 3, 0), (0, 0, 0)], ids=str)
def test_empty_axes(score, sizes):
    layer = layer_of(score)
    query, keys = inputs_of(layer, np.random.default_rng(12), *sizes)
    for lengths in None, np.zeros(sizes[0], int):
        (context, weights), backward = layer.forward(query, keys, lengths=lengths)
        assert context.shape == (*sizes[:2], layer.key_size)
        assert weights.shape == sizes
        assert not context.any()
        (d_query, d_keys), d_params = backward(np.ones_like(context), np.ones_like(weights))
        assert d_query.shape == query.shape
        assert d_keys.shape == keys.shape
        assert not d_query.any()
        assert {name: d.shape for name, d in d_params.items()} == layer._param_shapes
        assert not any(d.any() for d in d_params.values())


# ---- a memory --------------------------------------------------------------------------------------------------------


def test_sequences_of_a_memory_are_selected(score):
    layer = layer_of(score)
    query, keys = inputs_of(layer, np.random.default_rng(13))
    memory, rows = layer.prepare(keys, lengths=LENGTHS), [3, 0, 0, -3]
    wanted = layer(query[rows], keys[rows], lengths=LENGTHS[rows])
    selected = memory.select(rows)
    by_hand = pylstm.AttentionMemory(*(array[rows] for array in memory))
    for own in selected, by_hand:
        found = layer(query[rows], own)
        np.testing.assert_array_equal(found[0], wanted[0])
        np.testing.assert_array_equal(found[1], wanted[1])
    np.testing.assert_array_equal(selected.lengths, LENGTHS[rows])
    assert memory.select([]).keys.shape == (0, K, layer.key_size)
    for wrong in [4], [-5]:
        with pytest.raises(IndexError, match="rows must lie in -4"):
            memory.select(wrong)
    for wrong in [0.5], [[0]], None, "ab":
        with pytest.raises(TypeError, match="rows"):
            memory.select(wrong)


def test_a_memory_is_selected_in_a_run_with_its_gradients(score):
    layer = layer_of(score)
    rng = np.random.default_rng(14)
    query, keys = inputs_of(layer, rng)
    rows = np.array([3, 0, 0, 1])

    class Selected(pylstm.Model):
        def __init__(self):
            self.attention = layer

        def run(self, query, keys, lengths=None):
            return self.attention(query, self.attention.prepare(keys, lengths=lengths).select(rows))

    outputs, backward = Selected().forward(query, keys, lengths=LENGTHS)
    wanted, want_back = layer.forward(query, keys[rows], lengths=LENGTHS[rows])
    ds = rng.standard_normal(outputs[0].shape), rng.standard_normal(outputs[1].shape)
    (d_query, d_keys), d_params = backward(ds)
    (w_query, w_selected), w_params = want_back(*ds)
    w_keys = np.zeros_like(keys)
    np.add.at(w_keys, rows, w_selected)
    np.testing.assert_array_equal(outputs[0], wanted[0])
    np.testing.assert_allclose(d_query, w_query, atol=1e-12)
    np.testing.assert_allclose(d_keys, w_keys, atol=1e-12)
    for name, want in w_params.items():
        np.testing.assert_allclose(d_params[f"attention.{name}"], want, atol=1e-12)


def test_a_memory_goes_from_one_model_to_another(score):
    """An encoder returns it, a decoder takes it: no array of it is lost on the way, and no gradient."""
    layer = layer_of(score)
    rng = np.random.default_rng(15)
    query, keys = inputs_of(layer, rng)

    class Encoder(pylstm.Model):
        def __init__(self):
            self.attention = layer

        def run(self, keys, lengths=None):
            return self.attention.prepare(keys, lengths=lengths)

    class Step(pylstm.Model):
        def __init__(self):
            self.attention = layer

        def run(self, query, memory):
            return self.attention(query, memory)

    memory = Encoder()(keys, lengths=LENGTHS)
    assert isinstance(memory, pylstm.AttentionMemory)
    wanted, want_back = layer.forward(query, keys, lengths=LENGTHS)
    np.testing.assert_array_equal(Step()(query, memory)[0], wanted[0])
    memory, encoder_back = Encoder().forward(keys, lengths=LENGTHS)
    outputs, step_back = Step().forward(query, memory)
    np.testing.assert_array_equal(outputs[1], wanted[1])
    ds = rng.standard_normal(outputs[0].shape), rng.standard_normal(outputs[1].shape)
    (_, d_memory), d_params = step_back(ds)
    d_keys, more = encoder_back(d_memory)
    (_, w_keys), w_params = want_back(*ds)
    np.testing.assert_allclose(d_keys, w_keys, atol=1e-12)
    for name, want in w_params.items():
        np.testing.assert_allclose(d_params[f"attention.{name}"] + more[f"attention.{name}"], want, atol=1e-12)


def test_a_memory_holds_arrays_of_its_own(score):
    layer = layer_of(score)
    query, keys = inputs_of(layer, np.random.default_rng(16))
    memory = layer.prepare(keys)
    wanted = layer(query, memory)
    keys[...] = np.nan
    np.testing.assert_array_equal(layer(query, memory)[0], wanted[0])
    (_, weights), backward = layer.forward(query, memory)
    before = backward(np.ones_like(wanted[0]))[0][0]
    weights[...] = 7  # what a call gave is the caller's
    np.testing.assert_array_equal(backward(np.ones_like(wanted[0]))[0][0], before)


def test_embedded_words_as_queries_and_keys(score):
    """In a model's run an embedding's rows may be looked up late: attention sees the arrays, the table its gradient."""
    rng = np.random.default_rng(17)
    words, other = rng.integers(0, 9, (16, 12)), rng.integers(0, 9, (16, 10))
    embed = pylstm.Embedding(9, 4, dtype=F64, seed=1)
    layer = layer_of(score, key_size=4)

    class Net(pylstm.Model):
        def __init__(self):
            self.embed, self.attention = embed, layer

        def run(self, words, other, prepared):
            keys = self.embed(other)
            if prepared:
                keys = self.attention.prepare(keys)
            return self.attention(self.embed(words), keys)

    query, keys = embed(words), embed(other)
    wanted, want_back = layer.forward(query, keys)
    ds = rng.standard_normal(wanted[0].shape), rng.standard_normal(wanted[1].shape)
    (d_query, d_keys), _ = want_back(*ds)
    d_table = np.zeros((9, 4))
    np.add.at(d_table, words, d_query)
    np.add.at(d_table, other, d_keys)
    for prepared in False, True:
        np.testing.assert_array_equal(Net()(words, other, prepared)[0], wanted[0])
        outputs, backward = Net().forward(words, other, prepared)
        np.testing.assert_array_equal(outputs[0], wanted[0])
        np.testing.assert_allclose(backward(ds)[1]["embed.weight"].dense(), d_table, atol=1e-10)
