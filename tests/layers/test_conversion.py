"""Conversion of large arrays: in pieces, between which a signal is heard."""

from __future__ import annotations

import signal
import sys

import numpy as np
import pytest

from pylstm import _arrays

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(
    "shape", [(), (0, 3), (1000,), (1, 1000), (7, 11, 13), (1000, 1), (1, 2, 500), (3, 0, 2)], ids=str
)
def test_pieces_have_the_bits_of_the_whole(monkeypatch, shape, dtype):
    numbers = RNG.standard_normal(shape) * 1e3
    for kind in ("f8", "f4", ">f8", ">f4", "f2", "i8", "u1", "?"):
        array = np.asarray(numbers).astype(kind)
        for given in (array, array.T.copy().T, array[::-1] if array.ndim else array):
            want = given.astype(dtype, order="C")
            for piece in (8, 100, 1000):
                monkeypatch.setattr(_arrays, "_PIECE", piece)
                got = _arrays._converted(given, np.dtype(dtype))
                assert got.dtype == dtype
                assert got.flags.c_contiguous
                assert got.shape == given.shape
                assert got.tobytes() == want.tobytes()


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="needs signals")
def test_a_signal_is_heard_between_the_pieces(monkeypatch, sigint_heard):  # noqa: ARG001
    """A signal that comes with the first piece ends the conversion there."""
    monkeypatch.setattr(_arrays, "_PIECE", 1000)
    x = np.zeros((100, 50, 4))
    copied = []

    class Watched(np.ndarray):
        def __getitem__(self, key):
            copied.append(key)
            if len(copied) == 2:
                signal.raise_signal(signal.SIGINT)
            return np.asarray(super().__getitem__(key))

    with pytest.raises(KeyboardInterrupt):
        _arrays._converted(x.view(Watched), np.dtype(np.float32))
    assert len(copied) == 2
    assert sys.exc_info()[0] is None


def test_no_piece_is_larger_than_the_bound(monkeypatch):
    """The bound is what a wait for Ctrl-C hangs on."""
    sizes = []

    class Watched(np.ndarray):
        def __setitem__(self, key, value):
            sizes.append(np.asarray(value).size * 4)
            super().__setitem__(key, value)

    monkeypatch.setattr(_arrays, "_PIECE", 1000)
    monkeypatch.setattr(_arrays.np, "empty", lambda shape, dtype: np.zeros(shape, dtype).view(Watched))
    for shape in ((10_000,), (1, 10_000), (2, 5, 1000), (5000, 2), (3, 300, 1)):
        sizes.clear()
        got = _arrays._converted(np.ones(shape), np.dtype(np.float32))
        assert (np.asarray(got) == 1).all()
        assert len(sizes) > 1
        assert max(sizes) <= 1000
