"""A build with a sanitizer finds the faults planted for it: `nox -s asan tsan valgrind` run this with the rest."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pylstm import _core

# What each checker has to say of which fault; PYLSTM_CHECKER names the one that watches.
REPORTS = {
    "asan": {"out of bounds": "heap-buffer-overflow", "undefined": "signed integer overflow"},
    "tsan": {"race": "data race"},
    "valgrind": {"uninitialised": "uninitialised value", "out of bounds": "Invalid read of size 4"},
}
CHECKER = os.environ.get("PYLSTM_CHECKER", "")


@pytest.mark.skipif(not hasattr(_core, "planted_fault"), reason="no build with PYLSTM_PLANT_FAULTS")
@pytest.mark.parametrize("fault", REPORTS.get(CHECKER, {}))
def test_a_planted_fault_is_found(fault):
    script = f"from pylstm import _core; _core.planted_fault({fault!r})"
    command = [*os.environ.get("PYLSTM_CHECK_WITH", "").split(), sys.executable, "-c", script]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=os.path.dirname(sys.executable), check=False, timeout=300
    )
    assert REPORTS[CHECKER][fault] in done.stderr
    assert done.returncode != 0


def test_a_release_has_no_planted_faults():
    assert hasattr(_core, "planted_fault") == bool(CHECKER)
