"""Fixtures that run a test once for each kind of layer, bias or backend."""

from __future__ import annotations

import pytest

import pylstm
import pylstm.reference
from support.variants import BIASES, VARIANTS


@pytest.fixture(params=VARIANTS, ids=lambda v: v.name)
def variant(request):
    return request.param


@pytest.fixture(params=[v for v in VARIANTS if v.name != "gru_before"], ids=lambda v: v.name)
def torch_variant(request):
    """The variants that torch.nn has, too."""
    return request.param


@pytest.fixture(params=BIASES)
def bias(request):
    """Constructor options for both biases, one, or none."""
    return BIASES[request.param]


@pytest.fixture(params=["fast", "reference"])
def module(request):
    """Where LSTM, GRU and RNN come from: both backends have the same front."""
    return pylstm if request.param == "fast" else pylstm.reference
