"""Files of models: `saving` says what they mean and `reading` makes models of it again, with `structure` for both;
`tensors` has how they are laid out, `strict_json` and `atomic` how they are read and written."""

from .._names import lazy

__getattr__, __dir__ = lazy(__name__)
