"""One long text in batches that go on."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm


@pytest.mark.parametrize(("count", "rows", "steps"), [(21, 2, 4), (100, 7, 5), (12, 11, 3), (5, 1, 100), (9, 4, 2)])
def test_rows_go_on_and_targets_are_next(count, rows, steps):
    text = np.random.default_rng(count).integers(0, 50, count)
    batches = pylstm.text_batches(text, rows, steps)
    for _ in range(2):
        found = list(batches)
        assert len(found) == len(batches)
        x, y = (np.concatenate(part, axis=1) for part in zip(*found, strict=True))
        size = (count - 1) // rows
        assert x.size == batches.used == rows * size
        for row in range(rows):
            assert np.array_equal(x[row], text[row * size : (row + 1) * size])
            assert np.array_equal(y[row], text[row * size + 1 : (row + 1) * size + 1])
        assert {part.shape for part, _ in found[:-1]} <= {(rows, steps)}


def test_a_file_is_read_as_it_is_needed(tmp_path):
    path = tmp_path / "text.npy"
    np.save(path, np.arange(1000) % 7)
    batches = pylstm.text_batches(np.load(path, mmap_mode="r"), 3, 10)
    x, y = next(iter(batches))
    assert np.array_equal(x[1], np.arange(333, 343) % 7)
    assert np.array_equal(y[:, :-1], x[:, 1:])
    assert repr(batches) == "TextBatches(34 batches of 3 x 10 symbols)"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (([[1, 2], [3, 4]], 1, 1), ValueError, r"symbols must be one text, \(T,\), got \(2, 2\)"),
        (([1.0, 2.0], 1, 1), TypeError, "symbols must be integers, got float64"),
        ((np.arange(4), 4, 1), ValueError, "symbols has 4, and 4 parts need 5"),
        ((np.arange(4), 0, 1), ValueError, "batch_size"),
        ((np.arange(4), 1, 0), ValueError, "steps"),
        ((np.arange(4), 1.5, 1), TypeError, "batch_size"),
        (("some text", 1, 1), TypeError, "symbols"),
    ],
)
def test_what_is_no_text(arguments, error, words):
    with pytest.raises(error, match=words):
        pylstm.text_batches(*arguments)
