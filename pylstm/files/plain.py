"""Copies of what goes into files, checked before it is written, so that what is written comes back equal."""

from __future__ import annotations

import math
from typing import Any

from ..data.vocabulary import Vocabulary
from .marks import ODD_KEYS, RANGE_KEYS, KeyCounts, cost, is_range, looks_marked
from .strict_json import DEPTH, DIGITS, LISTS, TEXT_LIMIT, VALUES

_BITS = 3320  # what is sure to fit into so many digits
_SIMPLE = "str, int, finite float, bool, None"
_ALL = f"JSON's types or tuples (dict, list, tuple, {_SIMPLE}), or a Vocabulary"
_Place = tuple[Any, Any]  # (place of the container, key); (None, name) is the outermost


def checked(value: Any, name: str) -> Any:
    """A deep copy of `value` in plain dicts, lists and numbers: what `strict_json.parse` will make of its JSON.

    Raises TypeError or ValueError naming the place, e.g. metadata['a'][3].
    """
    return _Copy(None).of(value, (None, name), 0)


def checked_as_is(value: Any, name: str, counts: KeyCounts) -> tuple[Any, bool]:
    """The same, but tuples stay tuples, vocabularies themselves, and keys may be integers, and tuples of these and str;
    and whether there are any of all these, which only `marks.marked` brings into JSON. Keys are added to `counts`."""
    copy = _Copy(counts)
    return copy.of(value, (None, name), 0), copy.odd


