"""The compiled layers against the NumPy twin, and the promises about bits."""

from __future__ import annotations

import functools
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import pylstm
from pylstm import reference
from support.compare import assert_close, assert_same_bits
from support.isas import isas, use_isa
from support.problems import Problem, as_state, exact_in_float32, flat, infer, problem, run, twin

FLOAT64 = 1e-12  # relative to the largest element of each array

pytestmark = pytest.mark.skipif(not hasattr(pylstm, "LSTM"), reason="needs the compiled layers")


def float32_bound(layer, steps, batch):
    """What rounding may do, relative to the largest element.

    An element is a chain of I + S products (or one over all rows, for a weight's gradient), each rounding by eps/2;
    the errors add up like a random walk, and steps and layers pass them on.
    """
    chain = max(layer.input_size, layer.num_directions * layer.output_size) + layer.output_size
    rows = steps * batch
    eps = np.finfo(np.float32).eps
    return float(eps * (8 + 2 * np.sqrt(max(chain, rows))) * np.sqrt(steps * layer.num_layers + 1))


def check(variant, sizes, steps, batch, seed, options, *, lengths, state, dtypes=(np.float64, np.float32)):
    """One problem on every ISA in both dtypes, forward, backward and inference, against the twin in float64."""
    what = f"{variant.name} {sizes} T={steps} N={batch} {options} lengths={lengths} state={state}"
    right = exact_in_float32(variant.make(reference, *sizes, dtype=np.float64, seed=seed, **options))
    case = problem(right, steps, batch, seed, lengths=lengths, state=state)
    want = run(right, case)
    forward = {name: want[name] for name in want if not name.startswith("d_")}
    for isa, dtype in itertools.product(isas(), dtypes):
        tolerance = FLOAT64 if dtype is np.float64 else float32_bound(right, steps, batch)
        floor = 0.0 if dtype is np.float64 else 0.1
        label = f"{what} {isa} {np.dtype(dtype)}"
        with use_isa(isa):
            layer = twin(right, pylstm, dtype)
            got = run(layer, case)
            assert_close(got, want, tolerance, label, floor)
            assert_close(infer(layer, case), forward, tolerance, label + " inference", floor)


@pytest.mark.every_isa
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_every_combination_of_options(variant, num_layers, bidirectional, bias):
    rng = np.random.default_rng([num_layers, bidirectional])
    for k, (batch_first, lengths, state) in enumerate(itertools.product([False, True], repeat=3)):
        sizes = tuple(int(n) for n in rng.integers(1, 12, 2))
        steps, batch = int(rng.integers(1, 6)), int(rng.integers(1, 9))
        options = {"num_layers": num_layers, "bidirectional": bidirectional, "batch_first": batch_first, **bias}
        check(variant, sizes, steps, batch, k, options, lengths=lengths, state=state)


def every_remainder():
    """(I, H, N) from 1 to 70, each taking every remainder modulo 16 twice."""
    rng = np.random.default_rng(16)
    for _ in range(2):
        yield from zip(*(rng.permutation(16) + 16 * rng.integers(0, 4, 16) + 1 for _ in range(3)), strict=True)


@pytest.mark.every_isa
@pytest.mark.parametrize("half", [0, 1, 2, 3])
def test_sizes_of_every_remainder(variant, half):
    for k, (i, h, n) in enumerate(list(every_remainder())[half::4]):
        check(variant, (int(i), int(h)), 3, int(n), k, {}, lengths=k % 2 == 1, state=k % 4 < 2)


@pytest.mark.every_isa
@pytest.mark.parametrize(
    ("steps", "batch", "i", "h"),
    [(1, 1, 1, 1), (1, 1, 40, 128), (100, 1, 40, 128), (60, 2, 300, 20), (5, 130, 33, 65), (7, 48, 256, 160)],
)
def test_shapes_that_take_other_paths(variant, steps, batch, i, h):
    check(variant, (i, h), steps, batch, 3, {"bidirectional": True}, lengths=steps > 1, state=True)


def test_without_dx(variant):
    layer = variant.make(pylstm, 5, 6, num_layers=2, bidirectional=True, seed=1)
    case = problem(layer, 4, 3, 2, lengths=True, state=True)
    want = run(layer, case)
    del want["d_x"]
    assert_same_bits(run(layer, case, need_dx=False), want)


def test_one_sequence_without_a_batch_axis(variant):
    layer = variant.make(pylstm, 5, 6, num_layers=2, bidirectional=True, seed=1)
    case = problem(layer, 4, 1, 2, state=True)

    def squeeze(arrays):
        return tuple(a[:, 0] for a in arrays)

    want = {name: a if "_l" in name else a[:, 0] for name, a in run(layer, case).items()}
    alone = Problem(case.x[:, 0], squeeze(case.states), None, case.d_output[:, 0], squeeze(case.d_states))
    assert_same_bits(run(layer, alone), want)


