"""`pylstm.sample`: draws from the distribution that it says, which the twin and brute force find in other ways."""

from __future__ import annotations

import copy
import os
import pickle

import numpy as np
import pytest

import pylstm
from pylstm import sample
from pylstm.reference.sampling import probabilities
from pylstm.reference.sampling import sample as twin
from support.isas import isas, use_isa

SETTINGS = [
    {}, {"temperature": 0.5}, {"temperature": 3}, {"top_k": 1}, {"top_k": 4}, {"top_k": 1000}, {"top_p": 0.0},
    {"top_p": 0.3}, {"top_p": 0.999}, {"top_p": 1.0}, {"temperature": 0.7, "top_k": 6, "top_p": 0.8},
    {"temperature": 2.0, "top_k": 3, "top_p": 0.5},
]  # fmt: skip


def random_rows(rows, symbols, dtype, seed=0):
    """Logits, of which some are equal and some -inf."""
    rng = np.random.default_rng(seed)
    z = (rng.standard_normal((rows, symbols)) * 3).astype(dtype)
    z[::3] = np.round(z[::3])
    z[rng.random(z.shape) < 0.1] = -np.inf
    z[:, rng.integers(symbols)] = 0.5
    return z


@pytest.mark.parametrize("options", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("isa", isas())
def test_the_twin_draws_the_same(options, dtype, isa):
    for symbols in (1, 2, 17, 98, 300):
        z = random_rows(40, symbols, dtype)
        numbers = np.random.default_rng(7).random(40)
        with use_isa(isa):
            found = sample(z, rng=np.random.default_rng(7), **options)
        expected = [twin(probabilities(row, **options), number) for row, number in zip(z, numbers, strict=True)]
        assert found.tolist() == expected
        assert found.dtype == np.int64


def brute_force(z, temperature, top_k, top_p):
    """Sets of symbols are tried by size, the likeliest of each size; no sorting by a key, no running sum."""
    weights = {symbol: float(np.exp(np.longdouble(value) / temperature)) for symbol, value in enumerate(z)}

    def best(count):
        left, chosen = dict(weights), []
        for _ in range(count):
            chosen.append(max(left, key=left.get))
            del left[chosen[-1]]
        return chosen

    among = best(top_k)
    total = sum(weights[symbol] for symbol in among)
    for count in range(1, top_k + 1):
        if sum(weights[symbol] for symbol in best(count)) >= top_p * total:
            break
    kept = best(count)
    total = sum(weights[symbol] for symbol in kept)
    return {symbol: weights[symbol] / total for symbol in kept}


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(1.0, 12, 1.0), (0.6, 12, 0.9), (2.0, 5, 0.7)])
def test_frequencies_are_those_of_the_distribution(temperature, top_k, top_p):
    z = np.random.default_rng(3).standard_normal(12) * 1.5
    expected = brute_force(z, temperature, top_k, top_p)
    number = 40_000
    found = sample(np.tile(z, (number, 1)), temperature, top_k, top_p, rng=5)
    counts = np.bincount(found, minlength=12)
    assert set(np.flatnonzero(counts).tolist()) <= expected.keys()
    chi = sum((counts[s] - number * p) ** 2 / (number * p) for s, p in expected.items())
    assert chi < len(expected) + 4 * np.sqrt(2 * len(expected))  # its mean and standard deviation; the seed is fixed


def test_a_batch_draws_what_its_rows_draw():
    z = random_rows(30, 50, np.float32)
    for options in SETTINGS:
        one, all_rows = np.random.default_rng(1), np.random.default_rng(1)
        each = [sample(row, rng=one, **options) for row in z]
        assert all(type(symbol) is int for symbol in each)
        assert sample(z, rng=all_rows, **options).tolist() == each
        assert one.random() == all_rows.random()


