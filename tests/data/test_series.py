"""Windows over series: what is in them, what they cost, and cuts in time."""

from __future__ import annotations

import copy
import itertools
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pylstm


def plain(series, past, future, stride):
    """The windows one after another, from the definition."""
    starts = range(0, len(series) - past - future + 1, stride)
    x = np.array([series[start : start + past] for start in starts])
    return x, np.array([series[start + past : start + past + future] for start in starts])


@given(st.data())
def test_windows_are_what_they_are_by_definition(data):
    past, future, stride = (data.draw(st.integers(1, 7)) for _ in range(3))
    steps = data.draw(st.integers(past + future, 40))
    series = np.random.default_rng(steps).standard_normal((steps, 3))
    series[data.draw(st.integers(0, steps - 1)), 1] = np.nan
    w = pylstm.windows(series, past, future, stride)
    x, y = plain(series, past, future, stride)
    np.testing.assert_array_equal(w.x, x)
    np.testing.assert_array_equal(w.y, y)
    assert list(w.starts) == list(range(0, steps - past - future + 1, stride))
    assert len(w.x) == len(w.y) == (steps - past - future) // stride + 1
    assert np.shares_memory(w.x, series)
    assert np.shares_memory(w.y, series)


def test_every_step_follows_the_last_by_default():
    x, y = pylstm.windows(np.arange(10.0), 3, 2)
    assert x[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert y.tolist() == [[n + 3, n + 4] for n in range(6)]


def test_one_column():
    """x as layers take it, y as a model gives it."""
    series = np.arange(12)
    w = pylstm.windows(series, 4, 2)
    assert (w.x.shape, w.y.shape) == ((7, 4, 1), (7, 2))
    assert w.x.dtype == w.y.dtype == series.dtype
    assert pylstm.windows(series, 4, 2, inputs=0).x.shape == (7, 4)  # symbols
    assert pylstm.windows(series[:, None], 4, 2).y.shape == (7, 2, 1)
    assert pylstm.windows(list(range(12)), 4, 2).y.tolist() == w.y.tolist()


class Frame:
    """As pandas has it."""

    def __init__(self, values):
        self.values, self.columns = values, ["a", "b", "c", "d"]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


@pytest.mark.parametrize(
    ("chosen", "columns"),
    [(2, 2), (-1, 3), ("b", 1), ([0], [0]), ([1, 2], [1, 2]), ([3, 0], [3, 0]), ([2, 1, 0], [2, 1, 0]),
     ([0, 1, 3], [0, 1, 3]), (("d", "a", "b"), [3, 0, 1]), ([1, 1], [1, 1]), (np.array([0, 2]), [0, 2]),
     (slice(1, None), [1, 2, 3]), (slice(None, None, -1), [3, 2, 1, 0]), (None, [0, 1, 2, 3])],
    ids=str,
)  # fmt: skip
def test_columns(chosen, columns):
    series = np.random.default_rng(0).standard_normal((20, 4))
    for name, which in (("inputs", 0), ("targets", 1)):
        w = pylstm.windows(Frame(series), 5, 3, 2, **{name: chosen})
        np.testing.assert_array_equal(w[which], plain(series[:, columns], 5, 3, 2)[which])
        np.testing.assert_array_equal(w[1 - which], plain(series, 5, 3, 2)[1 - which])
        even = not isinstance(columns, list) or (len({*np.diff(columns)} - {0}) <= 1 and columns != [1, 1])
        assert np.shares_memory(w[which], series) is bool(even)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"past": 18}, ValueError, "series has 20 steps, and a window takes 21: past 18 and future 3"),
        ({"past": 0}, ValueError, "past must be at least 1, got 0"),
        ({"future": 2.0}, TypeError, "future must be an integer, got float"),
        ({"stride": 0}, ValueError, "stride must be at least 1"),
        ({"stride": True}, TypeError, "stride must be an integer"),
        ({"series": np.zeros((20, 2, 2))}, ValueError, r"series must have shape \(T, F\) or \(T,\), got \(20, 2, 2\)"),
        ({"series": np.zeros(())}, ValueError, "series must have shape"),
        ({"series": ["a", "b"]}, TypeError, "series must hold real numbers"),
        ({"series": np.ma.masked_array(np.zeros(20))}, TypeError, "masked array"),
        ({"targets": 4}, IndexError, "targets is 4, and the series has 4 columns"),
        ({"targets": [0, -5]}, IndexError, r"targets\[1\] is -5"),
        ({"targets": "OT"}, IndexError, "targets is 'OT': the series has no names of columns"),
        ({"series": Frame(np.zeros((20, 4))), "inputs": "OT"}, IndexError, "inputs is 'OT': there are a, b, c, d"),
        ({"targets": 1.0}, TypeError, "targets must be the index or name of a column"),
        ({"targets": True}, TypeError, "targets must be the index or name of a column"),
        ({"inputs": []}, ValueError, "inputs chooses no column"),
        ({"inputs": slice(4, None)}, ValueError, "inputs chooses no column"),
    ],
    ids=str,
)
def test_wrong_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        pylstm.windows(**{"series": np.zeros((20, 4)), "past": 5, "future": 3, **arguments})


