"""What `fit` does: the `loop`, its `data`, `optimizers`, `schedules`, `callbacks`, `checkpoint` and `progress`."""

from .._names import lazy

__getattr__, __dir__ = lazy(__name__)
