"""The classes of layers that a model's file may name."""

from __future__ import annotations

from typing import Any, TypeVar

Class = TypeVar("Class", bound="type[Any]")

_built_in: dict[str, type[Any]] = {}


def built_in(kind: Class) -> Class:
    """Decorator of the library's own layers: files know them by the name of the class."""
    _built_in[kind.__name__] = kind
    return kind


def built_in_class(name: object) -> type[Any] | None:
    """The library's class of that name, once its module has been imported."""
    return _built_in.get(name) if isinstance(name, str) else None
