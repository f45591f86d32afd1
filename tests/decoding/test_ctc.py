"""`pylstm.ctc_decode` beside all paths one by one, and labellings that were found so before."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

import pylstm
from pylstm import ctc_decode

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "data" / "golden" / "ctc" / "golden.npz"


def log_softmax(z):
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def reads_as(path, blank):
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def all_labellings(log_p, blank=0):
    """(labels, log probability), the likeliest first, by every path."""
    found = defaultdict(float)
    for path in itertools.product(range(log_p.shape[1]), repeat=len(log_p)):
        found[reads_as(path, blank)] += float(np.exp(sum(log_p[t, label] for t, label in enumerate(path))))
    return sorted(((list(labels), np.log(p)) for labels, p in found.items()), key=lambda one: -one[1])


def random_logits(seed, steps, classes, spread=2.0):
    return np.random.default_rng(seed).standard_normal((1, steps, classes)) * spread


@pytest.mark.parametrize("blank", [0, 2])
def test_a_beam_that_drops_nothing_finds_all_labellings(blank):
    for seed in range(6):
        z = random_logits(seed, 1 + seed % 5, 3)
        want = all_labellings(log_softmax(z)[0], blank)
        found = ctc_decode(z, beam_size=500, blank=blank, n_best=500)[0]
        assert len(found) == len(want)
        np.testing.assert_allclose([one.score for one in found], [score for _, score in want], rtol=1e-10)
        assert {(tuple(labels), round(score, 8)) for labels, score in found} == {
            (tuple(labels), round(score, 8)) for labels, score in want
        }
        assert ctc_decode(z, beam_size=500, blank=blank) == [want[0][0]]


def test_the_score_is_the_loss():
    z = random_logits(3, 6, 4)
    for labels, score in ctc_decode(z, beam_size=5000, n_best=100)[0]:
        loss = pylstm.ctc_loss(z, [labels])[0] * max(1, len(labels))
        np.testing.assert_allclose(score, -loss, rtol=1e-10)


def test_a_beam_of_one_is_the_best_path():
    for seed in range(5):
        z = random_logits(seed, 40, 5)
        path = log_softmax(z)[0].argmax(axis=1)
        assert ctc_decode(z) == [list(reads_as(path.tolist(), 0))]
        ((labels, score),) = ctc_decode(z, n_best=1)[0]
        assert labels == ctc_decode(z)[0]
        np.testing.assert_allclose(score, log_softmax(z)[0].max(axis=1).sum(), rtol=1e-12)
    assert ctc_decode(np.zeros((1, 4, 3))) == [[]]  # of equal ones the first


@pytest.mark.skipif(not GOLDEN.exists(), reason=f"{GOLDEN} is not here")
def test_labellings_that_were_found_by_all_paths():
    golden = np.load(GOLDEN)
    for j in range(3):
        z = golden[f"beam{j}_log_probs"][None]
        texts = golden[f"beam{j}_best"]
        found = ctc_decode(z, beam_size=3000, n_best=len(texts))[0]
        np.testing.assert_allclose([one.score for one in found], golden[f"beam{j}_scores"], rtol=1e-9)
        digits = ["".join(map(str, one.labels)) for one in found]
        assert [digits] == [["".join(c for c in str(text) if c.isdigit()) for text in texts]]
        greedy = "".join(c for c in str(golden[f"beam{j}_greedy"]) if c.isdigit())
        assert "".join(map(str, ctc_decode(z)[0])) == greedy


def test_a_small_beam_finds_what_the_plain_search_finds():
    """The textbook's loop over dictionaries, with the same number of beginnings."""
    for seed in range(6):
        z, size = random_logits(seed, 30, 6, 1.5), 4
        log_p, beams = log_softmax(z)[0], {(): (1.0, 0.0)}
        for p in np.exp(log_p):
            new = defaultdict(lambda: [0.0, 0.0])
            for prefix, (with_blank, with_label) in beams.items():
                new[prefix][0] += (with_blank + with_label) * p[0]
                if prefix:
                    new[prefix][1] += with_label * p[prefix[-1]]
                for c in range(1, 6):
                    before = with_blank if prefix and prefix[-1] == c else with_blank + with_label
                    new[(*prefix, c)][1] += before * p[c]
            beams = dict(sorted(new.items(), key=lambda one: -sum(one[1]))[:size])
        want = sorted(((list(k), np.log(sum(v))) for k, v in beams.items()), key=lambda one: -one[1])
        found = ctc_decode(z, beam_size=size, n_best=size)[0]
        assert [one.labels for one in found] == [labels for labels, _ in want]
        np.testing.assert_allclose([one.score for one in found], [score for _, score in want], rtol=1e-9)


def test_a_language_model():
    """Of all labellings the one that has the largest sum, by brute force."""
    rng = np.random.default_rng(0)
    table = log_softmax(rng.standard_normal((4, 4)) * 2)
    seen = []

    def model(prefix, candidates):
        seen.append((tuple(prefix), candidates.tolist()))
        return table[prefix[-1] if prefix else 0][candidates]

    for seed in range(5):
        z = random_logits(seed, 5, 4, 1.0)
        want = []
        for labels, score in all_labellings(log_softmax(z)[0]):
            before = [0, *labels]
            of_model = sum(table[a][b] for a, b in zip(before, labels, strict=False))
            want.append((score + 0.7 * of_model + 0.3 * len(labels), labels))
        want.sort(key=lambda one: -one[0])
        found = ctc_decode(z, beam_size=2000, n_best=5, language_model=model, lm_weight=0.7, insertion_bonus=0.3)[0]
        np.testing.assert_allclose([one.score for one in found], [score for score, _ in want[:5]], rtol=1e-9)
        assert found[0].labels == want[0][1]
    assert ((), [1, 2, 3]) in seen
    assert ctc_decode(z, beam_size=50, language_model=model, lm_weight=0) == ctc_decode(z, beam_size=50)
    never = ctc_decode(z, beam_size=50, language_model=lambda _, c: np.where(c == 1, 0.0, -np.inf))
    assert set(never[0]) <= {1}


