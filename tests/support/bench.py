"""The bench, whose modules are no package: its programs put their folder on the path."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "bench"

needs_bench = pytest.mark.skipif(not (BENCH / "run.py").is_file(), reason="needs bench/ beside the tests")


def load(name: str) -> Any:
    """A module of the bench, within a test of tests/tools."""
    return importlib.import_module(name)
