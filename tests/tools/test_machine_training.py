"""A short run of tools/machine_training.py, and that it can fail."""

from __future__ import annotations

import pytest

import machine_training
import pylstm
from pylstm.training import undoing


def test_random_trainings_with_faults():
    machine_training.run(20, 15, seed=7)


FAULTS = {
    "masks of a failed batch": lambda m: m.setattr(pylstm.Sequential, "_set_dropout_state", lambda *_: None),
    "nothing is put back": lambda m: m.setattr(undoing.Before, "restore", lambda _: None),
    "the best weights stay away": lambda m: m.setattr(pylstm.EarlyStopping, "end", lambda *_: None),
    "gradients are not looked at": lambda m: m.setattr(pylstm.training.optimizer, "all_finite", lambda _: True),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_machine_sees_a_fault(monkeypatch, fault):
    FAULTS[fault](monkeypatch)
    with pytest.raises(AssertionError):
        machine_training.run(200, 15, 0)