@given(st.data())
def test_no_step_is_forecast_in_two_parts(data):
    past, future, stride = (data.draw(st.integers(1, 6)) for _ in range(3))
    steps = data.draw(st.integers(20, 60))
    cuts = sorted(data.draw(st.sets(st.integers(1, steps - 1), min_size=1, max_size=3)))
    w = pylstm.windows(np.arange(steps), past, future, stride, inputs=0)
    edges = [0, *cuts, steps]
    wanted = [
        [s for s in w.starts if begin <= s + past and s + past + future <= end]
        for begin, end in itertools.pairwise(edges)
    ]
    if not all(wanted):
        with pytest.raises(ValueError, match="hold no window"):
            w.split(*cuts)
        return
    parts = w.split(*cuts)
    assert [list(part.starts) for part in parts] == wanted
    for part in parts:
        assert part.x[:, 0].tolist() == list(part.starts)
        assert part.y[:, 0].tolist() == [s + past for s in part.starts]
        assert np.shares_memory(part.x, w.x)
    seen = [set(np.ravel(part.y).tolist()) for part in parts]
    assert sum(map(len, seen)) == len(set().union(*seen))


def test_cuts_as_shares_and_parts_of_parts():
    w = pylstm.windows(np.arange(100), 10, 5)
    assert [part.starts for part in w.split(0.5, 0.75)] == [part.starts for part in w.split(50, np.int64(75))]
    train, test = w.split(80)
    assert next(part.starts for part in train.split(50)) == w.split(50, 80)[0].starts
    assert train.split(50)[1].starts == w.split(50, 80)[1].starts
    assert test.starts == range(70, 86)


@pytest.mark.parametrize(
    ("cuts", "error", "words"),
    [((), TypeError, "split takes the places to cut at"), ((1.0,), ValueError, "a share between 0 and 1, got 1"),
     ((0,), ValueError, "must lie inside of the series of 100 steps, got 0"), ((100,), ValueError, "inside"),
     ((True,), TypeError, "a cut must be a number, got bool"), (("a",), TypeError, "a cut must be a number, got str"),
     ((50, 50), ValueError, "cuts must rise, got 50, 50"), ((0.5, 0.2), ValueError, "cuts must rise"),
     ((98,), ValueError, "steps 98 to 100 of the series hold no window: 10 steps known .* and 5 to forecast"),
     ((12,), ValueError, "steps 0 to 12 of the series hold no window")],
    ids=str,
)  # fmt: skip
def test_wrong_cuts(cuts, error, words):
    with pytest.raises(error, match=words):
        pylstm.windows(np.arange(100), 10, 5).split(*cuts)


def test_a_pair_that_can_be_copied_and_pickled():
    w = pylstm.windows(np.arange(30.0), 5, 2, 3)
    assert repr(w) == "Windows(x=(8, 5, 1), y=(8, 2), starts=range(0, 24, 3))"
    for other in (copy.copy(w), copy.deepcopy(w), pickle.loads(pickle.dumps(w))):
        np.testing.assert_array_equal(other.x, w.x)
        assert [part.starts for part in other.split(0.5)] == [part.starts for part in w.split(0.5)]


def test_windows_are_not_written_to():
    w = pylstm.windows(np.arange(30.0), 5, 2)
    with pytest.raises(ValueError, match="read-only"):
        w.x[0] = 1


def model(columns, future):
    layers = [pylstm.GRU(columns, 5, batch_first=True), pylstm.LastStep(), pylstm.Linear(5, future)]
    return pylstm.Sequential(layers, seed=0)


def test_training_on_windows_is_training_on_copies_of_them():
    series = np.random.default_rng(0).standard_normal((120, 3)).astype(np.float32)
    train, validation = pylstm.windows(series, 8, 2, targets=0).split(0.7)
    found = []
    for pair in ((train, validation), [tuple(map(np.array, part)) for part in (train, validation)]):
        net = model(3, 2)
        history = net.fit(*pair[0], validation_data=pair[1], loss="mse", optimizer=pylstm.Adam(1e-2), epochs=2, seed=0,
                          verbose=0)  # fmt: skip
        found.append((history["loss"], history["val_loss"], net.predict(pair[1][0]), net.evaluate(*pair[1])))
    assert found[0][:2] == found[1][:2]
    assert np.array_equal(found[0][2], found[1][2])
    assert found[0][3] == found[1][3]


@pytest.mark.parametrize("in_a_file", [False, True])
def test_windows_over_a_long_series_cost_what_a_batch_costs(tmp_path, in_a_file):
    """The windows together would take 1.5 GB, and the series is 3 MB, in a file or not."""
    series = np.random.default_rng(0).standard_normal((200_000, 2))
    if in_a_file:
        np.save(tmp_path / "series.npy", series)
        series = np.load(tmp_path / "series.npy", mmap_mode="r")
    net = model(2, 1)
    tracemalloc.start()
    try:
        x, y = pylstm.windows(series, 500, 1, targets=0)
        assert x.size * x.itemsize > 1.5e9
        few = slice(None, None, 25)  # 64 MB
        net.fit(x[few], y[few], loss="mse", optimizer=pylstm.Adam(), batch_size=128, verbose=0)
        net.predict(x[few])
        net.evaluate(x[few], y[few])
        assert tracemalloc.get_traced_memory()[1] < 15e6
    finally:
        tracemalloc.stop()
