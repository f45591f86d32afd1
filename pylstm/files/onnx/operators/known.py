"""All operators: importing it fills the registry."""

from . import convolutions, elementwise, indexing, products, quantised, recurrent, reductions, shapes  # noqa: F401
from .registry import build, known_operators

__all__ = ["build", "known_operators"]
