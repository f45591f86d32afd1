"""Files of parameters alone: the formats of `files`, without a structure."""

from __future__ import annotations

import json
import os
from typing import Any, BinaryIO

from ..layers.parameters import outside
from .streams import place_of
from .strict_json import ModelFileError, parse
from .tensors import opened, write

_HEAD = {"format": "pylstm weights", "version": 1}


def save(layer: Any, path: str | os.PathLike[str] | BinaryIO, format: str | None) -> None:  # noqa: A002
    """Write a layer's parameters by name."""
    place = place_of(path, format, writing=True)
    write(place, json.dumps(_HEAD), outside().run(lambda: dict(layer.params)))


def load(layer: Any, path: str | os.PathLike[str] | BinaryIO, format: str | None) -> None:  # noqa: A002
    """Give a layer the parameters of a file; nothing has changed where they do not fit."""
    with opened(place_of(path, format, writing=False)) as contents:
        head = parse(contents.text)
        if not isinstance(head, dict) or head.get("format") != _HEAD["format"]:
            raise ModelFileError("it is not a file of weights: pylstm.load reads whole models")
        if head.get("version") != _HEAD["version"]:
            raise ModelFileError(
                f"its format is of version {head.get('version')!r:.40}, which this pylstm does not know"
            )
        shapes = {name: tensor.shape for name, tensor in contents.tensors.items()}
        fits = shapes == layer._param_shapes
        arrays = {name: contents.read(name) for name in shapes} if fits else {}
    layer._check_fit(shapes)
    layer.load_state_dict(arrays)
