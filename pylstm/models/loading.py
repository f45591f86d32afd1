"""Reading models from files. Importing it imports every layer of the library, so that files can name all of them."""

from __future__ import annotations

import os

from .. import _checks
from ..files.saving import read_model
from ..files.tensors import opened
from ..layers import activation, compiled, containers, dropout, embedding, linear, pooling  # noqa: F401
from .sequential import Sequential


def load(path: str | os.PathLike[str]) -> Sequential:
    """Read a model that `Sequential.save` or `ModelCheckpoint` wrote.

    Never executes anything, and reads no tensor before all have been checked. A file that is replaced meanwhile is read
    as it was; one that is cut short or written to is a ModelFileError.

    Args:
        path: of an .npz or .safetensors file.

    Returns:
        The `Sequential`, with its `metadata`.

    Raises:
        ModelFileError: (a ValueError) the file is damaged or is not such a model; it says what is wrong.
        OSError: the file cannot be read.
    """
    with opened(_checks.path("path", path)) as contents:
        return read_model(contents, training=False)[0]
