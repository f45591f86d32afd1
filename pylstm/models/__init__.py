"""Whole models: `sequential` for chains, `model` for what is none (with `gradients` and `naming`), and `loading` them
from files."""

from .._names import lazy

__getattr__, __dir__ = lazy(__name__)
