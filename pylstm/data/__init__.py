"""From what users have, long series and texts, to what models are given."""

from .._names import lazy

__getattr__, __dir__ = lazy(__name__)
