"""Where checkpoints go: paths with an epoch and figures in them. Known to be right before an epoch has been spent."""

from __future__ import annotations

import errno
import os
import string
from collections.abc import Mapping
from pathlib import Path

from .. import _checks
from .atomic import check_replaceable
from .streams import kind_of
from .tensors import safetensors_library

EXAMPLE = 1.0  # of a figure
_HINT = "{epoch} and the figures of the history, e.g. {loss:.3f}, can stand there; {{ and }} are braces themselves"


def check_template(path: str) -> str:
    """`path`, or ValueError if no epoch and figures could make a file's name of it."""
    fill_template(path, None)
    return path


def fixed_folder(path: str) -> bool:
    """Whether neither an epoch nor a figure stands in the folder's name."""
    parts = list(string.Formatter().parse(path))
    first = next((i for i, (_, name, _, _) in enumerate(parts) if name is not None), len(parts))
    return not any(separator in text for text, *_ in parts[first + 1 :] for separator in (os.sep, "/"))


def check_place(path: str, *, fixed: bool) -> None:
    """Raises OSError or ImportError where no file of that name could be written: its folder is not there or cannot be
    written to, another kind of thing is in its place, the library for its kind is missing. Nothing stays behind.

    fixed: the folder will be this one.
    """
    if kind_of(Path(path)) == "safetensors":
        safetensors_library()
    if not fixed:
        return
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "no folder to write to, make it before", folder)
    check_replaceable(path)


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
            raise ValueError(
                f"path {path!r} holds {{{name}}}, but there are only {', '.join(sorted(figures))}"
                f"{_checks.did_you_mean(name, figures)}"
            )
        try:
            value = int(EXAMPLE) if name == "epoch" else EXAMPLE
            parts.append(word := format(value if figures is None else figures[name], form or ""))
        except ValueError as error:
            raise ValueError(f"path {path!r}: {error} in {{{name}:{form}}}") from None
        if not word.isprintable() or any(separator in word for separator in (os.sep, "/")):
            raise ValueError(f"path {path!r}: {{{name}:{form}}} makes no number that a file's name can hold")
    filled = "".join(parts)
    kind_of(Path(filled))
    return filled
