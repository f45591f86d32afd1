"""The classes that a model's file may name: the library's own, and those of users that are registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from .. import _checks
from .layer import Layer

Class = TypeVar("Class", bound="type[Any]")

_built_in: dict[str, type[Any]] = {}
_registered: dict[str, type[Any]] = {}
_LONGEST = 200  # characters of a name


def built_in(kind: Class) -> Class:
    """Decorator of the library's own layers: files know them by the name of the class."""
    _built_in[kind.__name__] = kind
    return kind


def built_in_class(name: object) -> type[Any] | None:
    """The library's class of that name, once its module has been imported."""
    return _built_in.get(name) if isinstance(name, str) else None


@overload
def register(name: Class) -> Class: ...
@overload
def register(name: str) -> Callable[[Class], Class]: ...
def register(name: Any) -> Any:
    """Decorator of a layer or model class of your own, so that files may hold it.

    A file holds the arguments that make the object (`get_config`, by default the attributes that have the names of the
    constructor's arguments) and its parameters. `pylstm.load` makes it anew with `from_config`, by default the
    constructor, where a class is registered under that name: import the module that holds it first. No other code is
    ever run for a file.

    Args:
        name: what files call it; without one, as a plain `@pylstm.register`, the name of the class.

    Returns:
        The class itself; given a name, a decorator.

    Raises:
        TypeError: it is no class of layers or models, or the name is no string.
        ValueError: the name is taken, or cannot be one.

    >>> @pylstm.register
    ... class Tagger(pylstm.Model):
    ...     def __init__(self, words, size, tags):
    ...         self.words, self.size, self.tags = words, size, tags
    ...         self.embed, self.head = pylstm.Embedding(words, size), pylstm.Linear(size, tags)
    ...     def run(self, x, lengths=None):
    ...         return self.head(self.embed(x))
    >>> Tagger(1000, 32, 5).get_config()
    {'words': 1000, 'size': 32, 'tags': 5}
    """
    if isinstance(name, type):
        return _register(name.__name__, name)
    text = _checks.text("name", name)
    if not text.isprintable() or not 0 < len(text) <= _LONGEST:
        raise ValueError(f"name must be 1 to {_LONGEST} printable characters, got {text[:80]!r}")
    return lambda kind: _register(text, kind)


def _register(name: str, kind: Any) -> Any:
    if not isinstance(kind, type) or not issubclass(kind, Layer):
        raise TypeError(f"register is for classes of layers and models, got {_checks.kind(kind)}")
    if kind in _built_in.values():
        raise ValueError(f"{kind.__name__} is the library's own, which files know already")
    before = _built_in.get(name, _registered.get(name))
    # a cell of a notebook that is run again makes the same class anew
    if before is not None and (before.__module__, before.__qualname__) != (kind.__module__, kind.__qualname__):
        raise ValueError(f"the name {name!r} is taken, by {before.__module__}.{before.__qualname__}: register another")
    _registered[name] = kind
    return kind


def registered_class(name: object) -> type[Any] | None:
    """The class that somebody registered under that name."""
    return _registered.get(name) if isinstance(name, str) else None


def registered_name(kind: type[Any]) -> str | None:
    """What files call a class that is registered; None: it is not, though a class that it derives from may be."""
    return next((name for name, known in list(_registered.items()) if known is kind), None)
