"""Streams: the bits of a whole call, step by step and in chunks."""

from __future__ import annotations

import copy
import pickle
import tracemalloc

import numpy as np
import pytest

import pylstm
from support.compare import assert_same_bits
from support.isas import isas, use_isa
from support.problems import flat


def make(variant, module=pylstm, **options):
    return variant.make(module, 5, 13, num_layers=2, seed=1, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch", [1, 4])
def test_steps_and_chunks_give_the_bits_of_one_call(variant, batch, dtype):
    for isa in isas():
        with use_isa(isa):
            layer = make(variant, dtype=dtype)
            x = np.random.default_rng(0).standard_normal((20, batch, 5)).astype(dtype)
            want, state = layer(x)
            stream = layer.stream(batch)
            out = np.empty((batch, layer.output_size), dtype)
            got = [stream.step(x[k], out=out).copy() for k in range(6)]
            got += list(stream(x[6:9])) + [stream.step(x[9])] + list(stream(x[9:9])) + list(stream(x[10:]))
            assert_same_bits({"output": np.array(got)}, {"output": want}, isa)
            for mine, theirs in zip(flat(stream.state), flat(state), strict=True):
                assert mine.tobytes() == theirs.tobytes()


def test_reference_streams_too(variant):
    layer = make(variant, pylstm.reference, dtype=np.float64)
    x = np.random.default_rng(0).standard_normal((6, 2, 5))
    stream = layer.stream(2)
    np.testing.assert_allclose(np.array([stream.step(step) for step in x]), layer(x)[0], rtol=1e-12)


def test_one_sequence_without_a_batch_axis(variant):
    layer = make(variant)
    x = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    want, _ = layer(x)
    stream = layer.stream()
    got = [stream.step(x[0]), stream.step(x[1][None])[0], *stream(x[2:])]
    assert np.array(got).tobytes() == want.tobytes()


def test_batch_first_chunks(variant):
    layer = make(variant, batch_first=True)
    x = np.random.default_rng(0).standard_normal((3, 8, 5)).astype(np.float32)
    stream = layer.stream(3)
    got = np.concatenate([stream(x[:, :5]), stream(x[:, 5:])], axis=1)
    assert got.tobytes() == layer(x)[0].tobytes()


def test_state_can_be_read_set_reset_and_copied(variant):
    layer = make(variant)
    x = np.random.default_rng(0).standard_normal((4, 2, 5)).astype(np.float32)
    stream = layer.stream(2)
    first = stream.step(x[0])
    kept = stream.state
    second = stream.step(x[1])
    twins = [copy.copy(stream), copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))]
    third = stream.step(x[2])
    for twin in twins:
        assert twin.step(x[2]).tobytes() == third.tobytes()
    stream.state = kept
    assert stream.step(x[1]).tobytes() == second.tobytes()
    for array in flat(stream.state):
        array[...] = 7  # a copy: the stream does not feel it
    stream.reset()
    assert not any(array.any() for array in flat(stream.state))
    assert stream.step(x[0]).tobytes() == first.tobytes()


def test_streams_of_one_layer_do_not_meet(variant):
    layer = make(variant)
    x = np.random.default_rng(0).standard_normal((9, 3, 5)).astype(np.float32)
    streams = [layer.stream() for _ in range(3)]
    got = np.array([[stream.step(x[k, n]) for n, stream in enumerate(streams)] for k in range(9)])
    assert got.tobytes() == layer(x)[0].tobytes()


def test_new_weights_are_used_at_the_next_step(variant):
    layer, other = make(variant), variant.make(pylstm, 5, 13, num_layers=2, seed=2)
    x = np.random.default_rng(0).standard_normal((2, 1, 5)).astype(np.float32)
    stream = layer.stream()
    stream.step(x[0])
    state = stream.state
    layer.load_state_dict(other.params)
    want, _ = other(x[1:], state)
    assert stream.step(x[1]).tobytes() == want[0].tobytes()


def test_inputs_are_converted(variant):
    layer = make(variant)
    x = np.random.default_rng(0).standard_normal((2, 5)).astype(np.float32)
    want = layer.stream(2).step(x)
    wide = np.zeros((2, 10), np.float32)
    wide[:, ::2] = x
    for form in (x.astype(np.float64), wide[:, ::2], np.asfortranarray(x), x.tolist(), x.astype(">f4")):
        assert layer.stream(2).step(form).tobytes() == want.tobytes()
    out = np.zeros((2, layer.output_size * 2), np.float32)[:, : layer.output_size]  # rows apart
    assert layer.stream(2).step(x, out=out) is out
    assert out.tobytes() == want.tobytes()


def test_a_step_allocates_nothing():
    layer = pylstm.LSTM(40, 128, seed=0)
    stream, x, out = layer.stream(), np.ones((1, 40), np.float32), np.empty((1, 128), np.float32)
    stream.step(x, out=out)
    tracemalloc.start()
    try:
        for _ in range(10):
            stream.step(x, out=out)
        before = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(1000):
            stream.step(x, out=out)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # one array would be over 600 bytes; the loop's counter and a kept frame are less
    assert now - before[0] < 600
    assert peak - before[0] < 600


def test_bad_calls():
    layer = pylstm.LSTM(5, 13, seed=0)
    with pytest.raises(ValueError, match="bidirectional"):
        pylstm.LSTM(5, 13, bidirectional=True).stream()
    with pytest.raises(ValueError, match="batch_size"):
        layer.stream(0)
    with pytest.raises(TypeError, match="batch_size"):
        layer.stream(1.5)
    stream = layer.stream(2)
    good = np.ones((2, 5), np.float32)
    for bad in (np.ones((2, 6)), np.ones(5), np.ones((3, 5)), np.ones((1, 2, 5))):
        with pytest.raises(ValueError, match="x must have shape"):
            stream.step(bad)
    with pytest.raises(TypeError, match="x"):
        stream.step(None)
    with pytest.raises(ValueError, match="out must have shape"):
        stream.step(good, out=np.empty((2, 12), np.float32))
    with pytest.raises(TypeError, match="out"):
        stream.step(good, out=np.empty((2, 13)))
    with pytest.raises(ValueError, match="batch_size=2"):
        stream(np.ones((4, 3, 5)))
    with pytest.raises(TypeError, match="state"):
        stream.state = None
    with pytest.raises(ValueError, match="state"):
        stream.state = (np.ones((1, 3, 13)), np.ones((1, 3, 13)))
    square = pylstm.RNN(4, 4, seed=0).stream()
    shared = np.ones((1, 4), np.float32)
    with pytest.raises(ValueError, match="overlap"):
        square.step(shared, out=shared)
    assert np.array_equal(stream.state[0], np.zeros((1, 2, 13)))


def test_what_is_not_finite_stays_and_can_be_seen():
    layer = pylstm.LSTM(3, 7, num_layers=2, seed=0)
    stream, x = layer.stream(3), np.ones((3, 3), np.float32)
    assert stream.is_finite().tolist() == [True] * 3
    x[1, 2] = np.nan
    stream.step(x)
    for _ in range(3):
        assert np.isnan(stream.step(np.ones((3, 3)))[1]).all()
    assert stream.is_finite().tolist() == [True, False, True]
    h, c = stream.state
    h[:, 1] = c[:, 1] = 0
    stream.state = h, c
    assert stream.is_finite().all()
    assert np.isfinite(stream.step(np.ones((3, 3)))).all()
