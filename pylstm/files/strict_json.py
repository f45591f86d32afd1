"""JSON for files: read strictly, and checked before it is written, so that what is written comes back equal."""

from __future__ import annotations

import json
import math
import re
from typing import Any

_DEPTH = 200  # of lists and dicts in each other; far below where Python's own recursion ends
_LISTS = 2**19  # and dicts: each takes far more memory than the two characters that it may have in the text
_DIGITS = 1000  # of an integer: reading more takes time that grows with their square
_BITS = 3320  # what is sure to fit into so many digits
_MOST = 2**22  # characters, counted roughly: no text that may be written is longer

_STRINGS = re.compile(r'"[^"]*"?')  # once what is escaped is gone; linear on any text, and without a stack
_NO_BRACKETS = re.compile(r"[^][{}]+")
_TYPES = "JSON's types (dict with str keys, list, str, int, finite float, bool, None)"


class ModelFileError(ValueError):
    """A file that is not a model of this library, or a damaged one."""


# ---- reading ---------------------------------------------------------------------------------------------------------


def parse(text: str, most: int | None = None) -> Any:
    """JSON of at most `most` values, without duplicate keys, NaN, infinities and lone surrogates."""
    encodable(text)
    check_size(text, most)
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_constant, parse_int=_integer, parse_float=_finite
        )
        if "\\u" in text:  # the only way in which half a character can still come in
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ModelFileError("the structure is nested too deeply") from None
    except UnicodeEncodeError:
        raise ModelFileError("there is half a character (a lone surrogate) in the text") from None
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
        raise ModelFileError("there is half a character (a lone surrogate) in the text") from None


def check_size(text: str, most: int | None = None) -> None:
    """How deep the text is nested, and how many values it holds, before anything is made of it."""
    bare = _STRINGS.sub("", text.replace("\\\\", "").replace('\\"', ""))
    if most is not None and bare.count(",") + bare.count("[") + bare.count("{") > most:
        raise ModelFileError(f"the text holds more than {most} values")
    if bare.count("[") + bare.count("{") > _LISTS:
        raise ModelFileError(f"the structure holds more than {_LISTS} lists and dicts")
    depth = 0
    for bracket in _NO_BRACKETS.sub("", bare):
        depth += 1 if bracket in "[{" else -1
        if depth > _DEPTH:
            raise ModelFileError(f"the structure is nested too deeply: more than {_DEPTH} lists and dicts")


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


def _integer(word: str) -> int:
    if len(word) > _DIGITS:
        raise ModelFileError(f"the structure is not JSON of ours: a number of {len(word)} digits")
    return int(word)


def _finite(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ModelFileError(f"{word[:80]} is beyond float64")
    return value


# ---- writing ---------------------------------------------------------------------------------------------------------

_Place = tuple[Any, Any]  # (place of the container, key); (None, name) is the outermost


def checked(value: Any, name: str) -> Any:
    """A deep copy of `value` in plain dicts, lists and numbers: what `parse` will make of its JSON.

    Raises TypeError or ValueError naming the place, e.g. metadata['a'][3].
    """
    return _Copy().of(value, (None, name), 0)


class _Copy:
    def __init__(self) -> None:
        self.inside: set[int] = set()  # the containers that we are in
        self.count = 0  # what they take in the text, at least

    def of(self, value: Any, place: _Place, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return _text(value, place, "")
        if isinstance(value, int):
            if int(value).bit_length() > _BITS:
                raise ValueError(f"{_path(place)} is an integer of more than {_DIGITS} digits")
            return int(value)
        if isinstance(value, float):
            if not math.isfinite(value):
                raise TypeError(f"{_path(place)} must be of {_TYPES}, got {float(value)}")
            return float(value)
        if not isinstance(value, (list, tuple, dict)):
            raise TypeError(f"{_path(place)} must be of {_TYPES}, got {_kind(value)}")
        if id(value) in self.inside:
            raise ValueError(f"{_path(place)} holds itself")
        if depth >= _DEPTH:
            raise ValueError(f"{_path(place)[:200]} is nested too deeply: more than {_DEPTH} lists and dicts")
        self.count += 2 + 3 * len(value)
        if self.count > _MOST:
            raise ValueError(f"{_path(place)[:200]}: more than {_MOST >> 20} MiB of text are no description of a model")
        self.inside.add(id(value))
        copy: Any
        if isinstance(value, dict):
            copy = {}
            for key, item in value.items():
                if not isinstance(key, str):
                    raise TypeError(f"the keys of {_path(place)} must be str, got {_kind(key)}: {key!r:.80}")
                name = _text(key, place, "a key of ")
                if name in copy:
                    raise ValueError(f"{_path(place)} has the key {name!r:.80} twice")
                copy[name] = item if _simple(item) else self.of(item, (place, key), depth + 1)
        else:
            copy = [item if _simple(item) else self.of(item, (place, i), depth + 1) for i, item in enumerate(value)]
        self.inside.remove(id(value))
        return copy


def _simple(item: Any) -> bool:
    """What needs no second look: most of a vocabulary."""
    kind = type(item)
    return (kind is str and item.isascii()) or (kind is int and -(2**63) <= item < 2**63)


def _text(value: str, place: _Place, what: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what}{_path(place)} holds half a character (a lone surrogate): {value!r:.80}") from None
    plain: str = str.__str__(value)  # of an enumeration of strings its value, not its name
    return plain


def _path(place: _Place) -> str:
    keys = []
    while place[0] is not None:
        keys.append(f"[{place[1]!r:.80}]")
        place = place[0]
    return f"{place[1]}{''.join(reversed(keys))}"


def _kind(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
