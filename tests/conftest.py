"""Fixtures that tests of several rooms share: kinds of layers, of biases and backends, and forced plans."""

from __future__ import annotations

import signal

import pytest

import pylstm
import pylstm.reference
from pylstm import _core
from pylstm.graph import recording
from pylstm.layers import containers
from support.variants import BIASES, VARIANTS


@pytest.fixture(params=VARIANTS, ids=lambda v: v.name)
def variant(request):
    return request.param


@pytest.fixture(params=[v for v in VARIANTS if v.in_torch], ids=lambda v: v.name)
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


@pytest.fixture
def sigint_heard():
    """Python's own handler: a process started in the background of a shell ignores the signal, and so do its
    children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def once():
    """Sets whether products are computed once per symbol, and how calls are split."""
    yield lambda way, split=None: _core.force_plan(split, once=way)
    _core.force_plan()


@pytest.fixture
def however_few_symbols(monkeypatch):
    """Rows of tables are kept apart for a few symbols, too."""
    for module in (recording, containers):
        monkeypatch.setattr(module, "FEWEST_SYMBOLS", 0)
