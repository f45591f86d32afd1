"""From a model's outputs to symbols."""

from .._names import lazy

__getattr__, __dir__ = lazy(__name__)
