"""`torch.nn.LSTM`, `GRU` and `RNN` computed by pylstm, on the CPU; needs PyTorch, which pylstm does not install."""

try:
    from torch.library import register_vmap as _newest  # noqa: F401 - what 2.5 brought
except ImportError as error:
    raise ImportError(
        "pylstm.torch needs PyTorch 2.5 or newer; `pip install torch==2.13.0` is the CPU build, "
        "and a bare `torch` brings gigabytes for graphics cards"
    ) from error

from .adapters.pytorch.modules import GRU, LSTM, RNN
from .adapters.pytorch.replacing import replace_recurrent

__all__ = ["GRU", "LSTM", "RNN", "replace_recurrent"]