def test_few_candidates():
    z = random_logits(0, 20, 50)
    all_of_them = ctc_decode(z, beam_size=8, n_best=8)
    assert ctc_decode(z, beam_size=8, n_best=8, candidates=49) == all_of_them
    assert ctc_decode(z, beam_size=8, n_best=8, candidates=1000) == all_of_them
    # the best label of each step alone: labels of the best path, in whatever number
    assert set(ctc_decode(z, beam_size=8, candidates=1)[0]) <= set(z[0].argmax(axis=1).tolist())
    large = random_logits(1, 30, 3000)
    assert ctc_decode(large, beam_size=4, candidates=20) == ctc_decode(large, beam_size=4)


def test_kinds_of_logits():
    rng = np.random.default_rng(0)
    z, lengths = rng.standard_normal((3, 9, 4)) * 3, [9, 0, 5]
    parts = [one[:length] for one, length in zip(z, lengths, strict=True)]
    for size in (1, 5):
        want = [ctc_decode(part[None], beam_size=size)[0] for part in parts]
        assert want[1] == []
        junk = z.copy()
        junk[1], junk[2, 5:] = np.nan, np.inf
        assert ctc_decode(junk, lengths, size) == want
        assert ctc_decode(parts, beam_size=size) == want
        assert ctc_decode(tuple(parts), beam_size=size) == want
        assert ctc_decode(np.asfortranarray(z), lengths, size) == want
        assert all(type(label) is int for labels in want for label in labels)
    assert ctc_decode(np.zeros((0, 5, 3))) == []
    assert ctc_decode(np.zeros((2, 0, 3)), beam_size=3) == [[], []]
    one = np.full((1, 3, 4), -np.inf)
    one[0, [0, 1, 2], [1, 0, 1]] = 0.0
    assert ctc_decode(one, beam_size=10, n_best=10) == [[([1, 1], 0.0)]]


Z = np.zeros((2, 4, 3))
WRONG = [
    ((Z[0],), {}, ValueError, r"logits must have shape \(N, T, C\)"),
    (([Z[0], Z[0, :, :2]],), {}, ValueError, r"logits\[1\] must have shape"),
    (([Z[0], Z],), {}, ValueError, r"logits\[1\] must have shape"),
    (([Z[0], Z[0]], [4, 4]), {}, ValueError, "lengths is for an array"),
    ((Z, [5, 4]), {}, ValueError, "lengths must lie in 0..4"),
    (("a",), {}, TypeError, "logits must hold real numbers"),
    ((np.full((1, 2, 3), np.nan),), {}, ValueError, r"logits\[0, 0\] .* got NaN"),
    ((np.full((1, 2, 3), -np.inf),), {}, ValueError, "nothing but -inf"),
    ((np.full((1, 2, 3), np.inf),), {"beam_size": 3}, ValueError, r"\+inf"),
    ((Z,), {"beam_size": 0}, ValueError, "beam_size"),
    ((Z,), {"beam_size": 2.0}, TypeError, "beam_size"),
    ((Z,), {"blank": 3}, ValueError, "blank must be a class in 0..2"),
    ((Z,), {"blank": -1}, ValueError, "blank"),
    ((Z,), {"n_best": 2}, ValueError, "n_best must be at most beam_size"),
    ((Z,), {"n_best": 0}, ValueError, "n_best"),
    ((Z,), {"candidates": 0}, ValueError, "candidates"),
    ((Z,), {"beam_size": 2, "language_model": 3}, TypeError, "language_model must be a function"),
    ((Z,), {"language_model": lambda _, c: c}, ValueError, "language_model needs a beam_size from 2"),
    ((Z,), {"beam_size": 2, "language_model": lambda _, c: c[:1]}, ValueError, "each of 2 candidates"),
    ((Z,), {"beam_size": 2, "language_model": lambda _, c: c * np.nan}, ValueError, "got NaN"),
    ((Z,), {"beam_size": 2, "language_model": lambda *_: None}, TypeError, "language model's result"),
    ((Z,), {"beam_size": 2, "language_model": lambda _, c: c * -np.inf, "lm_weight": -1}, ValueError, "lm_weight, -1"),
    ((np.array([[[0, 0, 0], [-np.inf, 0, 0]]]),), {"beam_size": 2, "language_model": lambda _, c: c * -np.inf},
     ValueError, r"logits\[0, 1\] and the language model leave no labelling"),
    (([[[1, 2], [1]]],), {}, ValueError, r"logits\[0\] cannot be made an array"),
    ((Z,), {"lm_weight": np.inf}, ValueError, "lm_weight"),
    ((Z,), {"insertion_bonus": "1"}, TypeError, "insertion_bonus"),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(WRONG)))
def test_wrong_arguments_are_named(case):
    arguments, options, kind, message = WRONG[case]
    with pytest.raises(kind, match=message):
        ctc_decode(*arguments, **options)
