"""Layers that most files of this folder try things on."""

from __future__ import annotations

import pytest


@pytest.fixture
def lstm(module):
    return module.LSTM(4, 6, seed=1)


@pytest.fixture
def gru(module):
    return module.GRU(4, 6, num_layers=2, bidirectional=True, seed=1)
