"""What pictures have in common: matplotlib, which is an optional extra, files, and fonts that have the characters."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from typing import Any

from .. import _checks
from .._warn import warn

_BOXES = ("Last Resort", "LastResort")  # have a box for every character; one comes with matplotlib since 3.11
_CJK = ("CJK", "WenQuanYi", "Droid Sans Fallback", "SimHei", "PingFang", "YaHei", "Song")


def pyplot() -> Any:
    """matplotlib's, or an ImportError that says how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'pylstm[train]'") from error
    return plt


def finish(figure: Any, path: str | os.PathLike[str] | None) -> Any:
    """The figure, written to `path`, if there is one."""
    if path is not None:
        figure.savefig(path, dpi=110)
    return figure


def number_of(texts: Sequence[object]) -> str:
    """What an error says came in place of so many texts."""
    return f"{texts!r:.60}, a single one: a picture's file is path=" if isinstance(texts, str) else str(len(texts))


def by_steps(ax: Any) -> None:
    """An axis of steps, none of which is a fraction."""
    ax.set_xlabel("step")
    ax.xaxis.get_major_locator().set_params(integer=True)


def visible(token: object) -> str:
    """A text as a label shows it."""
    text = str(token)
    return {" ": "␣", "\n": "⏎", "\t": "⇥"}.get(text, text).replace("$", r"\$")


def mark_steps(ax: Any, tokens: Sequence[object]) -> None:
    """A text below each step, upright where all are short."""
    upright = max((len(str(token)) for token in tokens), default=0) <= 2
    ax.set_xticks(range(len(tokens)), list(map(visible, tokens)), rotation=0 if upright else 90)


def fonts(texts: Iterable[object] | None, font: str | None, instead: str) -> tuple[dict[str, Any], bool]:
    """Settings with a font for the texts, and whether there is one; where there is none, a warning says what is shown
    `instead`. Raises TypeError or ValueError for a `font` that is none."""
    from matplotlib import font_manager

    if font is not None:
        if os.path.isfile(font := _checks.text("font", font)):
            font_manager.fontManager.addfont(font)
            font = str(font_manager.FontProperties(fname=font).get_name())
        elif font not in {entry.name for entry in font_manager.fontManager.ttflist}:
            raise ValueError(f"font must be the file of a font, or the name of one that is installed, got {font!r}")
    else:
        wanted = frozenset(ord(char) for text in texts or () for char in visible(text) if char.isprintable())
        needed = frozenset(code for code in wanted if code > 0x7E)
        if not needed or needed <= _characters(font_manager.findfont(font_manager.FontProperties())):
            return {}, True
        font = _found(needed)
        if font is None:
            warn(
                f"no font has these characters, so {instead}: install one (Noto Sans CJK has Chinese, on Debian and "
                "Ubuntu the package fonts-noto-cjk), or give font=",
            )
            return {}, False
    return {"font.family": [font, "DejaVu Sans"]}, True  # by name: what it means is asked when the figure is drawn


def _found(needed: frozenset[int]) -> str | None:
    """The name of an installed font with all these characters, those first that are known for Chinese."""
    from matplotlib import font_manager

    def order(entry: Any) -> tuple[bool, str, str]:
        return not any(mark in entry.name for mark in _CJK), entry.name, entry.fname

    for entry in sorted(font_manager.fontManager.ttflist, key=order):
        if not any(mark in entry.name for mark in _BOXES) and needed <= _characters(entry.fname):
            return str(entry.name)
    return None


@functools.lru_cache(maxsize=512)
def _characters(path: str) -> frozenset[int]:
    from matplotlib import ft2font

    try:
        return frozenset(ft2font.FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # gone since it was listed, or damaged
        return frozenset()
