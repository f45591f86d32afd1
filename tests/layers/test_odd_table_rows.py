"""Rows of a table as nobody expects them: in memory, behind the end of a sequence, and in tables of any size."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from pylstm import TableRows, _core


@pytest.fixture
def once():
    """Sets whether products are computed once per symbol."""
    yield lambda way: _core.force_plan(None, once=way)
    _core.force_plan()


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


def test_a_trace_of_rows():
    layer, embedding = pylstm.LSTM(4, 5, seed=1), pylstm.Embedding(6, 4, seed=2)
    ids = np.random.default_rng(0).integers(0, 6, (7, 2))
    found, want = layer.trace(embedding.table_rows(ids), lengths=[7, 3]), layer.trace(embedding(ids), lengths=[7, 3])
    for name, value in want.items():
        np.testing.assert_array_equal(found[name], value)
