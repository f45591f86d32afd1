"""The examples in docstrings of the installed package run, and give what they show."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import pylstm


def examples():
    """Name -> doctest, of every module that can be imported here."""
    names = [pylstm.__name__, *(module.name for module in pkgutil.walk_packages(pylstm.__path__, "pylstm."))]
    public = {name: getattr(pylstm, name) for name in dir(pylstm) if not name.startswith("_")}
    finder, found = doctest.DocTestFinder(exclude_empty=True), {}
    for name in names:
        if name.startswith("pylstm._core"):
            continue
        try:
            module = importlib.import_module(name)
        except ImportError:  # made for a library that is not here
            continue
        for test in finder.find(module, name, extraglobs={**public, "np": np, "pylstm": pylstm}):
            if test.examples:
                found[test.name] = test
    return found


EXAMPLES = examples()


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(EXAMPLES[name], out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN", "Sequential"])
def test_what_is_met_first_has_an_example(name):
    assert any(name in test.docstring and ">>>" in test.docstring for test in EXAMPLES.values())
