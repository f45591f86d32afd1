"""Reading models from files. Importing it imports every layer of the library, so that files can name all of them."""

from __future__ import annotations

import os
from typing import BinaryIO

from ..files.reading import read_model
from ..files.streams import place_of
from ..files.tensors import opened
from ..layers import (  # noqa: F401
    activation,
    attention,
    compiled,
    containers,
    convolution,
    dropout,
    embedding,
    linear,
    normalization,
    pooling,
)
from . import encoder_decoder, sequential  # noqa: F401
from .trainable import Trainable


def load(path: str | os.PathLike[str] | BinaryIO, *, format: str | None = None) -> Trainable:  # noqa: A002
    """Read a model that `save` or `ModelCheckpoint` wrote: a `Sequential`, or a class of yours that is registered.

    Executes nothing but the constructors of registered classes, and reads no tensor before all have been checked. A
    file that is replaced meanwhile is read as it was; one that is cut short or written to is a ModelFileError.

    Args:
        path: of an .npz or .safetensors file; or a file that is open for bytes (an open file, `io.BytesIO`, a stream
            that cannot seek), which is read from where it is to its end.
        format: "npz" or "safetensors", for a path with another ending; file objects are known by what is in them.

    Returns:
        The model, with its `metadata`.

    Raises:
        ModelFileError: (a ValueError) the file is damaged or is not such a model; it says what is wrong.
        OSError: the file cannot be read.
        TypeError, ValueError: a wrong argument, a file of text, one that is closed or not open for reading.
    """
    with opened(place_of(path, format, writing=False)) as contents:
        return read_model(contents, training=False)[0]
