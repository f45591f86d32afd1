"""Random layers and random arrays: the reference's results, and the same bits however the work is cut up."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import pylstm
import pylstm.reference
from pylstm import _core

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

KINDS = ["lstm", "lstm_projection", "gru_after", "gru_before", "rnn_tanh", "rnn_relu"]
SETTINGS = hypothesis.settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
)


@st.composite
def layers(draw, **fixed):
    """(class name, options): every option of the constructor, drawn."""
    kind = draw(st.sampled_from(KINDS))
    options = {
        "input_size": draw(st.integers(1, 40)),
        "hidden_size": draw(st.integers(1, 70)),
        "num_layers": draw(st.integers(1, 3)),
        "bidirectional": draw(st.booleans()),
        "bias": draw(st.booleans()),
        "recurrent_bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "seed": draw(st.integers(0, 2**31)),
        **fixed,
    }
    if kind == "lstm_projection":
        options["hidden_size"] = max(2, options["hidden_size"])
        options["proj_size"] = draw(st.integers(1, options["hidden_size"] - 1))
    if kind.startswith("gru"):
        options["reset_after"] = kind == "gru_after"
    if kind.startswith("rnn"):
        options["nonlinearity"] = kind[4:]
    return kind.partition("_")[0].upper(), options


@st.composite
def strided(draw, shape, dtype, seed):
    """A random array with random strides: axes in another order, reversed, with gaps, broadcast."""
    rng = np.random.default_rng(seed)
    order = draw(st.permutations(range(len(shape))))
    gaps = [draw(st.integers(1, 3)) for _ in shape]
    room = rng.standard_normal([shape[axis] * gaps[axis] for axis in order]).astype(dtype)
    view = room.transpose(np.argsort(order))[tuple(slice(None, None, gap) for gap in gaps)]
    for axis in range(len(shape)):
        if draw(st.booleans()):
            view = np.flip(view, axis)
    if shape[0] and draw(st.integers(0, 9)) == 0:
        view = np.broadcast_to(view[:1], shape)
    return view


@st.composite
def calls(draw, **fixed):
    """A layer with every argument of a forward and a backward pass."""
    name, options = draw(layers(**fixed))
    layer = getattr(pylstm, name)(**options)
    steps, batch = draw(st.integers(0, 12)), draw(st.integers(0, 9))
    seed = draw(st.integers(0, 2**31))
    shape = (batch, steps) if layer.batch_first else (steps, batch)
    kind = draw(st.sampled_from(["float32", "float64", "float16", ">f4", ">f8"]))
    x = draw(strided((*shape, layer.input_size), kind, seed))
    d_output = draw(strided((*shape, layer.num_directions * layer.output_size), layer.dtype, seed + 1))
    lengths = None
    if draw(st.booleans()):
        lengths = np.array([draw(st.integers(0, steps)) for _ in range(batch)], np.int64)
    count = layer.num_layers * layer.num_directions
    sizes = (layer.output_size, layer.hidden_size)[: 2 if name == "LSTM" else 1]
    states = [[draw(strided((count, batch, size), layer.dtype, seed + k)) for size in sizes] for k in (2, 3)]
    state, d_state = (tuple(s) if len(s) > 1 else s[0] for s in states)
    return layer, x, state if draw(st.booleans()) else None, lengths, d_output, d_state


def flat(value):
    return list(value) if isinstance(value, tuple) else [value]


def passes(layer, x, state, lengths, d_output, d_state, threads=None):
    """Every array of inference and of both passes of training."""
    output, final = layer(x, state, lengths=lengths, num_threads=threads)
    trained, trained_final, backward = layer.forward(x, state, lengths=lengths, num_threads=threads)
    grads = backward(d_output, d_state)

    forward = [output, *flat(final)]
    for a, b in zip(forward, [trained, *flat(trained_final)], strict=True):
        assert a.tobytes() == b.tobytes()
    return forward, [grads.x, *flat(grads.state), *grads.params.values()]


@SETTINGS
@hypothesis.given(calls())
def test_every_call_gives_what_the_reference_gives(call):
    layer, *arguments = call
    twin = getattr(pylstm.reference, type(layer).__name__)(**{**layer._config(), "dtype": "float64"}, seed=0)
    twin.load_state_dict(layer.params)
    eps = np.finfo(layer.dtype).eps
    terms = layer.input_size + layer.hidden_size + 12 * 9  # of the longest sum
    for got, want in zip(passes(layer, *arguments), passes(twin, *arguments), strict=True):
        largest = max((np.abs(array).max(initial=0) for array in want), default=0)
        for mine, theirs in zip(got, want, strict=True):
            assert mine.shape == theirs.shape
            assert mine.dtype == layer.dtype
            error = np.abs(mine - theirs).max(initial=0)
            assert error <= 40 * eps * terms**0.5 * max(largest, 1)


@SETTINGS
@hypothesis.given(calls(), st.data())
def test_every_way_to_cut_a_call_up_gives_the_same_bits(call, data):
    layer, *arguments = call
    if _core.isa() == "baseline":
        pytest.skip("the baseline of x86 has no fused multiply-add: a bound, not the same bits")
    want = passes(layer, *arguments, threads=1)
    threads = data.draw(st.sampled_from([1, 2, 3, 7, 16]))
    split = data.draw(st.none() | st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 2)))
    before = _core.isa()
    _core.use_isa(data.draw(st.sampled_from([name for name in _core.available_isas() if name != "baseline"])))
    _core.force_plan(split, data.draw(st.sampled_from([-1, 0, 1, 20, 500])))
    try:
        other = type(layer)(**layer._config(), seed=1)
        other.load_state_dict(layer.params)
        got = passes(other, *arguments, threads=threads)
    finally:
        _core.force_plan()
        _core.use_isa(before)
    for mine, theirs in zip(got, want, strict=True):
        assert [a.tobytes() for a in mine] == [a.tobytes() for a in theirs]


@SETTINGS
@hypothesis.given(calls(batch_first=False), st.data())
def test_a_sequence_has_the_same_bits_wherever_it_stands(call, data):
    """Alone and cut short by hand, or in a batch, at any place, with any padding and company."""
    layer, x, state, lengths, _, _ = call
    if _core.isa() == "baseline":
        pytest.skip("the baseline of x86 has no fused multiply-add: a bound, not the same bits")
    batch = x.shape[1]
    hypothesis.assume(batch > 0)
    n = data.draw(st.integers(0, batch - 1))
    output, final = layer(x, state, lengths=lengths)
    length = x.shape[0] if lengths is None else int(lengths[n])

    def own(value):
        if value is None:
            return None
        return tuple(s[:, n : n + 1] for s in value) if isinstance(value, tuple) else value[:, n : n + 1]

    alone, alone_final = layer(x[:length, n : n + 1], own(state))
    assert alone.tobytes() == output[:length, n : n + 1].tobytes()
    assert not output[length:, n].any()
    assert [s.tobytes() for s in flat(alone_final)] == [s.tobytes() for s in flat(own(final))]

    company, place = data.draw(st.integers(1, 20)), data.draw(st.integers(0, 19))
    place %= company
    rng = np.random.default_rng(0)
    padding = data.draw(st.integers(0, 5))
    wide = rng.standard_normal((length + padding, company, layer.input_size)).astype(layer.dtype)
    wide[:length, place] = x[:length, n]
    wide[length:, place] = np.nan
    lens = rng.integers(0, length + padding + 1, company)
    lens[place] = length
    states = None
    if state is not None:
        states = tuple(rng.standard_normal((s.shape[0], company, s.shape[2])).astype(s.dtype) for s in flat(state))
        for mine, theirs in zip(states, flat(state), strict=True):
            mine[:, place] = theirs[:, n]
        states = states if isinstance(state, tuple) else states[0]
    there, there_final = layer(wide, states, lengths=lens)
    assert there[:length, place].tobytes() == alone[:, 0].tobytes()
    assert [s[:, place].tobytes() for s in flat(there_final)] == [s[:, 0].tobytes() for s in flat(alone_final)]


@SETTINGS
@hypothesis.given(calls(bidirectional=False, batch_first=False), st.data())
def test_chunks_steps_and_streams_have_the_bits_of_one_call(call, data):
    layer, x, state, _, _, _ = call
    if _core.isa() == "baseline":
        pytest.skip("the baseline of x86 has no fused multiply-add: a bound, not the same bits")
    hypothesis.assume(x.shape[1] > 0)
    whole, final = layer(x, state)
    steps = x.shape[0]
    cuts = sorted({0, steps, *data.draw(st.lists(st.integers(0, steps), max_size=4))})
    parts, now = [whole[:0]], state
    stream = layer.stream(x.shape[1])
    if state is not None:
        stream.state = state
    streamed = [whole[:0]]
    for start, stop in itertools.pairwise(cuts):
        part, now = layer(x[start:stop], now)
        parts.append(part)
        if data.draw(st.booleans()):
            streamed.append(stream(x[start:stop]))
        else:
            streamed += [stream.step(x[k])[None] for k in range(start, stop)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert np.concatenate(streamed).tobytes() == whole.tobytes()
    if steps:
        assert [s.tobytes() for s in flat(now)] == [s.tobytes() for s in flat(final)]
    assert [s.tobytes() for s in flat(stream.state)] == [s.tobytes() for s in flat(final)]
