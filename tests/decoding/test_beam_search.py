"""Beam search over small models of random numbers, beside a search of everything there is."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import pylstm
from pylstm.decoding.drawing import draw_sentences
from pylstm.decoding.sampling import way_of

END = 0


class Toy:
    """The next symbol depends on all before it: a tanh network that remembers, with random weights, for N sentences."""

    def __init__(self, seed, count=1, classes=4, size=5, scale=2.0):
        rng = np.random.default_rng(seed)
        self.begin = classes
        self.embed = rng.normal(0, 1, (classes + 1, size))
        self.back, self.head = rng.normal(0, 1, (size, size)), rng.normal(0, scale, (size, classes))
        self.h = rng.normal(0, 1, (count, size))
        self.calls = []

    def step(self, symbols, state):
        self.calls.append(len(symbols))
        h = np.tanh(state["h"][0] @ self.back + self.embed[symbols])
        return h @ self.head, {"h": h[None], "steps": state["steps"] + 1, "none": None}

    def search(self, beam_size, max_length, **options):
        state = {"h": self.h[None].copy(), "steps": 0, "none": None}
        axis = {"h": 1, "steps": None, "none": None}
        return pylstm.beam_search(self.step, state, self.begin, END, beam_size, max_length, axis=axis, **options)

    def log_prob(self, s, symbols):
        h, last, total = self.h[s], self.begin, 0.0
        for symbol in symbols:
            h = np.tanh(h @ self.back + self.embed[last])
            z = h @ self.head
            total += z[symbol] - np.log(np.exp(z).sum())
            last = symbol
        return total

    def everything(self, s, max_length, alpha=0.0):
        """(score, symbols) of all sentences that end, and of those that are cut, best first."""
        found, classes = [], self.head.shape[1]
        for length in range(1, max_length + 1):
            for body in itertools.product(range(1, classes), repeat=length - 1):
                lasts = range(classes) if length == max_length else [END]
                for last in lasts:
                    score = self.log_prob(s, (*body, last)) / ((5 + length) / 6) ** alpha
                    found.append((score, [*body, last] if last != END else list(body)))
        return sorted(found, key=lambda one: -one[0])


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_what_a_search_of_everything_finds(seed, alpha):
    toy = Toy(seed, count=3)
    for max_length in (1, 2, 5):
        found = toy.search(4**5, max_length, length_penalty=alpha, n_best=6)
        for s, some in enumerate(found):
            best = toy.everything(s, max_length, alpha)[:6]
            assert [one.symbols for one in some] == [symbols for _, symbols in best]
            np.testing.assert_allclose([one.score for one in some], [score for score, _ in best], rtol=1e-12)
            for one in some:
                length = len(one.symbols) + (len(one.symbols) < max_length)
                assert one.score == pytest.approx(one.log_prob / ((5 + length) / 6) ** alpha)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_beam_of_one_is_greedy(alpha):
    toy = Toy(7, count=6, classes=6)
    found = toy.search(1, 9, length_penalty=alpha)
    for s, (one,) in enumerate(found):
        written = []
        while len(written) < 9 and END not in written:
            written.append(max(range(6), key=lambda k: toy.log_prob(s, [*written, k])))
        assert one.symbols == [symbol for symbol in written if symbol != END]
        assert one.log_prob == pytest.approx(toy.log_prob(s, written))


def test_a_wider_beam_finds_no_worse_ones_as_a_rule_and_scores_are_those_of_the_model():
    toy = Toy(3, count=20, classes=8)
    scores = {}
    for size in (1, 3, 20, 1000):
        found = toy.search(size, 6)
        scores[size] = np.array([some[0].log_prob for some in found])
        for s, some in enumerate(found):
            for one in some:
                whole = [*one.symbols, END] if len(one.symbols) < 6 else one.symbols
                assert one.log_prob == pytest.approx(toy.log_prob(s, whole), abs=1e-9)
    assert scores[1].mean() < scores[3].mean() <= scores[20].mean() <= scores[1000].mean() + 1e-12
    assert (scores[1000] >= scores[1] - 1e-9).all()


def test_one_by_one_gives_what_all_together_give():
    toy = Toy(5, count=9, classes=5)
    together = toy.search(3, 12, length_penalty=0.6, n_best=3)
    h = toy.h
    for s in range(9):
        toy.h = h[s : s + 1]
        (alone,) = toy.search(3, 12, length_penalty=0.6, n_best=3)
        assert [one.symbols for one in alone] == [one.symbols for one in together[s]]
        np.testing.assert_allclose([one.score for one in alone], [one.score for one in together[s]], rtol=1e-12)


def test_what_is_done_costs_nothing():
    """Of sentences that end after s symbols, each leaves the batch when it has ended."""

    def step(symbols, left):
        rows.append(len(symbols))
        logits = np.where((left > 0)[:, None], [-np.inf, 0.0, -1.0], [0.0, -np.inf, -np.inf])
        return logits, left - 1

    rows = []
    found = pylstm.beam_search(step, np.arange(5), 1, END, 1, 20)
    assert [len(some[0].symbols) for some in found] == [0, 1, 2, 3, 4]
    assert rows == [5, 4, 3, 2, 1]


def test_states_are_reordered_not_the_weights_and_shared_arrays_are_not_copied_for_each_hypothesis():
    keys, kept = np.arange(4.0)[:, None], []

    def step(symbols, state, shared):
        kept.append((len(symbols), len(shared)))
        width = len(symbols) // len(shared)
        np.testing.assert_array_equal(state[:, 0], np.repeat(shared[:, 0], width))  # row by row its own sentence
        logits = np.tile([-1.0, 0.1, 0.2, 0.3], (len(symbols), 1)) - 0.01 * state
        return logits, state

    found = pylstm.beam_search(step, keys.copy(), 1, END, 3, 4, shared=keys)
    assert len(found) == 4
    assert kept == [(4, 4), (12, 4), (12, 4), (12, 4)]


def test_what_sentences_share_leaves_with_them():
    keys, kept = np.array([3.0, 1.0, 4.0, 2.0])[:, None], []

    def step(symbols, state, shared):
        """Each sentence ends after as many symbols as its key says."""
        kept.append(shared[:, 0].tolist())
        own, written = np.repeat(shared[:, 0], len(symbols) // len(shared)), state[:, 0] + 1
        logits = np.where((written > own)[:, None], [0.0, -np.inf, -np.inf], [-np.inf, 0.0, -0.1])
        return logits, written[:, None]

    found = pylstm.beam_search(step, np.zeros((4, 1)), 1, END, 2, 9, shared=keys)
    assert [len(some[0].symbols) for some in found] == [3, 1, 4, 2]
    assert kept == [[3, 1, 4, 2], [3, 1, 4, 2], [3, 4, 2], [3, 4], [4]]


def test_a_hypothesis_goes_on_while_its_score_could_still_be_the_best():
    """One that is worse now than a sentence that has ended, and by its length better in the end."""

    def step(_, written):
        first, last = (written == 0)[:, None], (written == 8)[:, None]
        return np.where(first, np.log([0.6, 0.4]), np.where(last, [0.0, -np.inf], [-np.inf, 0.0])), written + 1

    for alpha, length in (0.0, 0), (2.0, 8):
        ((one,),) = pylstm.beam_search(step, np.zeros(1, int), 1, END, 2, 10, length_penalty=alpha)
        assert one.symbols == [1] * length


def test_of_equal_ones_the_first_symbols_win():
    for size in (1, 2, 5, 30):
        found = pylstm.beam_search(lambda s, state: (np.zeros((len(s), 4)), state), None, 0, 3, size, 3,
                                   n_best=min(size, 2), batch_size=2)  # fmt: skip
        if size == 1:
            assert [[one.symbols for one in some] for some in found] == [[[0, 0, 0]]] * 2
        if size == 30:  # the end alone is likelier than anything longer
            assert [some[0].symbols for some in found] == [[]] * 2
    tied = lambda s, state: (np.tile([0.0, 0.0, 0.0, -np.inf], (len(s), 1)), state)  # noqa: E731
    for size in (4, 40):
        (some,) = pylstm.beam_search(tied, None, 0, 3, size, 2, n_best=4, batch_size=1)
        assert [one.symbols for one in some] == [[0, 0], [0, 1], [0, 2], [1, 0]]


def test_a_state_of_ones_own_kind():
    class State:
        def __init__(self, h):
            self.h = h

    toy = Toy(2, count=3)

    def step(symbols, state):
        logits, new = toy.step(symbols, {"h": state.h[None], "steps": 0})
        return logits, State(new["h"][0])

    def reorder(state, rows):
        return State(state.h[rows])

    found = pylstm.beam_search(step, State(toy.h.copy()), toy.begin, END, 3, 5, reorder=reorder, batch_size=3)
    assert [some[0].symbols for some in found] == [some[0].symbols for some in toy.search(3, 5)]


def test_what_the_step_function_gives_to_keep_comes_back_with_each_sentence():
    toy = Toy(11, count=4)

    def step(symbols, state):
        logits, new = toy.step(symbols, state)
        return logits, new, logits.argmax(axis=1)

    state, axis = {"h": toy.h[None].copy(), "steps": 0}, {"h": 1, "steps": None, "none": None}
    found = pylstm.beam_search(step, state, toy.begin, END, 4, 5, axis=axis, n_best=4)
    for s, some in enumerate(found):
        for one in some:
            whole = [*one.symbols, END] if len(one.symbols) < 5 else one.symbols
            best = [max(range(4), key=lambda k: toy.log_prob(s, [*whole[:t], k])) for t in range(len(whole))]
            assert one.trace.tolist() == best


def test_memory_that_the_step_function_uses_again():
    table = np.log([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.9, 0.05, 0.05]])
    memory = np.zeros((9, 1))

    def step(symbols, state):
        memory[: len(symbols), 0] = symbols
        return table[symbols], state, memory[: len(symbols)]

    for one in pylstm.beam_search(step, None, 0, 0, 3, 5, n_best=3, batch_size=1)[0]:
        assert one.trace[:, 0].tolist() == [0, *one.symbols]


@pytest.mark.parametrize(
    ("keeps", "error", "says"),
    [
        (lambda n: [(1,), (2,)][n:], ValueError, r"rows of one shape, got \(2,\) and before \(1,\)"),
        (lambda n: [(1,)][n:], TypeError, "for every symbol, or for none"),
        (lambda n: [(1,)][: n % 2], TypeError, "for every symbol, or for none"),
    ],
)
def test_what_is_kept_for_some_symbols_or_in_several_shapes_is_refused(keeps, error, says):
    calls = itertools.count()

    def step(symbols, state):
        more = [np.zeros((len(symbols), *shape)) for shape in keeps(next(calls))[:1]]
        return (np.tile([-9.0, 0.0, 0.0], (len(symbols), 1)), state, *more)

    with pytest.raises(error, match=says):
        pylstm.beam_search(step, None, 1, 0, 2, 4, batch_size=1)


def test_first_symbols_of_each_sentence_and_a_beam_that_is_wider_than_the_vocabulary():
    table = np.log([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.1, 0.1, 0.8]])
    found = pylstm.beam_search(lambda s, state: (table[s], state), None, [0, 1, 2], 0, 50, 2, n_best=50)
    assert [len(some) for some in found] == [7, 7, 7]  # the end, and two symbols in a row, each then 0, 1 or 2
    assert found[1][0].symbols == []
    assert math.exp(found[1][0].log_prob) == pytest.approx(0.6)
    assert sum(math.exp(one.log_prob) for one in found[2]) == pytest.approx(1.0)
    assert pylstm.beam_search(lambda s, state: (table[s], state), None, 0, 0, 2, 2, batch_size=0) == []


GOOD = {"state": None, "begin": 0, "end": 2, "beam_size": 2, "max_length": 3, "batch_size": 2}


def giving(logits):
    """A step function that gives these, whatever it is asked."""
    return lambda _, state: (logits, state)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"beam_size": 0}, ValueError, "beam_size must be at least 1, got 0"),
        ({"beam_size": 2.0}, TypeError, "beam_size"),
        ({"max_length": 0}, ValueError, "max_length must be at least 1"),
        ({"n_best": 3}, ValueError, "n_best must be at most beam_size, 2"),
        ({"n_best": 0}, ValueError, "n_best"),
        ({"length_penalty": -1}, ValueError, "length_penalty"),
        ({"length_penalty": math.nan}, ValueError, "length_penalty"),
        ({"end": 3}, ValueError, "end is 3, and step gives logits of 3 symbols"),
        ({"end": -1}, ValueError, "end"),
        ({"length_penalty": 1e4}, ValueError, "length_penalty must not be so large"),
        ({"begin": 1.5}, TypeError, "begin"),
        ({"begin": 2**63}, ValueError, "begin must be at most"),
        ({"begin": np.array([0, 2**63], np.uint64)}, TypeError, "begin must be a symbol"),
        ({"begin": [0, 1, 2]}, ValueError, "batch_size for 2 and begin for 3"),
        ({"batch_size": None}, ValueError, "batch_size is missing"),
        ({"state": np.zeros((3, 2))}, ValueError, "batch_size for 2 and state for 3"),
        ({"state": (np.zeros((2, 2)), np.zeros(3))}, ValueError, r"state\[1\] 3"),
        ({"state": np.zeros(2), "axis": 1}, ValueError, "has no axis 1"),
        ({"state": {"a": np.zeros(2)}, "axis": {"b": 0}}, ValueError, "axis lacks 'a'"),
        ({"state": (np.zeros(2),), "axis": (0, 0)}, ValueError, "axis of state must have 1"),
        ({"reorder": 3}, TypeError, "reorder must be a function"),
        ({"shared": np.zeros(5)}, ValueError, "shared for 5"),
        ({"step": 3}, TypeError, "step must be a function"),
        ({"step": lambda s, _: s}, TypeError, "step must return"),
        ({"step": giving(np.zeros((1, 3)))}, ValueError, r"step must return logits of shape \(2, V\)"),
        ({"step": giving(np.zeros((2, 0)))}, ValueError, "V at least 1"),
        ({"step": giving(np.zeros((2, 3), complex))}, TypeError, "logits"),
        ({"step": giving(np.full((2, 3), np.nan))}, ValueError, "NaN for symbol 1 of sentence 0"),
        ({"step": giving(np.full((2, 3), np.inf))}, ValueError, r"\+inf"),
        ({"step": giving(np.full((2, 3), -np.inf))}, ValueError, "nothing but -inf"),
        ({"step": lambda s, state: (np.zeros((len(s), 3)), state, np.zeros(9))}, ValueError, "to keep"),
        ({"step": lambda s, _: (np.zeros((len(s), 3)), np.zeros(1))}, ValueError, "state must have a row for each"),
    ],
)  # fmt: skip
def test_wrong_arguments(change, error, says):
    options = {"step": lambda s, state: (np.zeros((len(s), 3)), state), **GOOD, **change}
    with pytest.raises(error, match=says):
        pylstm.beam_search(**options)


def test_nan_in_the_middle_names_the_sentence_as_it_was_given():
    def step(symbols, which):
        logits = np.zeros((len(symbols), 3))
        logits[:, 2] = np.where(which == 0, 50.0, -50.0)  # the first one ends at once
        logits[(which == 2) & (symbols == 0)] = np.nan
        return logits, which

    with pytest.raises(ValueError, match="NaN for symbol 2 of sentence 2"):
        pylstm.beam_search(step, np.arange(4), 1, 2, 1, 5)


def test_drawn_sentences_come_as_often_as_they_are_likely():
    table = np.log([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.1, 0.1, 0.8]])
    rng = np.random.default_rng(0)
    step = lambda s, state: (table[s], state)  # noqa: E731
    (some, _) = draw_sentences(step, np.zeros(2), 1, 0, 4000, 30, way_of(1.0, None, None), rng)
    empty = [one for one in some if one.symbols == []]
    assert len(empty) / 4000 == pytest.approx(0.6, abs=0.03)
    assert empty[0].log_prob == pytest.approx(math.log(0.6))
    assert len([one for one in some if one.symbols == [1]]) / 4000 == pytest.approx(0.06, abs=0.02)
    for one in some[:50]:
        path = [1, *one.symbols, 0][: 1 + 30]
        assert one.log_prob == pytest.approx(sum(table[a, b] for a, b in itertools.pairwise(path)))
    cold = draw_sentences(step, np.zeros(2), 1, 0, 2, 30, way_of(0.0, None, None), rng)
    assert [[one.symbols for one in each] for each in cold] == [[[], []]] * 2
