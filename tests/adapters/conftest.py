"""Tests of what is for another library are collected where that is installed."""

from __future__ import annotations

import importlib.util

NEEDS = {"test_sklearn*.py": "sklearn", "test_torch*.py": "torch", "test_jax*.py": "jax"}

collect_ignore_glob = [files for files, library in NEEDS.items() if importlib.util.find_spec(library) is None]
