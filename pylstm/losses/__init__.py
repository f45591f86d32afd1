"""Losses: each gives its value, the mean over what counts, and the gradient of that mean."""

from .._names import lazy

__getattr__, __dir__ = lazy(__name__)
