"""`out`: written where it may be, refused where it may not."""

from __future__ import annotations

import numpy as np
import pytest

from support.arrays import misaligned, read_only
from support.compare import assert_same_bits
from support.problems import infer, problem

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 3, 4)).astype(np.float32)  # T, N, I


@pytest.mark.parametrize("batch_first", [False, True])
def test_out_is_written_and_returned(module, variant, batch_first):
    layer = variant.make(module, 4, 6, num_layers=2, bidirectional=True, batch_first=batch_first, seed=1)
    case = problem(layer, 5, 3, 0, lengths=True, state=True)
    want = infer(layer, case)
    shape = want["output"].shape
    outs = {
        "C": np.empty(shape, np.float32),
        "swapped": np.empty((shape[1], shape[0], shape[2]), np.float32).swapaxes(0, 1),
        "reversed": np.empty(shape, np.float32)[::-1, ::-1],
        "in a wider array": np.empty((shape[0], shape[1], shape[2] + 7), np.float32)[:, :, 3 : 3 + shape[2]],
    }
    for name, out in outs.items():
        out[...] = np.nan
        got = infer(layer, case, out=out)
        assert got["output"] is out
        assert_same_bits(got, want, name)


def test_nothing_beside_out_is_written(lstm):
    room = np.full((7, 5, 10), 9, np.float32)
    lstm(X, lengths=[5, 0, 2], out=room[1:6, 1:4, 2:8])
    room[1:6, 1:4, 2:8] = 9
    assert (room == 9).all()


def test_out_of_one_sequence(lstm):
    out = np.full((5, 6), np.nan, np.float32)
    output, _ = lstm(X[:, 1], out=out)
    assert output is out
    np.testing.assert_array_equal(out, lstm(X[:, 1])[0])


def test_outs_that_raise(lstm):
    good = np.empty((5, 3, 6), np.float32)
    table = [
        (good.tolist(), TypeError, "out must be a NumPy array, got list"),
        (np.ma.masked_array(good), TypeError, "out must be a NumPy array"),
        (good.astype(np.float64), TypeError, "out must have dtype float32"),
        (good.astype(">f4"), TypeError, "native byte order"),
        (good.swapaxes(0, 1), ValueError, r"out must have shape \(5, 3, 6\), got \(3, 5, 6\)"),
        (good[:, 0], ValueError, "out must have shape"),
        (read_only(good), ValueError, "out is read-only"),
        (np.asfortranarray(good), ValueError, "last axis contiguous"),
        (good[:, :, ::-1], ValueError, "last axis contiguous"),
        (misaligned(good), ValueError, "aligned"),
        (np.lib.stride_tricks.as_strided(good, (5, 3, 6), (0, 24, 4)), ValueError, "one place in memory"),
    ]
    for out, error, message in table:
        with pytest.raises(error, match=message):
            lstm(X, out=out)


def test_out_must_not_overlap_what_is_read(module):
    layer = module.LSTM(6, 6, seed=1)
    room = np.zeros((12, 3, 6), np.float32)
    for start in (0, 1, 4):
        with pytest.raises(ValueError, match="out must not overlap"):
            layer(room[:5], out=room[start : start + 5])
    h, c = room[10:11], np.zeros((1, 3, 6), np.float32)
    for state in ((h, c), [c, h]):
        with pytest.raises(ValueError, match="out must not overlap"):
            layer(room[:5], state, out=room[6:11])
    layer(room[:5], (h, c), out=room[5:10])  # beside each other is fine
    layer(room[::2], out=room[1::2])  # and so is in between
