"""Arrays of every kind, shape and dtype that the layers take: each computes what it should."""

from __future__ import annotations

import numpy as np
import pytest

from pylstm import reference
from support.arrays import in_records, misaligned, read_only, strided
from support.compare import assert_same_bits
from support.problems import as_state, flat, infer, problem, run

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 3, 4)).astype(np.float32)  # T, N, I


KINDS = {
    "lists": lambda a: a.tolist(),
    "float64": lambda a: a.astype(np.float64),
    "big-endian": lambda a: a.astype(">f4"),
    "big-endian float64": lambda a: a.astype(">f8"),
    "Fortran": np.asfortranarray,
    "swapped axes": lambda a: a.swapaxes(0, 1).copy().swapaxes(0, 1),
    "reversed": lambda a: a[::-1].copy()[::-1],
    "reversed everywhere": lambda a: a[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
    "strided": strided,
    "rows of a wider array": lambda a: np.concatenate([a, a], axis=2)[:, :, : a.shape[2]],
    "read-only": read_only,
    "misaligned": misaligned,
    "misaligned float64": lambda a: misaligned(a.astype(np.float64)),
    "field of records": in_records,
    "subclass": lambda a: a.view(type("Sub", (np.ndarray,), {})),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_kinds_of_arrays(module, variant, kind, batch_first):
    """Any way to hold the same numbers gives the same bits, in every argument."""
    convert = KINDS[kind]
    layer = variant.make(module, 4, 6, batch_first=batch_first, seed=1)
    case = problem(layer, 5, 3, 0, state=True)
    want = run(layer, case)

    def given(array):
        return convert(array.astype(np.float32))

    state = as_state(layer, tuple(given(s) for s in case.states))
    d_state = as_state(layer, tuple(given(d) for d in case.d_states))
    output, final, backward = layer.forward(given(case.x), state, lengths=[5, 5, 5])
    grads = backward(given(case.d_output), d_state)
    got = {"output": output, "d_x": grads.x}
    got.update({f"state[{k}]": s for k, s in enumerate(flat(final))})
    got.update({f"d_state[{k}]": s for k, s in enumerate(flat(grads.state))})
    got.update({"d_" + name: value for name, value in grads.params.items()})
    assert_same_bits({name: got[name] for name in want}, want)
    assert_same_bits({"output": layer(given(case.x), state)[0]}, {"output": want["output"]})


def normalised(array, shape):
    """What every backend may rely on."""
    size = array.itemsize
    return (
        type(array) is np.ndarray
        and array.shape == shape
        and array.dtype == np.float32
        and array.dtype.isnative
        and array.flags.aligned
        and (shape[-1] == 1 or array.strides[-1] == size)
        and all(step % size == 0 for n, step in zip(shape, array.strides, strict=True) if n > 1)
    )


class Spy(reference.LSTM):
    """Looks at what the front hands to a backend."""

    def inspect(self, x, states, lengths):
        shape = (1, 3, 6)
        assert normalised(x, (5, 3, 4))
        assert all(normalised(s, shape) and s.flags.c_contiguous for s in states)
        assert lengths.dtype == np.int64
        assert lengths.flags.c_contiguous
        self.seen = x, states, lengths

    def _infer(self, x, states, lengths, out, num_threads):
        self.inspect(x, states, lengths)
        return super()._infer(x, states, lengths, out, num_threads)

    def _train(self, x, states, lengths, *options):
        self.inspect(x, states, lengths)
        final, run_backward = super()._train(x, states, lengths, *options)

        def inspect_backward(d_output, d_states, into):
            assert normalised(d_output, (5, 3, 6))
            assert all(normalised(d, (1, 3, 6)) and d.flags.c_contiguous for d in d_states)
            return run_backward(d_output, d_states, into)

        return final, inspect_backward


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_backends_see_normalised_arrays(kind, batch_first):
    layer = Spy(4, 6, batch_first=batch_first)
    case = problem(layer, 5, 3, 0, state=True)
    x, d_output, *others = (
        KINDS[kind](a.astype(np.float32)) for a in (case.x, case.d_output, *case.states, *case.d_states)
    )
    lengths = np.array([5, 5, 3])
    layer(x, others[:2], lengths=lengths)
    layer.forward(x, others[:2], lengths=lengths)[2](d_output, others[2:])
    assert not np.shares_memory(layer.seen[2], lengths)
    for state in layer.seen[1]:  # training keeps copies, since callers reuse their buffers
        assert not any(isinstance(given, np.ndarray) and np.shares_memory(state, given) for given in others)


def test_what_is_normalised_already_is_not_copied():
    wide = np.zeros((10, 3, 9), np.float32)
    state = (np.zeros((1, 3, 6), np.float32), np.zeros((1, 3, 6), np.float32))
    for x in (wide[:5, :, :4].copy(), wide[:5, :, 2:6], wide[8::-2, ::-1, :4]):
        layer, swapped = Spy(4, 6), Spy(4, 6, batch_first=True)
        layer(x, state, lengths=[5, 5, 5])
        swapped(x.swapaxes(0, 1), state, lengths=[5, 5, 5])
        for spy in (layer, swapped):
            assert np.shares_memory(spy.seen[0], x)
            assert all(np.shares_memory(a, b) for a, b in zip(spy.seen[1], state, strict=True))


def test_strides_of_axes_of_one_element(module):
    """They may be anything, and mean nothing."""
    layer = module.LSTM(4, 6, seed=1)
    for shape in [(1, 3, 4), (5, 1, 4), (1, 1, 4)]:
        x = RNG.standard_normal(shape).astype(np.float32)
        records = np.zeros(shape[:1], [("x", "f4", shape[1:]), ("odd", "u1")])
        records["x"] = x
        np.testing.assert_array_equal(layer(records["x"])[0], layer(x)[0])
        records = np.zeros(shape[:2], [("x", "f4", shape[2:]), ("odd", "u1")])
        records["x"] = x
        np.testing.assert_array_equal(layer.forward(records["x"])[0], layer(x)[0])


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", ">i2", "i4", "u4", "i8", "u8", "f2", ">f2", "f4", "f8"])
def test_dtypes(lstm, dtype):
    x = (RNG.standard_normal((5, 3, 4)) * 3).clip(0).astype(dtype)
    np.testing.assert_array_equal(lstm(x)[0], lstm(x.astype(np.float32))[0])
    assert lstm(x)[0].dtype == np.float32


def test_broadcast_inputs(module, variant):
    layer = variant.make(module, 4, 6, seed=1)
    for shape in [(1, 3, 4), (5, 1, 4), (1, 1, 4), (5, 3, 1), (1, 1, 1)]:
        x = np.broadcast_to(RNG.standard_normal(shape).astype(np.float32), (5, 3, 4))
        want, _, want_backward = layer.forward(x.copy())
        output, _, backward = layer.forward(x)
        np.testing.assert_array_equal(output, want)
        np.testing.assert_array_equal(layer(x)[0], want)
        ones = np.broadcast_to(np.float32(1), output.shape)
        np.testing.assert_array_equal(backward(ones).x, want_backward(ones.copy()).x)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("steps", "batch"), [(0, 3), (5, 0), (0, 0)])
@pytest.mark.parametrize("lengths", [False, True])
def test_empty(module, variant, steps, batch, batch_first, lengths):
    layer = variant.make(module, 4, 6, num_layers=2, bidirectional=True, batch_first=batch_first, seed=1)
    case = problem(layer, steps, batch, 0, state=True)
    if lengths:
        case = case._replace(lengths=[0] * batch)
    results = run(layer, case)
    assert results["output"].shape == case.d_output.shape
    assert results["d_x"].shape == case.x.shape
    for k, state in enumerate(case.states):
        np.testing.assert_array_equal(results[f"state[{k}]"], state)
        np.testing.assert_array_equal(results[f"d_state[{k}]"], case.d_states[k])
    for name in layer.params:
        assert results["d_" + name].shape == layer.params[name].shape
        assert not results["d_" + name].any()
    assert_same_bits(infer(layer, case), {name: results[name] for name in infer(layer, case)})


def test_one_empty_sequence_without_a_batch_axis(lstm):
    output, (h, c) = lstm(np.zeros((0, 4), np.float32))
    assert output.shape == (0, 6)
    assert not h.any()
    assert not c.any()


@pytest.mark.parametrize("kind", [list, tuple, np.int8, np.uint64, ">i4", "strided"])
def test_lengths_of_any_integer_kind(lstm, kind):
    want = lstm(X, lengths=np.array([5, 0, 2]))[0]
    if kind in (list, tuple):
        lengths = kind([5, 0, 2])
    else:
        lengths = np.array([5, 9, 0, 9, 2, 9])[::2] if kind == "strided" else np.array([5, 0, 2]).astype(kind)
    np.testing.assert_array_equal(lstm(X, lengths=lengths)[0], want)
