"""A short run of tests/machine_training.py, and that it can fail."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

import pylstm
from pylstm.training import loop as training


@pytest.fixture
def machine():
    spec = importlib.util.spec_from_file_location("machine_training", Path(__file__).parent / "machine_training.py")
    module = sys.modules["machine_training"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["machine_training"]


def test_random_trainings_with_faults(machine):
    machine.run(20, 15, seed=7)


FAULTS = {
    "masks of a failed batch": lambda m: m.setattr(pylstm.Sequential, "_set_dropout_state", lambda *_: None),
    "nothing is put back": lambda m: m.setattr(training._Before, "restore", lambda _: None),
    "the best weights stay away": lambda m: m.setattr(pylstm.EarlyStopping, "end", lambda *_: None),
    "gradients are not looked at": lambda m: m.setattr(pylstm.training.optimizer, "all_finite", lambda _: True),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_machine_sees_a_fault(machine, monkeypatch, fault):
    FAULTS[fault](monkeypatch)
    with pytest.raises(AssertionError):
        machine.run(200, 15, 0)
