"""Warnings that point at the user's line, whatever way the call took through the library."""

from __future__ import annotations

import os
import sys
import warnings

_HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """A warning of the first frame that is none of the library's."""
    level, frame = 1, sys._getframe()
    while frame.f_code.co_filename.startswith(_HERE) and frame.f_back is not None:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)
