"""Files of ONNX, in and out, with NumPy alone."""

from ..._names import lazy

__getattr__, __dir__ = lazy(__name__)
