"""Models as files that Keras 3 loads."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..._arrays import Array
from ..hdf5.writing import MOST_INLINE, Tree, written

ENDS = (".weights.h5", ".keras", ".h5")  # the longest first
_DATE = (1980, 1, 1, 0, 0, 0)  # so that the same model is the same file


class Part(NamedTuple):
    """What has arrays in a layer: the way to it, the arrays, and how many, the last ones, are no parameters."""

    way: str
    arrays: list[Array]
    states: int = 0


class Layer(NamedTuple):
    """A layer of the model.

    Attributes:
        group: its name in .keras files, "lstm_1".
        name: its name.
    """

    group: str
    name: str
    parts: list[Part]


def weights_file(layers: Sequence[Layer]) -> bytes:
    """.weights.h5, which is also what a .keras file has inside."""
    root = Tree()
    root.at("vars")
    for layer in layers:
        own = root.at(f"layers/{layer.group}/vars")
        own.attributes["name"] = layer.name
        for part in layer.parts:
            place = root.at(f"layers/{layer.group}/{part.way}/vars")
            for at, array in enumerate(part.arrays):
                place.items[str(at)] = array
    return written(root)


def keras_file(config: Any, version: str, layers: Sequence[Layer]) -> bytes:
    """.keras."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (
            ("metadata.json", _json({"keras_version": version, "date_saved": "1980-01-01@00:00:00"}).encode()),
            ("config.json", _json(config).encode()),
            ("model.weights.h5", weights_file(layers)),
        ):
            archive.writestr(zipfile.ZipInfo(name, _DATE), data)
    return buffer.getvalue()


def h5_file(config: Any, version: str, layers: Sequence[Layer]) -> bytes:
    """.h5 with a whole model."""
    about = {"keras_version": version, "backend": "tensorflow"}
    root = Tree({**about, "model_config": _json(config)})
    weights = root.at("model_weights")
    weights.attributes.update(about)
    weights.attributes.update(_cut("layer_names", [layer.name for layer in layers]))
    for layer in layers:
        own = weights.at(layer.name)
        first: list[str] = []
        last: list[str] = []
        for part in layer.parts:
            for at, array in enumerate(part.arrays):
                state = at - (len(part.arrays) - part.states)
                name = ("moving_mean", "moving_variance")[state] if state >= 0 else str(at)
                way = "/".join(one for one in ("weights", part.way) if one)
                own.at(way).items[name] = array
                (last if state >= 0 else first).append(f"{way}/{name}")
        own.attributes.update(_cut("weight_names", first + last))
    top = weights.at("top_level_model_weights")
    top.attributes["weight_names"] = []
    return written(root)


def _cut(name: str, texts: list[str]) -> dict[str, list[str]]:
    """A list as one attribute, or as several, as Keras cuts long ones."""
    width = max((len(text.encode()) for text in texts), default=1)
    count = max(1, MOST_INLINE // width)
    if len(texts) <= count:
        return {name: texts}
    return {f"{name}{k}": texts[at : at + count] for k, at in enumerate(range(0, len(texts), count))}


def _json(value: Any) -> str:
    return json.dumps(value)
