"""Where checkpoints go: paths with an epoch and figures in them. Known to be right before an epoch has been spent."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path

from .tensors import kind_of

EXAMPLE = 1.0  # of a figure
_HINT = "{epoch} and the figures of the history, e.g. {loss:.3f}, can stand there; {{ and }} are braces themselves"


def check_template(path: str) -> str:
    """`path`, or ValueError if no epoch and figures could make a file's name of it."""
    fill_template(path, None)
    return path


def fill_template(path: str, figures: Mapping[str, float] | None) -> str:
    """`path` with the figures in their places; None: any figure will do.

    Only plain names are taken, and only numbers put in: no attribute, no item, no format within a format.
    """
    parts = []
    try:
        fields = list(string.Formatter().parse(path))
    except ValueError as error:
        raise ValueError(f"path {path!r}: {error}. {_HINT}") from None
    for text, name, form, conversion in fields:
        parts.append(text)
        if name is None:
            continue
        if not name.isidentifier() or conversion or "{" in (form or ""):
            raise ValueError(f"path {path!r} holds {{{name}}}: {_HINT}")
        if figures is not None and name not in figures:
            raise ValueError(f"path {path!r} holds {{{name}}}, but there are only {', '.join(sorted(figures))}")
        try:
            value = int(EXAMPLE) if name == "epoch" else EXAMPLE
            parts.append(format(value if figures is None else figures[name], form or ""))
        except ValueError as error:
            raise ValueError(f"path {path!r}: {error} in {{{name}:{form}}}") from None
    filled = "".join(parts)
    kind_of(Path(filled))
    return filled
