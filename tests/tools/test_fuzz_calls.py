"""A short run of tools/fuzz_calls.py, and that it can fail."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import fuzz_calls
import pylstm


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def test_a_few_thousand_random_calls():
    seen = fuzz_calls.fuzz(6000, seed=7)
    assert seen["compared"] > 100  # right calls are compared with the reference ..
    assert seen["TypeError"] > 100  # .. and wrong ones are among them
    assert seen["ValueError"] > 100


@pytest.mark.parametrize("fault", ["wrong answer", "strange error", "error without a word"])
def test_the_fuzz_sees_a_fault(monkeypatch, fault):
    right = pylstm.LSTM._infer

    def wrong(self, x, states, lengths, out, num_threads):
        final = right(self, x, states, lengths, out, num_threads)
        if fault == "strange error":
            raise KeyError("lost")
        if fault == "error without a word":
            raise ValueError
        out += 0.01
        return final

    for cls in (pylstm.LSTM, pylstm.GRU, pylstm.RNN):
        monkeypatch.setattr(cls, "_infer", wrong)
    with pytest.raises((AssertionError, KeyError)):
        fuzz_calls.fuzz(3000, seed=7)
