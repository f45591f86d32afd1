"""Rows of a table as nobody expects them: in memory, behind the end of a sequence, and in tables of any size."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from pylstm import TableRows, _core


def packed(ids):
    """The same numbers where no record starts at a multiple of eight bytes."""
    records = np.zeros(ids.shape, [("kind", "i1"), ("symbol", "i8")])
    records["symbol"] = ids
    return records["symbol"]


@pytest.mark.parametrize("way", [0, 1])
def test_symbols_of_packed_records(way, once):
    once(way)
    embedding = pylstm.Embedding(7, 4, seed=1)
    layer = pylstm.LSTM(4, 5, batch_first=True, seed=2)
    model = pylstm.Sequential([embedding, layer])
    ids = np.random.default_rng(0).integers(0, 7, (3, 12))
    assert not packed(ids).flags.aligned
    for _ in range(3):  # the table is kept by then
        np.testing.assert_array_equal(model(packed(ids)), layer(embedding(ids))[0])
    np.testing.assert_array_equal(layer(TableRows(np.eye(7)[:, :4], packed(ids)))[0], layer(np.eye(7)[ids][..., :4])[0])
    np.testing.assert_array_equal(model.forward(packed(ids))[0], model(ids))


@pytest.mark.parametrize("batch_first", [False, True])
def test_what_stands_behind_the_end_alone_is_not_named(batch_first, once):
    layer = pylstm.GRU(3, 4, batch_first=batch_first, seed=1)
    ids = np.array([[1, 5, 8], [5, 0, 0], [2, 0, 0], [0, 0, 0]])
    lengths = [3, 1, 2, 0]
    rows = TableRows(np.random.default_rng(1).standard_normal((9, 3)), ids if batch_first else ids.T)
    rows.symbols[2, 2] = -1  # nor is it looked at
    for way in (0, 1):
        once(way)
        output, _, backward = layer.forward(rows, lengths=lengths)
        found = backward(np.ones_like(output)).x
        assert found.rows.tolist() == [0, 1, 2, 5, 8]
    empty = layer.forward(rows, lengths=[0] * 4)[2](np.ones_like(output)).x
    assert len(empty.rows) == len(empty.values) == 0


@pytest.mark.parametrize("way", [0, 1])
def test_lazy_updates_leave_what_stands_behind_the_end_alone(way, once):
    once(way)
    model = pylstm.Sequential([pylstm.Embedding(9, 24, seed=1), pylstm.LSTM(24, 4, batch_first=True, seed=2)])
    before = model.layers[0].state_dict()["weight"]
    x = np.tile([3, 4, 3, 0, 0], (8, 1))
    optimizer = pylstm.AdamW(0.1, weight_decay=0.5, lazy=True)
    y, backward = model.forward(x, lengths=[3] * 8)
    optimizer.step(model, backward(np.cos(y))[1])
    changed = (model.layers[0].params["weight"] != before).any(axis=1)
    assert np.flatnonzero(changed).tolist() == [3, 4]


@pytest.mark.parametrize("num", [63, 64, 65, 10_000, 10**7])
@pytest.mark.parametrize("total", [1, 2, 30, 1000])
def test_distinct_symbols_of_tables_of_any_size(num, total, once):
    once(1)
    rng = np.random.default_rng(num + total)
    ids = rng.choice(rng.integers(0, num, 1 + total // 3), (total, 3))
    ids[-1] = num - 1
    lengths = np.array([total, total - 1, total // 2])
    reached = np.arange(total)[:, None] < lengths
    assert _core.symbols(ids, lengths, num, 64).rows.tolist() == np.unique(ids[reached]).tolist()
    table = np.broadcast_to(np.ones(4, np.float32), (num, 4))
    some = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)
    layer = pylstm.RNN(4, 3, seed=1)
    np.testing.assert_array_equal(layer(TableRows(table, ids))[0], layer(np.ones((total, 3, 4)))[0])
    near = ids % 63
    np.testing.assert_array_equal(layer(TableRows(some, near))[0], layer(some[near])[0])


def test_the_core_takes_no_symbols_of_other_lengths(once):
    once(1)
    network, states = pylstm.LSTM(4, 5)._packed(), (None, None)
    table, out = np.ones((3, 4), np.float32), np.zeros((9, 2, 5), np.float32)
    found = _core.symbols(np.full((9, 2), 2), np.array([0, 1]), 3, 64)
    kept = network.multiplied(table, None), _core.symbols(np.full((9, 2), 2), np.array([0, 0]), 3, 64, True)
    for x in ((table, found), kept):
        with pytest.raises(ValueError, match="x: expected the symbols of sequences of these lengths"):
            network.infer(x, states, None, out, None)
    assert not out.any()


def test_a_trace_of_rows():
    layer, embedding = pylstm.LSTM(4, 5, seed=1), pylstm.Embedding(6, 4, seed=2)
    ids = np.random.default_rng(0).integers(0, 6, (7, 2))
    found, want = layer.trace(embedding.table_rows(ids), lengths=[7, 3]), layer.trace(embedding(ids), lengths=[7, 3])
    for name, value in want.items():
        np.testing.assert_array_equal(found[name], value)
