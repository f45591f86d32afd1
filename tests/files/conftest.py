"""The kinds of model files."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["npz", "safetensors"])
def suffix(request):
    """The end of a file's name; left out where the library is missing."""
    if request.param == "safetensors":
        pytest.importorskip("safetensors")
    return request.param
