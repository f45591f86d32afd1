"""The instruction sets of this machine."""

from __future__ import annotations

import contextlib

from pylstm import _core


def isas():
    """The instruction sets that this machine and build can run."""
    return list(_core.available_isas())


@contextlib.contextmanager
def use_isa(name):
    """Layers made inside run on this instruction set."""
    before = _core.isa()
    _core.use_isa(name)
    try:
        yield name
    finally:
        _core.use_isa(before)
