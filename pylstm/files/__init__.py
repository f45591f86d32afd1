"""Files of models: `saving` says what they mean, `tensors` how they are laid out, `strict_json` and `atomic` how they
are read and written."""

from .._names import lazy

__getattr__, __dir__ = lazy(__name__)
