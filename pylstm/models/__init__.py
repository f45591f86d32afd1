"""Whole models: `sequential`, and `loading` them from files."""

from .._names import lazy

__getattr__, __dir__ = lazy(__name__)