def test_the_number_of_threads_does_not_matter():
    z = random_rows(300, 400, np.float32)
    found, before = [], pylstm.get_num_threads()
    try:
        for threads in (1, 2, 3):
            pylstm.set_num_threads(threads)
            found.append([sample(z, rng=2, **options).tolist() for options in SETTINGS])
    finally:
        pylstm.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_many_symbols():
    z = np.random.default_rng(0).standard_normal((3, 60_000)).astype(np.float32)
    z[1] = np.sort(z[1])  # each one larger than all before
    for top_k in (1, 40, 5000, 59_999):
        for row in z:
            least = np.sort(row)[-top_k]
            drawn = sample(np.tile(row, (20, 1)), top_k=top_k, rng=0)
            assert (row[drawn] >= least).all()
    numbers = np.random.default_rng(4).random(3)
    for options in ({}, {"top_p": 0.6}, {"top_k": 100, "top_p": 0.5, "temperature": 0.3}):
        expected = [twin(probabilities(row, **options), number) for row, number in zip(z, numbers, strict=True)]
        assert sample(z, rng=4, **options).tolist() == expected


def test_greedy_takes_the_first_of_the_largest_and_no_number():
    rng = np.random.default_rng(0)
    assert sample([1.0, 3.0, 3.0, -np.inf], temperature=0, rng=rng) == 1
    z = random_rows(50, 33, np.float64)
    assert sample(z, temperature=0, rng=rng).tolist() == z.argmax(axis=1).tolist()
    assert rng.random() == np.random.default_rng(0).random()
    assert [sample(z, top_k=1, rng=k).tolist() for k in range(3)] == [z.argmax(axis=1).tolist()] * 3
    assert sample(z, top_p=0, rng=0).tolist() == z.argmax(axis=1).tolist()


@pytest.mark.parametrize("temperature", [5e-324, 1e-30, 1e30, 1.7e308])
def test_temperatures_at_the_ends(temperature):
    z = np.array([[1.0, 2.0, -np.inf, 2.0]] * 2000)
    drawn = set(sample(z, temperature, rng=0).tolist())
    assert drawn == ({1, 3} if temperature < 1 else {0, 1, 3})
    assert set(sample(np.array([[1e308, -1e308, 3e307]] * 50), temperature, rng=0).tolist()) <= {0, 1, 2}


def test_shapes_and_kinds_of_logits():
    assert sample([5], rng=0) == 0
    assert type(sample([0.1, 0.2])) is int
    assert sample([[0, 100], [100, 0]], rng=0).tolist() == [1, 0]
    assert sample(np.zeros((0, 5)), rng=0).shape == (0,)
    assert sample(np.zeros((2, 0, 5)), rng=0).shape == (2, 0)
    assert sample(np.zeros((2, 3, 5)), rng=0).shape == (2, 3)
    z = random_rows(8, 12, np.float64)
    expected = sample(z, rng=0).tolist()
    for other in (np.asfortranarray(z), z.astype(">f8"), np.repeat(z, 2, axis=1)[:, ::2], z[::-1].copy()[::-1]):
        assert sample(other, rng=0).tolist() == expected
    half = np.round(z).astype(np.float16)
    assert sample(half, rng=0).tolist() == sample(half.astype(np.float64), rng=0).tolist()
    before = z.copy()
    sample(z, 0.5, 3, 0.5)
    np.testing.assert_array_equal(z, before)


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ((np.float64(1),), ValueError, r"logits must have shape \(..., V\), V at least 1, got \(\)"),
        (([],), ValueError, "V at least 1"),
        ((np.zeros((3, 0)),), ValueError, "V at least 1"),
        ((None,), TypeError, "logits"),
        ((["a"],), TypeError, "logits"),
        (([1j],), TypeError, "logits"),
        ((np.ma.masked_array([1.0, 2.0], [True, False]),), TypeError, "logits .* masked"),
        (([[1.0], [1.0, 2.0]],), ValueError, "logits"),
        (([1.0, np.nan],), ValueError, "logits must hold a finite number .* got NaN"),
        (([[1.0], [np.nan]],), ValueError, r"logits\[1\] must .* got NaN"),
        (([[[1.0, 0.0]], [[np.inf, 0.0]]],), ValueError, r"logits\[1, 0\] .* got \+inf"),
        (([-np.inf, -np.inf],), ValueError, "nothing but -inf"),
        (([1.0], -1), ValueError, "temperature"),
        (([1.0], np.nan), ValueError, "temperature"),
        (([1.0], np.inf), ValueError, "temperature"),
        (([1.0], None), TypeError, "temperature"),
        (([1.0], True), TypeError, "temperature"),
        (([1.0], 1, 0), ValueError, "top_k"),
        (([1.0], 1, 2.0), TypeError, "top_k"),
        (([1.0], 1, None, 1.5), ValueError, "top_p"),
        (([1.0], 1, None, -0.1), ValueError, "top_p"),
        (([1.0], 1, None, "a"), TypeError, "top_p"),
        (([1.0], 1, None, None, -1), ValueError, "rng"),
        (([1.0], 1, None, None, 1.5), TypeError, "rng must be a numpy.random.Generator, a seed or None"),
        (([1.0], 1, None, None, np.random.RandomState(0)), TypeError, "rng"),
        (([1.0], 1, None, None, True), TypeError, "rng"),
    ],
)
@pytest.mark.parametrize("temperature", [0, 1])
def test_wrong_arguments(arguments, kind, text, temperature):
    if len(arguments) == 1:
        arguments = (*arguments, temperature)
    with pytest.raises(kind, match=text):
        sample(*arguments)


