"""Tests of what is for another library are collected where that is installed."""

from __future__ import annotations

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("sklearn") else ["test_sklearn*.py"]
