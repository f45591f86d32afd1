"""Recurrent networks on the CPU: LSTM, GRU and RNN layers, forward and backward, NumPy arrays in and out."""

try:
    from . import _core
except ImportError as error:
    from pathlib import Path as _Path

    if (_Path(__file__).parent.parent / "csrc").is_dir():
        raise ImportError(
            "this is pylstm's source folder, which has no compiled core. Install it (`pip install .`) and run from "
            "another folder, or as `python examples/x.py` or `pytest`, which do not put this folder on the path."
        ) from error
    raise

from . import reference
from ._config import get_num_threads, release_memory, set_num_threads, show_config
from ._recurrent import Gradients
from ._stream import Stream
from .layers import GRU, LSTM, RNN

__version__ = _core.version

__all__ = ["GRU", "LSTM", "RNN", "Gradients", "Stream", "get_num_threads", "reference", "release_memory", "set_num_threads", "show_config"]
