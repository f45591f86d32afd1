"""Files of Keras 1, 2 and 3, read without Keras: `containers` opens them, `config` says which layers there are and what
they are called with, `weights` which numbers are whose."""

from ..._names import lazy

__getattr__, __dir__ = lazy(__name__)
