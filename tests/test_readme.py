"""The README's Python runs as it stands, block after block."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).resolve().parents[1] / "README.md"

pytestmark = pytest.mark.skipif(not README.is_file(), reason="needs the README beside the tests")


def test_python_blocks_run():
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) >= 4
    names: dict[str, object] = {}
    ran = 0
    for block in blocks:
        if "torch." in block:
            if importlib.util.find_spec("torch") is None:
                continue
            import torch

            names["torch"] = torch
        exec(compile(block, str(README), "exec"), names)
        ran += 1
    assert ran >= 3
    assert np.square(names["output"]).mean() < 1e-2  # the training example has learned its target
    assert names["stream"].state[0].any()
