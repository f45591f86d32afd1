"""exp, tanh and sigmoid of csrc/simd/math.h: errors in ulp, special values, the same bits from all machines with FMA.

The default run sees every 251st float32: 251 is prime, so every sign, every exponent and all low bits of the mantissa
occur. `pytest -m exhaustive` sees all 2**32 of them.
"""

from __future__ import annotations

import numpy as np
import pytest

from pylstm._core import activation
from support.isas import isas, use_isa

FUNCTIONS = ["tanh", "sigmoid", "exp"]
STEP = 251

# The bounds that math.h states: with FMA, and on the baseline without.
MAX_ULP = {
    ("tanh", np.float32): (1.75, 1.68),
    ("sigmoid", np.float32): (2.0, 2.0),
    ("exp", np.float32): (0.9, 1.17),
    ("tanh", np.float64): (1.87, 1.81),
    ("sigmoid", np.float64): (2.0, 2.0),
    ("exp", np.float64): (1.01, 1.33),
}


def max_ulp(name, dtype, isa):
    return MAX_ULP[name, dtype][isa == "baseline"]


def reference(name, x):
    """The function in the precision of x. Infinity is right where the result overflows."""
    with np.errstate(over="ignore", under="ignore"):
        return {"tanh": np.tanh, "sigmoid": lambda v: 1 / (1 + np.exp(-v)), "exp": np.exp}[name](x)


def ulp_of(exact, dtype):
    """The distance between neighbours of type `dtype` in the binade of `exact`, the lowest for zero and denormals."""
    info = np.finfo(dtype)
    exponent = np.frexp(np.maximum(np.abs(exact), info.tiny))[1] - 1
    return np.ldexp(exact.dtype.type(1), exponent - info.nmant)


def errors(y, exact):
    """Errors of y in ulp, for finite or infinite `exact` of a wider type.

    Infinity counts as 2**128 (float64: 2**1024), the number that would come after the largest.
    """
    beyond = np.ldexp(exact.dtype.type(1), np.finfo(y.dtype).maxexp)
    exact = np.clip(exact, -beyond, beyond)
    return np.abs(np.clip(y.astype(exact.dtype), -beyond, beyond) - exact) / ulp_of(exact, y.dtype)


def float32_chunks(step, chunk=1 << 18):
    """Every step-th of the 2**32 bit patterns, NaN and infinities among them, as arrays of float32."""
    for first in range(0, 1 << 32, step * chunk):
        bits = np.arange(first, min(first + step * chunk, 1 << 32), step, dtype=np.uint64)
        yield bits.astype(np.uint32).view(np.float32)


def results(name, x):
    """name of ISA -> array"""
    found = {}
    for isa in isas():
        with use_isa(isa):
            found[isa] = activation(name, x)
        assert found[isa].dtype == x.dtype
        assert found[isa].shape == x.shape
    return found


def same_bits(a, b):
    """Where a and b agree to the sign of zero; any NaN equals any other."""
    bits = np.dtype(f"i{a.itemsize}")
    return (a.view(bits) == b.view(bits)) | (np.isnan(a) & np.isnan(b))


def assert_right(name, x, y, exact, isa):
    """Errors within bounds, NaN for NaN and nowhere else, signs, range. x, y and exact are arrays of one length."""
    nan = np.isnan(x)
    assert np.array_equal(np.isnan(y), nan), (isa, name)
    x, y, exact = x[~nan], y[~nan], exact[~nan]
    error = errors(y, exact)
    worst = error.argmax() if error.size else None
    if worst is not None:
        bound = max_ulp(name, x.dtype.type, isa)
        assert error[worst] <= bound, f"{isa} {name}({x[worst]!r}) = {y[worst]!r}: {error[worst]:.4f} > {bound} ulp"
    assert np.array_equal(np.signbit(y), np.signbit(exact)), (isa, name)
    if name != "exp":
        assert (np.abs(y) <= 1).all(), (isa, name)


def check_float32(name, step):
    for x in float32_chunks(step):
        with np.errstate(invalid="ignore"):  # of signalling NaN
            exact = reference(name, x.astype(np.float64))
        for isa, y in results(name, x).items():
            assert_right(name, x, y, exact, isa)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32(name):
    check_float32(name, STEP)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_all(name):
    check_float32(name, 1)