class _Copy:
    def __init__(self, counts: KeyCounts | None) -> None:
        self.types = f"JSON's types (dict with str keys, list, {_SIMPLE})" if counts is None else _ALL
        self.marking, self.counts = counts is not None, counts or KeyCounts()
        self.inside: set[int] = set()  # the containers that we are in
        self.characters = 0  # what they take in the text, at least
        self.values = self.containers = 0
        self.odd = False  # whether there is anything that JSON does not know

    def of(self, value: Any, place: _Place, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return _text(value, place, "")
        if isinstance(value, int):
            return _integer(value, place)
        if isinstance(value, float):
            if not math.isfinite(value):
                raise TypeError(f"{_path(place)} must be of {self.types}, got {float(value)}")
            return float(value)
        if self.marking and type(value) is Vocabulary:
            return self.of_vocabulary(value, place, depth)
        if not isinstance(value, (list, tuple, dict)):
            raise TypeError(f"{_path(place)} must be of {self.types}, got {_kind(value)}{_advice(value)}")
        if id(value) in self.inside:
            raise ValueError(f"{_path(place)} holds itself")
        self.inside.add(id(value))
        copy = self.of_dict(value, place, depth) if isinstance(value, dict) else self.of_list(value, place, depth)
        self.inside.remove(id(value))
        return copy

    def of_list(self, value: Any, place: _Place, depth: int) -> Any:
        odd = self.marking and isinstance(value, tuple)
        inner = self.enter(value, place, depth, 2 if odd else 1)
        self.odd |= odd
        copy = [item if _simple(item) else self.of(item, (place, i), inner) for i, item in enumerate(value)]
        self.count_characters(copy, place)
        return tuple(copy) if odd else copy

    def of_dict(self, value: Any, place: _Place, depth: int) -> Any:
        keys = [key if type(key) is str and key.isascii() else self.key(key, place) for key in value]
        odd = any(type(key) is not str for key in keys)
        inner = self.enter(value, place, depth, 5 if odd else 3 if self.marking and looks_marked(keys) else 1)
        self.odd |= odd
        if odd and is_range(keys):
            self.count_range(keys, place)
        elif odd:
            self.count_odd(keys, place)
        copy: dict[Any, Any] = {}
        for key, (own, item) in zip(keys, value.items(), strict=True):
            if key in copy:
                raise ValueError(f"{_path(place)} has the key {key!r:.80} twice")
            copy[key] = item if _simple(item) else self.of(item, (place, own), inner)
        self.count_characters(keys, place)
        self.count_characters(copy.values(), place)
        return copy

    def of_vocabulary(self, value: Vocabulary, place: _Place, depth: int) -> Vocabulary:
        """Itself: nobody changes it."""
        self.odd = True
        words = value.words
        self.enter(words, place, self.enter(words, place, depth, 3), 1)  # in two lists
        for word in words:
            if not word.isascii():
                _text(word, place, "a word of ")
        self.count_characters(words, place)
        return value

    def key(self, key: Any, place: _Place) -> Any:
        """A key as it will be read."""
        if isinstance(key, str):
            return _text(key, place, "a key of ")
        if self.marking and isinstance(key, int) and not isinstance(key, bool):
            return int(key)
        if self.marking and isinstance(key, tuple) and not any(isinstance(item, tuple) for item in key):
            return tuple([self.key(item, place) for item in key])
        kinds = "str, integers, or tuples of these" if self.marking else "str"
        whole = self.marking and hasattr(key, "__index__") and not isinstance(key, bool)  # NumPy's, above all
        advice = "take int(key)" if whole else "make them so, or keep a list of [key, value]"
        raise TypeError(f"the keys of {_path(place)} must be {kinds}, got {_kind(key)}: {key!r:.80}; {advice}")

    def enter(self, value: Any, place: _Place, depth: int, levels: int) -> int:
        """Count a container, before it is looked into; how deep it is inside of it: in JSON, what stands for it may be
        several in each other."""
        if depth + levels > DEPTH:
            raise ValueError(f"{_path(place)[:200]} is nested too deeply: more than {DEPTH} lists and dicts")
        self.containers, self.values = self.containers + min(levels, 3), self.values + len(value)
        self.characters += 2 + 3 * len(value)
        if self.containers > LISTS:
            raise ValueError(f"{_path(place)[:200]}: a file holds at most {LISTS} lists, tuples and dicts")
        if self.values > VALUES:
            raise ValueError(f"{_path(place)[:200]}: a file holds at most {VALUES} values besides its parameters")
        return depth + levels

    def count_odd(self, keys: list[Any], place: _Place) -> None:
        try:
            self.counts.odd += sum(map(cost, keys))
        except ValueError as error:
            raise ValueError(f"{_path(place)[:200]}: {error}; make them str") from None
        self.containers += sum([3 if type(key) is tuple else 1 for key in keys])  # a pair for each, and tuples
        if self.counts.odd > ODD_KEYS:
            raise ValueError(
                f"{_path(place)[:200]}: a file holds at most {ODD_KEYS} keys that are integers, unless they count up "
                f"by one, and {ODD_KEYS // 16} tuples with integers: make them str, or keep a list of [key, value]"
            )

    def count_range(self, keys: list[Any], place: _Place) -> None:
        self.counts.in_ranges += len(keys)
        if self.counts.in_ranges > RANGE_KEYS:
            raise ValueError(
                f"{_path(place)[:200]}: a file holds at most {RANGE_KEYS} keys that count up: keep a list of the values"
            )

    def count_characters(self, items: Any, place: _Place) -> None:
        self.characters += sum([len(item) for item in items if type(item) is str])
        if self.characters > TEXT_LIMIT:
            raise ValueError(
                f"{_path(place)[:200]}: a file holds at most {TEXT_LIMIT >> 20} MiB of text besides its parameters"
            )


def _integer(value: int, place: _Place) -> int:
    if int(value).bit_length() > _BITS:
        raise ValueError(f"{_path(place)} is an integer of more than {DIGITS} digits")
    return int(value)


def _advice(value: Any) -> str:
    """What to write instead."""
    if hasattr(value, "tolist"):
        return f": keep its .{'tolist' if getattr(value, 'ndim', 0) else 'item'}()"
    return ": keep a list of it" if isinstance(value, (set, frozenset)) else ""


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
