"""Models of Keras: `loading` makes ours of them, `exporting` writes ours for Keras; `chains` says which are a
`Sequential`, `graph` computes the others, of the steps in `layers`."""

from ..._names import lazy

__getattr__, __dir__ = lazy(__name__)
