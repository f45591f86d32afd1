"""JSON of files, read strictly."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

TEXT_LIMIT = 2**28  # bytes of structure and metadata
VALUES = 2**24  # in them: each takes far more memory than the few characters that it may have in the text
DEPTH = 200  # of lists and dicts in each other; far below where Python's own recursion ends
LISTS = 2**19  # and dicts: each takes far more memory still
DIGITS = 1000  # of a number: reading an integer of more takes time that grows with their square
_PIECE = 2**20  # bytes that are looked at together
_NAMED = 2**22  # characters of a text that is read again to name what is wrong with it

_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")  # one character in two halves
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


class ModelFileError(ValueError):
    """A file that is not a model of this library, or a damaged one."""


@contextmanager
def damage_named(name: str) -> Iterator[None]:
    """Whatever the bytes of a file lead to becomes a ModelFileError that names it, but for a lack of memory and errors
    of the system."""
    try:
        yield
    except (MemoryError, OSError):
        raise
    except ModelFileError as error:
        raise ModelFileError(f"{name}: {error}") from None
    except Exception as error:
        raise ModelFileError(f"{name} is damaged: {type(error).__name__}: {str(error)[:300]}") from error


def parse(text: str, most: int = VALUES) -> Any:
    """JSON of at most `most` values, without duplicate keys, NaN, infinities and lone surrogates.

    In a time that grows with the length of the text, and in at most some 32 times its memory.
    """
    pairs = check_size(text, most)
    counted = 0

    def count(found: dict[str, Any]) -> dict[str, Any]:
        nonlocal counted
        counted += len(found)
        return found

    try:
        value = json.loads(text, object_hook=count, parse_constant=_constant, parse_float=_finite)
        if counted != pairs:  # of two equal keys a dict keeps one
            if len(text) <= _NAMED:
                json.loads(text, object_pairs_hook=_unique)
            raise ModelFileError("duplicate key: a dict has one of its keys twice")
    except RecursionError:
        raise ModelFileError("the structure is nested too deeply") from None
    except ModelFileError:
        raise
    except ValueError as error:
        raise ModelFileError(f"the structure is not JSON: {error}") from error
    return value


def encodable(text: str) -> bytes:
    """The text as UTF-8."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _half() from None


def _half() -> ModelFileError:
    return ModelFileError("there is half a character (a lone surrogate) in the text")


def check_size(text: str, most: int = VALUES) -> int:
    """How deep the text is nested, how many values it holds and how long its numbers are, before anything is made of
    it; returns how many keys there are."""
    data = encodable(text)
    if b"\\" in data:
        data = data.replace(b"\\\\", b"  ")
        if b"\\u" in data and _HALF.search(_PAIR.sub(b"", data)):
            raise _half()
        data = data.replace(b'\\"', b"  ")
    quotes = np.uint8(0)  # of which only the last bit is right: whether we are in a string
    depth = lists = values = keys = digits = 0
    for start in range(0, len(data), _PIECE):
        piece = np.frombuffer(data, np.uint8, min(_PIECE, len(data) - start), start)
        before = np.cumsum(piece == ord('"'), dtype=np.uint8) + quotes
        quotes = before[-1]
        piece = piece * (~before & 1)  # what stands in a string becomes 0
        opens, closes = (piece | 0x20) == ord("{"), (piece | 0x20) == ord("}")  # and [ and ]
        opened, keys = int(np.count_nonzero(opens)), keys + int(np.count_nonzero(piece == ord(":")))
        lists, values = lists + opened, values + opened + int(np.count_nonzero(piece == ord(",")))
        if values > most:
            raise ModelFileError(f"the text holds more than {most} values")
        if lists > LISTS:
            raise ModelFileError(f"the structure holds more than {LISTS} lists and dicts")
        steps = opens[np.flatnonzero(opens | closes)]
        if len(steps):
            depths = depth + np.cumsum(np.where(steps, 1, -1))
            depth = int(depths[-1])
            if depths.max() > DEPTH:
                raise ModelFileError(f"the structure is nested too deeply: more than {DEPTH} lists and dicts")
        others = np.flatnonzero(piece - np.uint8(ord("0")) > 9)
        longest = digits + int(others[0] if len(others) else len(piece))
        if len(others):
            digits = len(piece) - 1 - int(others[-1])
            longest = max(longest, int(np.diff(others).max(initial=1)) - 1)
        else:
            digits = longest
        if max(longest, digits) > DIGITS:
            raise ModelFileError(f"the structure is not JSON of ours: a number of more than {DIGITS} digits")
    return keys


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ModelFileError(f"duplicate key {name[:80]!r}")
            seen.add(name)
    return found


def _constant(word: str) -> Any:
    raise ModelFileError(f"{word} is not a number in JSON")


def _finite(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ModelFileError(f"{word[:80]} is beyond float64")
    return value
