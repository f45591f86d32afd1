"""Classes drawn at random, each once: their distribution, and how often they were to be expected."""

from __future__ import annotations

import numpy as np
import pytest

from pylstm.losses import candidates
from pylstm.losses.candidates import Candidates, log_uniform
from pylstm.reference import sampled_softmax as twin


def test_log_uniform_is_that_of_tensorflow():
    k = np.arange(1000)
    p = (np.log(k + 2) - np.log(k + 1)) / np.log(1001)  # log_uniform_candidate_sampler
    np.testing.assert_allclose(log_uniform(1000), p, rtol=1e-11)
    assert log_uniform(1000).sum() == pytest.approx(1)
    assert log_uniform(1).tolist() == [1]


@pytest.mark.parametrize(("classes", "number"), [(1, 1), (5, 1), (5, 5), (300, 40), (300, 300), (50_000, 512)])
def test_each_once_and_ascending(classes, number):
    one, rng = Candidates(log_uniform(classes), number), np.random.default_rng(0)
    for _ in range(20):
        found, tries = one.draw(rng)
        assert found.dtype == np.int64
        assert found.shape == (number,)
        assert (np.diff(found) > 0).all()
        assert found[0] >= 0
        assert found[-1] < classes
        assert tries >= number


@pytest.mark.parametrize("rounds", [8, 0], ids=["by draws", "by times"])
def test_distribution_is_that_of_single_draws(rounds, monkeypatch):
    """Sets and tries, against drawing one after another."""
    monkeypatch.setattr(candidates, "_ROUNDS", rounds)
    p = np.array([0.5, 0.25, 0.15, 0.07, 0.03])
    one, rng, runs = Candidates(p * 3, 3), np.random.default_rng(1), 4000
    ours, theirs = ([draw() for _ in range(runs)] for draw in (lambda: one.draw(rng), lambda: twin.draw(p, 3, rng)))
    for sets in ([(0, 1, 2)], [(0, 1, 4), (0, 2, 3)], [(1, 2, 3), (2, 3, 4)]):
        share = [np.mean([tuple(found) in sets for found, _ in draws]) for draws in (ours, theirs)]
        assert abs(share[0] - share[1]) < 0.045  # four standard deviations
    for most in (3, 4, 6, 9):
        share = [np.mean([tries <= most for _, tries in draws]) for draws in (ours, theirs)]
        assert abs(share[0] - share[1]) < 0.045
    tries = [[float(tries) for _, tries in draws] for draws in (ours, theirs)]
    assert np.mean(tries[0]) == pytest.approx(np.mean(tries[1]), abs=4 * np.std(tries[1]) * np.sqrt(2 / runs))


def test_expected_counts():
    rng = np.random.default_rng(0)
    p = rng.random(20) ** 3
    p /= p.sum()
    one = Candidates(p, 6)
    for tries in (6, 9.0, 400):
        got = np.exp(one.log_expected(np.arange(20), tries))
        np.testing.assert_allclose(got, twin.expected_counts(p, tries), rtol=1e-9, atol=1e-12)
    tiny = Candidates(np.array([1.0, 1e-150]), 1)
    assert tiny.log_expected(np.array([1]), 7.0) == pytest.approx([np.log(7) - 150 * np.log(10)])


def test_all_classes_of_any_distribution_in_no_time():
    """Where draws would never end."""
    p = np.full(1000, 1e-190)
    p[:3] = 1
    found, tries = Candidates(p, 1000).draw(np.random.default_rng(0))
    assert found.tolist() == list(range(1000))
    assert 1e180 < tries < np.inf
    assert np.isfinite(Candidates(p, 1000).log_expected(found, tries)).all()
    found, tries = Candidates(np.ones(1), 1).draw(np.random.default_rng(0))
    assert (found.tolist(), tries) == ([0], 1)
    assert Candidates(np.ones(1), 1).log_expected(found, tries) == 0


def test_the_same_seed_draws_the_same():
    one = Candidates(log_uniform(500), 30)
    twice = [[one.draw(rng) for _ in range(3)] for rng in map(np.random.default_rng, (4, 4))]
    for (a, n), (b, m) in zip(*twice, strict=True):
        assert (a.tolist(), n) == (b.tolist(), m)
    assert twice[0][0][0].tolist() != twice[0][1][0].tolist()
