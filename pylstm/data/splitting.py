"""Texts cut into words and characters, and joined again."""

from __future__ import annotations

import functools
import re
import unicodedata

# Scripts that put no space between words, of which each character is one: Han and what stands among it, Hiragana,
# Katakana, Bopomofo; Thai, Lao, Myanmar, Khmer. (Korean has spaces.)
_UNSPACED = [
    (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3041, 0x30FF), (0x3105, 0x312F), (0x31A0, 0x31BF), (0x31F0, 0x31FF),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F), (0x20000, 0x3FFFF),
    (0x0E01, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF),
]  # fmt: skip
_FULL_WIDTH = [(0x3000, 0x303F), (0xFF00, 0xFF65)]  # punctuation that brings its space along
_CLOSING = frozenset(".,;:!?)]}%…")  # before which there is no space
_JOINERS = [(0x200C, 0x200D)]  # in Persian and Indic words, and in emoji
_SELECTORS = [(0xFE00, 0xFE0F), (0xE0100, 0xE01EF)]  # of variants of the character before

WAYS = ("words", "characters", "spaces")


def split(text: str, by: str) -> list[str]:
    """The words of a text, as `Vocabulary` describes `by`."""
    if by == "characters":
        return list(text)
    return text.split() if by == "spaces" else _words().findall(text)


def join(words: list[str], by: str) -> str:
    """A text of these words: with spaces between them, but not before punctuation that closes, or in scripts that have
    none."""
    if by != "words":
        return ("" if by == "characters" else " ").join(words)
    tight = _tight()
    parts: list[str] = []
    for i, word in enumerate(words):
        if i and word not in _CLOSING and not (tight.match(word) and tight.match(words[i - 1])):
            parts.append(" ")
        parts.append(word)
    return "".join(parts)


@functools.cache
def _words() -> re.Pattern[str]:
    category = unicodedata.category
    marks = [code for code in range(0x300, 0x1F000) if category(chr(code)) in ("Mn", "Mc", "Me")]
    mark = "".join(map(_range, [*_runs(marks), *_JOINERS, *_SELECTORS]))
    unspaced = "".join(map(_range, _UNSPACED))
    letter = rf"[^\W{unspaced}]"
    part = rf"(?:{letter}+[{mark}]*)+"
    number = r"(?<=\d)[.,](?=\d)"
    return re.compile(
        f"[{unspaced}][{mark}]*"
        f"|{part}(?:(?:['\u2019]|{number}){part})*"
        rf"|\S(?:\u200d\S|[{mark}])*"
    )


@functools.cache
def _tight() -> re.Pattern[str]:
    return re.compile(f"[{''.join(map(_range, [*_UNSPACED, *_FULL_WIDTH]))}]")


def _runs(codes: list[int]) -> list[tuple[int, int]]:
    """Rising numbers as ranges, first and last."""
    found: list[tuple[int, int]] = []
    for code in codes:
        if found and code == found[-1][1] + 1:
            found[-1] = found[-1][0], code
        else:
            found.append((code, code))
    return found


def _range(ends: tuple[int, int]) -> str:
    return f"{re.escape(chr(ends[0]))}-{re.escape(chr(ends[1]))}"
