"""Batches that are wrong: they are named by their number, and nothing is lost or left open."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from support.batches import LENGTHS, X, Y, batches, chain, fitted


def wrong(second, first=(X, Y)):
    return lambda: iter([first, second])


SPOILT = X.copy()
SPOILT[3, 2, 1] = np.nan
WRONG = {
    "one sequence": (X[0], Y[:6]), "a feature too many": (np.zeros((4, 6, 4)), Y[:4]), "NaN": (SPOILT, Y),
    "a label too large": (X, Y + 1),
    "fewer targets": (X, Y[:3]), "targets per step": (X, np.zeros((70, 6), int)),
    "no pair": X, "one": (X,), "six": (X, Y, None, None, None, None), "no y": (X, None),
    "unknown": {"x": X, "labels": Y},
    "lengths too long": (X, Y, LENGTHS + 3), "texts": (X, ["a"] * 70), "none": (X[:0], Y[:0]), "None": None,
    "targets of another form": (X, np.eye(3)[Y]),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_batch_is_named(case):
    """Before training if it is the first one; later, the model is as the batch before has left it."""
    model, seen = chain(), chain()
    before = model.state_dict()
    with pytest.raises((TypeError, ValueError, IndexError), match=r"^batch 1: ") as early:
        fitted(model, wrong((X, Y), WRONG[case]))
    assert all(np.array_equal(value, before[name]) for name, value in model.params.items())
    with pytest.raises(type(early.value), match=r"^batch 2 of epoch 1: "):
        fitted(model, wrong(WRONG[case]))
    fitted(seen, [(X, Y)])
    assert all(np.array_equal(value, seen.params[name]) for name, value in model.params.items())
    with pytest.raises(type(early.value), match=r"^validation_data: "):
        fitted(chain(), batches, validation_data=wrong(WRONG[case]))
    if case not in ("NaN", "a label too large"):
        with pytest.raises(type(early.value), match=r"^batch 2: "):
            seen.evaluate(wrong(WRONG[case]))


def test_what_the_places_say():
    for second, words in [
        (WRONG["NaN"], r"batch 2 of epoch 1: x\[3\] holds NaN at step 2, feature 1; 1 of 70 sequences does"),
        (WRONG["a label too large"], r"batch 2 of epoch 1: targets must be labels in 0\.\.1, .* got 2 in y\["),
        (WRONG["one sequence"], r"batch 2 of epoch 1: x must give batches \(N, T, 3\), got shape \(6, 3\)"),
        (WRONG["targets of another form"], r"batch 2 of epoch 1: it has x of shape .* and the first batch x of shape"),
    ]:
        with pytest.raises(ValueError, match=words):
            fitted(chain(), wrong(second))
    with pytest.raises(FloatingPointError, match="batch 2 of epoch 1: the loss became nan"):
        fitted(chain(), wrong(WRONG["NaN"]), check_finite=False)
    ids = np.zeros((4, 3), int)
    layers = [pylstm.Embedding(5, 3), pylstm.GRU(3, 2, batch_first=True), pylstm.LastStep(), pylstm.Linear(2, 2)]
    with pytest.raises(IndexError, match=r"batch 2 of epoch 1: .*9"):
        fitted(pylstm.Sequential(layers), wrong((ids + 9, Y[:4]), (ids, Y[:4])))
    with pytest.raises(ValueError, match="batch 2: x must give batches"):
        chain().predict(iter([X, X[0]]))


@pytest.mark.parametrize(
    ("data", "options", "error", "words"),
    [
        ((X,), {}, TypeError, "y is missing: it may be left out where x gives batches"),
        (([[1, 2], [3, 4]],), {}, TypeError, "y is missing"),
        ((batches, Y), {}, TypeError, "x gives batches, and y belongs into them"),
        ((batches,), {"lengths": LENGTHS}, TypeError, "x gives batches, and lengths belongs into them"),
        (
            (lambda: (X, Y),),
            {},
            TypeError,
            r"x\(\) must return an iterator over batches, got tuple: write `yi",
        ),
        ((lambda: None,), {}, TypeError, r"x\(\) must return an iterator over batches, got NoneType|None"),
        ((lambda: X,), {}, TypeError, r"x\(\) must return an iterator over batches, got ndarray"),
        ((lambda: iter(()),), {}, ValueError, "x gave no batch"),
        ((batches,), {"validation_split": 0.2}, ValueError, "validation_split needs x and y as a whole"),
        ((pylstm.windows(X[0], 2, 1),), {"validation_split": 0.2}, ValueError, "x.split"),
        ((batches,), {"sample_weight": LENGTHS}, TypeError, "x gives batches, and sample_weight belongs into them"),
        ((batches,), {"class_weight": "balanced"}, ValueError, "class_weight='balanced' needs all of y"),
        ((batches,), {"loss": pylstm.SampledSoftmax(1, "unigram")}, ValueError, "counts all labels before training"),
        ((batches,), {"steps_per_epoch": 0}, ValueError, "steps_per_epoch must be at least 1"),
        ((X, Y), {"steps_per_epoch": 3}, ValueError, "steps_per_epoch is for x that gives batches"),
        ((batches,), {"validation_data": lambda: X}, TypeError, r"validation_data\(\) must return an iterator"),
        ((batches,), {"validation_data": iter([X])}, TypeError, r"validation_data: batch 1: .*must give batches"),
    ],
)
def test_wrong_arguments(data, options, error, words):
    model = chain()
    before = model.state_dict()
    with pytest.raises(error, match=words):
        fitted(model, *data, **options)
    assert all(np.array_equal(value, before[name]) for name, value in model.params.items())


@pytest.mark.parametrize("fails", [None, "in the middle", "at first"])
def test_files_that_a_function_has_open_are_closed(fails):
    """Whatever it raises comes as it is."""
    is_open = []

    def reading():
        is_open.append(True)
        try:
            if fails == "at first":
                raise ValueError("no such file")
            yield from batches()
            if fails:
                raise ValueError("the disk is gone")
        finally:
            is_open.pop()

    model = chain()
    if fails is None:
        fitted(model, reading, epochs=2)
        fitted(model, reading, steps_per_epoch=2, epochs=2, callbacks=[lambda *_: is_open and 1 / 0])
        with pytest.raises(ValueError, match=r"batch 1: targets must be labels"):
            fitted(model, lambda: ((x, y + 5) for x, y in reading()))
    else:
        with pytest.raises(ValueError, match=r"^(no such file|the disk is gone)$"):
            fitted(model, reading)
    model.predict(X)
    assert not is_open
