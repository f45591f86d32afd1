"""Tuples, dicts whose keys are integers and tuples, and vocabularies in JSON, which knows none of them.

A dict of one key that is a mark stands for something else than itself: {"tuple": [..]}, {"dict": [[key, value], ..]},
{"range": [first, [value, ..]]} for the keys first, first + 1, ..., and {"pylstm.Vocabulary": {..}}. A dict that would
look like one of these is written as {"dict": ..}. Only what a file says is marked is read so.

Whoever makes a file chooses its keys, and integers can be chosen so that a dict takes a time that grows with the square
of their number (those of str cannot: Python hashes them with a number of its own). So files hold a limited number of
them; of those that count up, which cost no more than memory but stand nowhere in the text, a larger one.
"""

from __future__ import annotations

import sys
from typing import Any

from ..data.vocabulary import Vocabulary
from .strict_json import ModelFileError

_VOCABULARY = "pylstm.Vocabulary"
_MARKS = ("tuple", "dict", "range", _VOCABULARY)
ODD_KEYS = 2**16  # that are integers, and a sixteenth of it of tuples that hold integers
RANGE_KEYS = 2**20  # that count up
_MOST = sys.hash_info.modulus - 1  # of integers as keys: below it, no two have the same hash


class KeyCounts:
    """Of all metadata of a file that is written."""

    def __init__(self) -> None:
        self.odd = self.in_ranges = 0


def cost(key: Any) -> int:
    """Of a key, in what `ODD_KEYS` counts. Raises ValueError for an integer that is too large."""
    if type(key) is str:
        return 0
    if type(key) is int:
        if abs(key) > _MOST:
            raise ValueError("keys that are integers must be less than 2^61")
        return 1
    return 16 if sum(map(cost, key)) else 0  # it takes nothing to make tuples of one hash


def is_range(keys: list[Any]) -> bool:
    """Whether these are integers that count up by one."""
    first = keys[0]
    return type(first) is int and abs(first) < _MOST - len(keys) and keys == list(range(first, first + len(keys)))


def looks_marked(keys: list[Any]) -> bool:
    """Whether a dict of these keys would be read as something else."""
    return len(keys) == 1 and keys[0] in _MARKS


def marked(value: Any) -> Any:
    """JSON's form of a value that `checked` copied."""
    kind = type(value)
    if kind is list:
        return [marked(item) if type(item) in _HOLD else item for item in value]
    if kind is tuple:
        return {"tuple": [marked(item) for item in value]}
    if kind is Vocabulary:
        return {_VOCABULARY: value.to_dict()}
    if kind is not dict:
        return value
    keys = list(value)
    if all(type(key) is str for key in keys):
        form = {key: marked(item) if type(item) in _HOLD else item for key, item in value.items()}
        return {"dict": [[*pair] for pair in form.items()]} if looks_marked(keys) else form
    if is_range(keys):
        return {"range": [keys[0], [marked(item) for item in value.values()]]}
    return {"dict": [[marked(key), marked(item)] for key, item in value.items()]}


_HOLD = (list, tuple, dict, Vocabulary)


class Unmarking:
    """What `marked` made into JSON, back again: of one file, whose keys it counts."""

    def __init__(self) -> None:
        self._left, self._left_of_ranges = ODD_KEYS, RANGE_KEYS

    def of(self, form: Any) -> Any:
        """The value. Raises ModelFileError."""
        kind = type(form)
        if kind is list:
            return [self.of(item) if type(item) in _HOLD else item for item in form]
        if kind is not dict:
            return form
        if len(form) == 1:
            ((mark, inner),) = form.items()
            if mark in _MARKS:
                return self._marked(mark, inner)
        return {key: self.of(item) if type(item) in _HOLD else item for key, item in form.items()}

    def _marked(self, mark: str, inner: Any) -> Any:
        if mark == _VOCABULARY:
            try:
                return Vocabulary.from_dict(inner)
            except (TypeError, ValueError) as error:
                raise ModelFileError(f"metadata is malformed: {str(error)[:300]}") from None
        _expect(isinstance(inner, list))
        if mark == "tuple":
            return tuple([self.of(item) for item in inner])
        if mark == "range":
            _expect(len(inner) == 2 and type(inner[0]) is int and isinstance(inner[1], list))
            first, values = inner
            _expect(abs(first) < _MOST - len(values))
            self._left_of_ranges -= len(values)
            if self._left_of_ranges < 0:
                raise ModelFileError(f"metadata has more than {RANGE_KEYS} keys that count up")
            return {first + i: self.of(value) for i, value in enumerate(values)}
        found: dict[Any, Any] = {}
        for pair in inner:
            _expect(isinstance(pair, list) and len(pair) == 2)
            key = self._key(pair[0])
            try:
                self._left -= cost(key)
            except ValueError as error:
                raise ModelFileError(f"metadata is malformed: {error}") from None
            if self._left < 0:
                raise ModelFileError(f"metadata has more than {ODD_KEYS} keys that are integers, or tuples of such")
            if key in found:
                raise ModelFileError(f"metadata is malformed: duplicate key {key!r:.80}")
            found[key] = self.of(pair[1])
        return found

    def _key(self, form: Any) -> Any:
        if type(form) in (str, int):
            return form
        _expect(type(form) is dict and list(form) == ["tuple"] and isinstance(form["tuple"], list))
        _expect(all(type(item) in (str, int) for item in form["tuple"]))
        return tuple(form["tuple"])


def _expect(condition: bool) -> None:
    if not condition:
        raise ModelFileError("metadata is malformed: a mark of a tuple or dict does not fit")
