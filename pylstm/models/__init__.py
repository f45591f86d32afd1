"""Models written as plain Python."""

from .gradients import value_and_grad
from .model import Model

__all__ = ["Model", "value_and_grad"]