def test_a_failed_call_takes_no_number():
    rng = np.random.default_rng(0)
    z = np.zeros((100, 3000), np.float32)
    z[99, 2999] = np.nan
    with pytest.raises(ValueError, match=r"logits\[99\]"):
        sample(z, rng=rng)
    assert rng.random() == np.random.default_rng(0).random()


class Strange(np.random.Generator):
    numbers: object = None

    def random(self, *args, **_):
        return self.numbers(*args) if callable(self.numbers) else self.numbers


@pytest.mark.parametrize("numbers", [np.ones, lambda n: np.full(n, np.nan), lambda n: np.full(n, -3.0)])
def test_a_generator_with_wrong_numbers_draws_symbols(numbers):
    rng = Strange(np.random.PCG64(0))
    rng.numbers = numbers
    for options in SETTINGS:
        assert set(sample([[0.0, 1.0, -np.inf]] * 4, rng=rng, **options).tolist()) <= {0, 1}


@pytest.mark.parametrize("numbers", [0.5, [0.5], lambda n: np.zeros(n + 1), lambda n: np.zeros(n, np.float32)])
def test_a_generator_that_gives_something_else_is_refused(numbers):
    rng = Strange(np.random.PCG64(0))
    rng.numbers = numbers
    with pytest.raises((TypeError, ValueError), match="rng"):
        sample([[0.0, 1.0]], rng=rng)


def test_a_generator_that_edits_the_logits_in_between():
    z = np.zeros((50, 200), np.float32)
    rng = Strange(np.random.PCG64(0))

    def edits(n):
        z[::2], z[1::2] = np.nan, np.inf
        return np.full(n, 0.99)

    rng.numbers = edits
    for options in ({"top_k": 5}, {"top_p": 0.4}, {"top_k": 150, "top_p": 0.9}, {}):
        z[...] = 0
        drawn = sample(z, rng=rng, **options)
        assert ((drawn >= 0) & (drawn < 200)).all()


def test_seeds_and_none():
    z = np.zeros((20, 1000))
    assert sample(z, rng=3).tolist() == sample(z, rng=np.random.default_rng(3)).tolist()
    assert sample(z, rng=3).tolist() == sample(z, rng=np.random.SeedSequence(3)).tolist()
    assert sample(z).tolist() != sample(z).tolist()
    rng = np.random.default_rng(0)
    first, second = sample(z, rng=rng), sample(z, rng=rng)
    assert first.tolist() != second.tolist()
    assert sample(z, rng=copy.deepcopy(rng)).tolist() == sample(z, rng=pickle.loads(pickle.dumps(rng))).tolist()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_draws_other_symbols():
    z = np.zeros((20, 1000))
    sample(z)  # the parent has a generator by now
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.write(write, sample(z).tobytes())
        os._exit(0)
    mine = sample(z)
    os.waitpid(child, 0)
    assert np.frombuffer(os.read(read, 1000), np.int64).tolist() != mine.tolist()
    os.close(read), os.close(write)
