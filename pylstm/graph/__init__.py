"""What is computed inside of `Model.run`, and its gradients.

`operations` are the operations on arrays, each with its derivative; `values` and `functions` what a run computes with,
as methods and as functions; `recording` a run and its tape, and how layers are called in it; `sweep` adds the gradients
up, from the end of the tape. `models.model` and `models.gradients` are made of it.
"""

from .._names import lazy

__getattr__, __dir__ = lazy(__name__)
