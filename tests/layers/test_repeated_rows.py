"""Rows of several tables side by side as rows of one table: of the combinations of symbols."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import pylstm
from pylstm import TableRows, _core
from pylstm.layers.repeated_rows import combined, repeat

pytestmark = pytest.mark.usefixtures("however_few_symbols")

F64 = np.float64


@st.composite
def tables(draw):
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    shape = tuple(draw(st.lists(st.integers(0, 9), min_size=0, max_size=3)))
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        num, width = draw(st.integers(1, 40)), draw(st.integers(1, 9))
        kind = draw(st.sampled_from([np.int64, np.uint8, np.int32]))
        ids = rng.integers(0, draw(st.integers(1, num)), shape).astype(kind)
        padding = draw(st.sampled_from([None, 0, -1]))
        parts.append(TableRows(rng.standard_normal((num, width)), ids, padding))
    return parts, rng


@hypothesis.settings(max_examples=80, deadline=None)
@hypothesis.given(tables())
def test_combinations_are_the_rows_side_by_side(drawn):
    parts, rng = drawn
    _core.force_plan(None, once=1)
    try:
        made = combined(parts)
    finally:
        _core.force_plan()
    if parts[0].symbols.size == 0:
        assert made is None
        return
    rows, split = made
    np.testing.assert_array_equal(np.asarray(rows), np.concatenate([np.asarray(part) for part in parts], axis=-1))
    combinations = np.stack([part.symbols.reshape(-1).astype(int) for part in parts])
    assert len(rows.table) == np.unique(combinations, axis=1).shape[1]
    assert sorted(set(rows.symbols.reshape(-1).tolist())) == list(range(len(rows.table)))
    chosen = np.flatnonzero(rng.random(len(rows.table)) < 0.7)  # those that sequences reach
    d = pylstm.RowGradient(chosen, rng.standard_normal((len(chosen), rows.table.shape[1])), rows.table.shape)
    first, begin = [int(np.argmax(rows.symbols.reshape(-1) == place)) for place in range(len(rows.table))], 0
    for part, found in zip(parts, split(d), strict=True):
        end = begin + part.table.shape[1]
        wanted = np.zeros(part.table.shape)
        own = part.symbols.reshape(-1)[first].astype(int)
        np.add.at(wanted, own[chosen], d.values[:, begin:end])
        if part.padding_idx is not None:
            wanted[part.padding_idx] = 0
            assert part.padding_idx not in found.rows
        np.testing.assert_allclose(found.dense(), wanted, atol=1e-13)
        assert set(found.rows.tolist()) <= set(own[chosen].tolist())
        begin = end


def test_too_few_that_repeat():
    rng = np.random.default_rng(0)
    words, tags = rng.integers(0, 30, (20, 50)), rng.integers(0, 4, (20, 50))
    many, wide = np.arange(1000).reshape(20, 50), rng.standard_normal((1000, 64))
    assert combined([TableRows(wide, words), TableRows(wide, tags)]) is not None
    for first, second in [(many, tags), (words, many), (many // 8, rng.permutation(1000).reshape(20, 50) % 125)]:
        assert combined([TableRows(wide, first), TableRows(wide, second)]) is None
    assert combined([TableRows(wide[:, :2], words), TableRows(wide[:, :3], tags)]) is None  # short rows
    assert repeat(TableRows(wide, words))
    assert not repeat(TableRows(wide, many))
    assert not repeat(TableRows(wide[:, :2], words))


def test_combinations_of_large_tables(once):
    """Their number is that of the pairs that are there, not of those that may be."""
    once(1)
    rng = np.random.default_rng(0)
    table = np.tile(np.arange(2, dtype=F64), (10**6, 1))
    ids = rng.integers(0, 10**6, (3, 7))
    rows, _ = combined([TableRows(table, ids), TableRows(table, ids[::-1]), TableRows(table, ids % 2)])
    assert len(rows.table) == 21
    np.testing.assert_array_equal(np.asarray(rows), np.tile([0.0, 1.0], (3, 7, 3)))


@pytest.mark.parametrize("kind", [pylstm.LSTM, pylstm.GRU, pylstm.RNN])
@pytest.mark.parametrize("both_ways", [False, True])
def test_a_chain_of_columns_and_a_recurrent_layer(kind, both_ways, once):
    rng = np.random.default_rng(1)
    x, lengths = np.stack([rng.integers(0, n, (6, 9)) for n in (7, 3, 4)], -1), np.array([9, 4, 1, 0, 7, 9])
    columns = pylstm.Columns([
        pylstm.Embedding(7, 5, padding_idx=0, seed=1, dtype=F64),
        pylstm.Embedding(3, 2, seed=2, dtype=F64), pylstm.Embedding(4, 4, seed=3, dtype=F64),
    ])  # fmt: skip
    layer = kind(11, 8, 2, batch_first=True, bidirectional=both_ways, dtype=F64, seed=4)
    model = pylstm.Sequential([columns, layer, pylstm.Linear(8 * layer.num_directions, 3, dtype=F64, seed=5)])
    for given in (None, lengths):
        found = []
        for way in (0, 1):
            once(way)
            y, backward = model.forward(x, lengths=given)
            dx, d_params = backward(np.cos(y))
            assert dx is None
            np.testing.assert_array_equal(y, model(x, lengths=given))
            found.append((y, d_params))
        (y, looked_up), (other, by_symbol) = found
        np.testing.assert_array_equal(y, model.layers[2](layer(columns(x), lengths=given)[0]))
        np.testing.assert_array_equal(y, other)
        assert list(looked_up) == list(by_symbol) == list(model.params)
        for name, value in looked_up.items():
            np.testing.assert_allclose(np.asarray(value), np.asarray(by_symbol[name]), atol=1e-12)
        assert 0 not in by_symbol["0.0.weight"].rows


def test_columns_that_cannot_give_rows(once):
    """Whose layers, or they themselves, do something of their own."""
    once(1)

    class Halved(pylstm.Columns):
        def forward(self, x, **options):
            y, back = super().forward(x, **options)
            return y / 2, lambda dy: back(dy / 2)

        def __call__(self, x, **options):
            return super().__call__(x, **options) / 2

    def embeddings():
        return [pylstm.Embedding(7, 5, seed=1, dtype=F64), pylstm.Embedding(3, 3, seed=2, dtype=F64)]

    layer = pylstm.LSTM(8, 4, batch_first=True, dtype=F64, seed=3)
    x = np.random.default_rng(0).integers(0, 3, (5, 9, 2))
    dropped = pylstm.Columns([pylstm.Sequential([embeddings()[0], pylstm.Dropout(0.5, seed=1)]), embeddings()[1]])
    for columns in (Halved(embeddings()), dropped):
        model = pylstm.Sequential([columns, layer])
        np.testing.assert_array_equal(model(x), layer(columns(x))[0])
        masks = model._dropout_state()
        y, backward = model.forward(x)
        model._set_dropout_state(masks)
        inner, back = columns.forward(x)
        want, _, layer_back = layer.forward(inner)
        np.testing.assert_array_equal(y, want)
        wanted = back(layer_back(y).x)[1]
        for name, value in wanted.items():
            np.testing.assert_array_equal(np.asarray(backward(y)[1]["0." + name]), np.asarray(value))


@pytest.mark.parametrize("way", [0, 1])
def test_wrong_columns_say_what_they_said(way, once):
    once(way)
    model = pylstm.Sequential([pylstm.Columns([pylstm.Embedding(7, 5), pylstm.Embedding(3, 3)]),
                               pylstm.LSTM(8, 4, batch_first=True)])  # fmt: skip
    for x, error, says in [
        (np.zeros((2, 3, 3), int), ValueError, r"x must have shape \(..., 2\)"),
        (np.zeros((2, 3, 2)), TypeError, "must hold integers"),
        (np.full((2, 3, 2), 3), IndexError, r"x holds 3, but the rows of Embedding\(3, 3\)"),
    ]:
        for call in (model, model.forward):
            with pytest.raises(error, match=says):
                call(x)
