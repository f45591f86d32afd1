"""The old name of what is now in `layers`, `losses`, `training`, `files`, `inspect` and `models`.

`pylstm.model.Name` is `pylstm.Name`, which to prefer.
"""

from __future__ import annotations

import importlib
from typing import Any

from ._names import PLACES


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__package__}.{PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *PLACES})
