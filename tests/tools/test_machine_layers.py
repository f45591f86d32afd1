"""A short run of tools/machine_layers.py, and that it can fail."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import machine_layers
import pylstm
from pylstm import _arrays
from pylstm.layers.parameters import Params


def test_a_few_hundred_random_steps():
    """In a process of its own: a hang or a crash is a failure here, too."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    command = [sys.executable, "-X", "faulthandler", machine_layers.__file__]
    options = ["--minutes", "0.05", "--seed", "7", "--no-shrink"]
    done = subprocess.run(command + options, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    assert "no crash, no hang, no wrong answer" in done.stdout
    for rule in ("backward", "edit held", "advance", "at once"):
        assert rule in done.stdout


def stale(layer):
    return layer._pack[1] if layer._pack is not None else RIGHT_PACKED(layer)


def keeps_old_weights(layer):
    layer._pack = getattr(layer, "_pack", None)


def wrong(self, x, states, lengths, out, num_threads):
    final = RIGHT_INFER(self, x, states, lengths, out, num_threads)
    out += 0.01
    return final


RIGHT_INFER, RIGHT_PACKED = pylstm.LSTM._infer, pylstm.LSTM._packed
FAULTS = {
    "wrong answer": lambda patch: [patch.setattr(c, "_infer", wrong) for c in (pylstm.LSTM, pylstm.GRU, pylstm.RNN)],
    "shared parameters": lambda patch: patch.setattr(Params, "__getitem__", lambda self, name: self._arrays[name]),
    "stale weights": lambda patch: [
        patch.setattr(c, name, value) for c in (pylstm.LSTM, pylstm.GRU, pylstm.RNN)
        for name, value in (("_packed", stale), ("_parameters_changed", keeps_old_weights))
    ],
    "memory that can be unlocked": lambda patch: patch.setattr(_arrays, "room", pylstm._core.empty),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_the_machine_sees_a_fault(monkeypatch, fault):
    FAULTS[fault](monkeypatch)
    with pytest.raises((AssertionError, ValueError)):
        machine_layers.run(seed=7, programs=20, shrink=False)
