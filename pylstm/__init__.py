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

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from . import reference
from ._config import get_num_threads, release_memory, set_num_threads, show_config
from ._recurrent import Gradients
from ._stream import Stream
from .layers import GRU, LSTM, RNN

if _TYPE_CHECKING:
    from . import model
    from .model import *  # noqa: F403

__version__ = _core.version

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Gradients",
    "Stream",
    "get_num_threads",
    "model",
    "reference",
    "release_memory",
    "set_num_threads",
    "show_config",
]


def __getattr__(name: str) -> _Any:
    """`pylstm.Sequential` and all else that `pylstm.model` lists: imported on first use, so that a script which only
    runs a layer does not wait for it (it would double the time of `import pylstm`)."""
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    models = importlib.import_module(".model", __name__)
    if name == "model":
        return models
    if name not in models.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(models, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("model").__all__})
