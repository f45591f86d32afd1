"""What tests of the bench share."""

from __future__ import annotations

import pytest

from support.bench import BENCH, load


@pytest.fixture(autouse=True)
def _bench_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))


@pytest.fixture
def machine():
    """Round numbers: 1 TFLOP/s and two cores; 100, 50, 20 and 10 GB/s for both from L1, L2, L3 and memory."""
    rates = {"float32": 1e12, "float64": 5e11, "l1": 100e9, "l2": 50e9, "l3": 20e9, "memory": 10e9}
    costs = {dtype: {"sigmoid": 1e-10, "tanh": 1e-10} for dtype in ("float32", "float64")}
    caches = {"l1": 32 << 10, "l2": 1 << 20, "l3": 16 << 20}
    return load("calibrate").Calibration("made up", 2, 1e9, caches, rates, rates, 1e-7, costs)
