"""Looking inside: `trace` of gates and states, `saliency` of inputs, `plots`."""

from .._names import lazy

__getattr__, __dir__ = lazy(__name__)
