"""Every fault of tools/plant_faults.py can be planted: its text is in the source once, and its tests exist."""

from __future__ import annotations

import pytest

from plant_faults import FAULTS, ROOT

pytestmark = pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="needs the source")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_can_be_planted(name):
    fault = FAULTS[name]
    assert (ROOT / fault.file).read_text(encoding="utf-8").count(fault.old) == 1
    files = [word for word in fault.tests.split() if word.endswith(".py")]
    assert files
    assert all((ROOT / "tests" / file).is_file() for file in files)