def float64_inputs():
    rng = np.random.default_rng(0)
    n = 1 << 16
    parts = [rng.uniform(-scale, scale, n) for scale in (1e-5, 0.3, 1, 4, 20, 40, 760)]
    parts.append(rng.choice([-1, 1], n) * np.exp(rng.uniform(-744, 7, n)))  # all magnitudes, denormals too
    # Next to the places where the reductions change over, which are multiples of ln(2) / 8.
    parts.append(rng.integers(-440, 440, n) * (np.log(2) / 8) + rng.choice([1e-3, 1e-9, 1e-15], n) * rng.normal(size=n))
    parts.append(-np.exp(rng.uniform(-16, -5, n)))  # where sigmoid comes closest to its bound
    parts.append(rng.uniform(-746, -708, n))  # denormal results
    return np.concatenate(parts)


@pytest.mark.skipif(np.finfo(np.longdouble).nmant <= 52, reason="no type wider than float64")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_float64(name):
    x = float64_inputs()
    exact = reference(name, x.astype(np.longdouble))
    for isa, y in results(name, x).items():
        assert_right(name, x, y, exact, isa)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_instruction_sets_with_fma_agree(name):
    if len([isa for isa in isas() if isa != "baseline"]) < 2:
        pytest.skip("fewer than two instruction sets with FMA")
    for x in (*float32_chunks(STEP), float64_inputs()):
        with_fma = [y for isa, y in results(name, x).items() if isa != "baseline"]
        for y in with_fma[1:]:
            different = ~same_bits(y, with_fma[0])
            assert not different.any(), (name, x[different][:5])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values(dtype):
    info = np.finfo(dtype)
    inf, nan, tiny, small = np.inf, np.nan, info.smallest_subnormal, info.tiny
    above, below = (np.nextafter(dtype(np.log(dtype(info.max))), dtype(v)) for v in (inf, 0))
    x = [0.0, -0.0, inf, -inf, nan, tiny, -tiny, small, -small, info.max, -info.max, above]
    expected = {
        "tanh": [0.0, -0.0, 1, -1, nan, tiny, -tiny, small, -small, 1, -1, 1],
        "sigmoid": [0.5, 0.5, 1, 0, nan, 0.5, 0.5, 0.5, 0.5, 1, 0, 1],
        "exp": [1, 1, inf, 0, nan, 1, 1, 1, 1, inf, 0, inf],
    }
    for name, want in expected.items():
        for isa, y in results(name, np.array(x, dtype)).items():
            right = same_bits(y, np.array(want, dtype))
            assert right.all(), (isa, name, np.array(x)[~right], y[~right])
    for isa, y in results("exp", np.array([below], dtype)).items():
        assert np.isfinite(y).all(), isa


def test_denormal_numbers():
    every = np.arange(1, 1 << 23, 17, dtype=np.uint32).view(np.float32)
    for isa, y in results("tanh", np.concatenate([every, -every])).items():
        assert same_bits(y, np.concatenate([every, -every])).all(), isa
    for isa, y in results("sigmoid", np.array([-100, -103.97, -103.98, -120], np.float32)).items():
        tiny = 2.0**-149  # e**-100 is 26.55 of these, e**-103.97 just over a half and e**-103.98 just under
        assert y.tolist() == [27 * tiny, tiny, 0, 0], isa


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tanh_is_odd(dtype):
    x = float64_inputs().astype(dtype)
    positive, negative = results("tanh", x), results("tanh", -x)
    for isa, y in positive.items():
        assert same_bits(-y, negative[isa]).all(), isa


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_lanes_are_independent(name, dtype):
    """One element that is NaN, infinite, huge or denormal changes no other, wherever it stands."""
    x = np.random.default_rng(1).normal(scale=3, size=37).astype(dtype)  # two AVX-512 registers and a rest, or more
    expected = results(name, x)
    for value in (np.nan, np.inf, -np.inf, np.finfo(dtype).max, -1e4, np.finfo(dtype).smallest_subnormal):
        for position in range(x.size):
            changed = x.copy()
            changed[position] = value
            for isa, y in results(name, changed).items():
                same = same_bits(y, expected[isa])
                same[position] = True
                assert same.all(), (isa, value, position)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_length_at_any_address(name, dtype):
    x = np.random.default_rng(2).normal(scale=3, size=80).astype(dtype)
    expected = results(name, x)
    for length in range(68):
        for first in (0, 1, 3):
            for isa, y in results(name, x[first : first + length]).items():
                assert same_bits(y, expected[isa][first : first + length]).all(), (isa, length, first)
