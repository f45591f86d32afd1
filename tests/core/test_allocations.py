"""Every allocation of the core fails once: a MemoryError, the state as before, and the next call right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("PYLSTM_CHECKER" in os.environ, reason="a sanitizer has an allocator of its own"),
    pytest.mark.skipif(sys.platform != "linux", reason="needs LD_PRELOAD"),
]


def test_every_allocation_of_the_core_fails_once(tmp_path):
    compiler = shutil.which(os.environ.get("CXX", "c++")) or pytest.skip("needs a C++ compiler")
    shim = tmp_path / "failing_allocations.so"
    source = str(TOOLS / "failing_allocations.cpp")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(shim), source, "-ldl"], check=True)
    command = [sys.executable, str(TOOLS / "allocations.py"), str(shim)]
    environment = {**os.environ, "LD_PRELOAD": str(shim), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("fine\n")