@pytest.mark.parametrize("missing", ["d_output", "d_state"])
def test_a_gradient_left_out_is_zero(variant, missing):
    layer = variant.make(pylstm, 5, 6, num_layers=2, bidirectional=True, seed=1)
    case = problem(layer, 4, 3, 2, lengths=True, state=True)
    x, state, d_output = (case.x.astype("f"), as_state(layer, case.states, "f"), case.d_output.astype("f"))
    d_state = as_state(layer, case.d_states, "f")
    backward = layer.forward(x, state, lengths=case.lengths)[2]
    if missing == "d_output":
        got, want = backward(None, d_state), backward(np.zeros_like(d_output), d_state)
    else:
        zero = tuple(np.zeros_like(d) for d in flat(d_state))
        got, want = backward(d_output), backward(d_output, as_state(layer, zero))
        if len(zero) == 2:
            half = backward(d_output, (None, zero[1]))
            assert np.array_equal(half.state[0], got.state[0])
    for name in got.params:
        np.testing.assert_array_equal(got.params[name], want.params[name])
    np.testing.assert_array_equal(got.x, want.x)
    for a, b in zip(flat(got.state), flat(want.state), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.every_isa
@pytest.mark.parametrize("p", [0.25, 0.9, 1.0])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_dropout_draws_the_twins_mask(variant, p, bidirectional):
    options = {"num_layers": 3, "dropout": p, "bidirectional": bidirectional, "dtype": np.float64, "seed": 11}
    for isa in isas():
        with use_isa(isa):
            fast, plain = (variant.make(m, 5, 7, **options) for m in (pylstm, reference))
            case = problem(plain, 6, 4, 2, lengths=True, state=True)
            for call in range(3):
                assert_close(run(fast, case), run(plain, case), FLOAT64, f"{isa} call {call}")


# ---- bits ------------------------------------------------------------------------------------------------------------

SHAPES = [(5, 3, 4, 5), (20, 37, 33, 70), (24, 1, 40, 128), (4, 150, 100, 96)]  # T, N, I, H


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_number_of_threads_gives_the_same_bits(variant, shape, dtype):
    steps, batch, i, h = shape
    options = {"num_layers": 2, "bidirectional": True, "dropout": 0.3, "dtype": dtype, "seed": 1}
    for lengths in (False, True):
        results = []
        for threads in (1, 2, 3, 7):
            layer = variant.make(pylstm, i, h, **options)
            case = problem(layer, steps, batch, 2, lengths=lengths, state=True)
            result = run(layer, case, num_threads=threads)
            result.update({"infer " + k: v for k, v in infer(layer, case, num_threads=threads).items()})
            results.append(result)
        for threads, got in zip((2, 3, 7), results[1:], strict=True):
            assert_same_bits(got, results[0], f"{threads} threads")


@pytest.fixture(params=[np.float32, np.float64])
def fused(request, variant):
    """The ISAs with fused multiply-add (the baseline of x86 has none, and promises a bound only), and a layer maker."""
    names = [isa for isa in isas() if isa != "baseline"]
    if not names:
        pytest.skip("no ISA with fused multiply-add here")
    return names, functools.partial(variant.make, pylstm, 19, 37, dtype=request.param, seed=1)


def rows(array, index, axis):
    return np.take(array, index, axis=axis)


@pytest.mark.every_isa
def test_a_sequence_has_the_same_bits_in_any_company(fused):
    """Alone, in a batch, in another order, padded further, with or without training."""
    names, make = fused
    for isa in names:
        with use_isa(isa):
            layer = make(num_layers=2, bidirectional=True)
            case = problem(layer, 9, 23, 5, lengths=True, state=True)
            batch = infer(layer, case)
            trained = run(layer, case)
            assert_same_bits({k: trained[k] for k in batch}, batch, f"{isa} forward")

            order = np.random.default_rng(0).permutation(23)
            permuted = case._replace(
                x=rows(case.x, order, 1),
                states=tuple(rows(s, order, 1) for s in case.states),
                lengths=case.lengths[order],
            )
            want = {name: rows(value, order, 1) for name, value in batch.items()}
            assert_same_bits(infer(layer, permuted), want, f"{isa} permuted")

            padding = np.full((4, 23, 19), np.nan)
            padded = infer(layer, case._replace(x=np.concatenate([case.x, padding])))
            assert not padded["output"][9:].any()
            padded["output"] = padded["output"][:9]
            assert_same_bits(padded, batch, f"{isa} padded")

            for n, length in enumerate(case.lengths):
                states = tuple(s[:, n : n + 1] for s in case.states)
                alone = infer(layer, case._replace(x=case.x[:length, n : n + 1], states=states, lengths=None))
                want = {name: value[:, n : n + 1] for name, value in batch.items()}
                want["output"] = want["output"][:length]
                assert_same_bits(alone, want, f"{isa} alone")


@pytest.mark.every_isa
def test_chunks_have_the_bits_of_the_whole(fused):
    names, make = fused
    for isa in names:
        with use_isa(isa):
            layer = make(num_layers=2)
            case = problem(layer, 12, 7, 5, state=True)
            whole = infer(layer, case)
            states, outputs = case.states, []
            for start, stop in [(0, 1), (1, 2), (2, 7), (7, 12)]:
                part = infer(layer, case._replace(x=case.x[start:stop], states=states))
                outputs.append(part.pop("output"))
                states = tuple(part.values())
            got = {"output": np.concatenate(outputs), **{f"state[{k}]": s for k, s in enumerate(states)}}
            assert_same_bits(got, whole, isa)


@pytest.mark.every_isa
def test_isas_with_fma_have_the_same_bits(fused):
    names, make = fused
    results = []
    for isa in names:
        with use_isa(isa):
            layer = make(num_layers=2, bidirectional=True)
            results.append((isa, run(layer, problem(layer, 9, 23, 5, lengths=True, state=True))))
    for isa, got in results[1:]:
        assert_same_bits(got, results[0][1], f"{isa} and {results[0][0]}")


def test_layouts_have_the_same_bits(variant):
    """batch_first, and x as a view with other strides, change where numbers stand and nothing else."""
    layer = variant.make(pylstm, 19, 37, bidirectional=True, seed=1)
    swapped = variant.make(pylstm, 19, 37, bidirectional=True, batch_first=True, seed=1)
    case = problem(layer, 9, 6, 5, lengths=True, state=True)
    want = run(layer, case)
    got = run(swapped, case._replace(x=case.x.swapaxes(0, 1), d_output=case.d_output.swapaxes(0, 1)))
    for name in ("output", "d_x"):
        got[name] = got[name].swapaxes(0, 1)
    assert_same_bits(got, want)


# ---- parameters ------------------------------------------------------------------------------------------------------


def test_new_parameters_take_effect_at_once(variant):
    layer = variant.make(pylstm, 5, 6, dtype=np.float64, seed=1)
    other = variant.make(reference, 5, 6, dtype=np.float64, seed=2)
    case = problem(layer, 4, 3, 2)
    infer(layer, case)
    layer.load_state_dict(other.state_dict())
    assert_close(infer(layer, case), infer(other, case), FLOAT64)
    assert_close(run(layer, case), run(other, case), FLOAT64)


def test_backward_uses_the_weights_of_its_own_forward(variant):
    layer = variant.make(pylstm, 5, 6, num_layers=2, seed=1)
    case = problem(layer, 4, 3, 2)
    x, d_output = case.x.astype("f"), case.d_output.astype("f")
    want = layer.forward(x)[2](d_output)
    backward = layer.forward(x)[2]
    layer.load_state_dict({name: 2 * value for name, value in layer.params.items()})
    layer(x)
    got = backward(d_output)
    np.testing.assert_array_equal(got.x, want.x)
    for name, value in want.params.items():
        np.testing.assert_array_equal(got.params[name], value)


def test_parameters_replaced_while_they_are_packed(monkeypatch):
    """Another thread may load new ones meanwhile: the old pack must not stay."""
    layer, other = pylstm.LSTM(5, 6, dtype=np.float64, seed=1), reference.LSTM(5, 6, dtype=np.float64, seed=2)
    make = pylstm._core.Network

    def replace_meanwhile(*args):
        network = make(*args)
        layer.load_state_dict(other.params)
        return network

    case = problem(layer, 4, 3, 2)
    monkeypatch.setattr(pylstm._core, "Network", replace_meanwhile)
    layer(case.x)
    monkeypatch.undo()
    assert_close(infer(layer, case), infer(other, case), FLOAT64)


def test_threads_of_the_caller_share_a_layer(variant):
    layer = variant.make(pylstm, 19, 37, num_layers=2, bidirectional=True, seed=1)
    cases = [problem(layer, 12, 9, seed, lengths=True, state=True) for seed in range(8)]
    want = [run(variant.make(pylstm, 19, 37, num_layers=2, bidirectional=True, seed=1), case) for case in cases]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for got, expected in zip(pool.map(functools.partial(run, layer), cases), want, strict=True):
                assert_same_bits(got, expected)


def test_a_sequence_of_nan_stays_alone(variant):
    """NaN and Inf go through to their own sequence, and to no other."""
    layer = variant.make(pylstm, 5, 6, num_layers=2, bidirectional=True, seed=1)
    x = np.random.default_rng(0).standard_normal((4, 9, 5)).astype(np.float32)
    clean, _ = layer(x)
    x[2, 4, 1] = np.nan
    output, _ = layer(x)
    assert np.isnan(output[:, 4]).all()
    others = np.arange(9) != 4
    np.testing.assert_array_equal(output[:, others], clean[:, others])
