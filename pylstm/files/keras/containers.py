"""The files: .keras (a zip with two JSON texts and an HDF5 file), .h5 with a whole model, and weights alone, as
.weights.h5 of Keras 3 or as .h5 of Keras 1 and 2. Which it is, its contents say, and not its name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ... import _checks
from ..hdf5.reading import SIGNATURE, Contents, Group
from ..pytorch import zips
from ..pytorch.spans import Span
from ..sources import File, Memory, opened_raw
from ..strict_json import ModelFileError, damage_named, parse

_CONFIG = 2**26  # bytes of JSON
_CHUNK = 2**20
WANTED = "files of Keras are read: .keras, .h5 of a whole model, .weights.h5"


class KerasFile:
    """What is in a file.

    Attributes:
        config: the model's, parsed; None of weights alone.
        version: of Keras, as a str; "" where the file does not say.
        root: the group with the weights.
        legacy: whether they are grouped by the names of layers, as .h5 files have them.
    """

    def __init__(self, config: Any, version: str, root: Group, legacy: bool) -> None:
        self.config, self.version, self.root, self.legacy = config, version, root, legacy


@contextmanager
def opened(path: Any) -> Iterator[KerasFile]:
    """A path or a file object. Raises ModelFileError, or OSError where it cannot be read."""
    if isinstance(path, (str, os.PathLike)):
        own = _checks.path("path", path)
        if own.is_dir():
            raise IsADirectoryError(
                f"{own.name!r} is a folder, perhaps a TensorFlow SavedModel: in TensorFlow, "
                'tf.keras.models.load_model(folder).save("model.keras")'
            )
        with opened_raw(own) as raw, _checked(File, raw, own.name) as found:
            yield found
    elif callable(getattr(path, "read", None)):
        with _checked(Memory, _taken(path), "the file") as found:
            yield found
    else:
        raise TypeError(f"path must be a path or a file that is open for bytes, got {_checks.kind(path)}")


@contextmanager
def _checked(source: Any, given: Any, name: str) -> Iterator[KerasFile]:
    with damage_named(name):
        file = source(given)
        found = _read(file)
    try:
        yield found
        file.check_unchanged()
    except ModelFileError as error:
        raise ModelFileError(f"{name}: {error}") from None


def _taken(file: Any) -> bytearray:
    data = bytearray()
    while True:
        part = file.read(_CHUNK)
        if not isinstance(part, (bytes, bytearray, memoryview)):
            raise TypeError(f"path is a file whose read gives {_checks.kind(part)}: open it with mode 'rb'")
        if not len(part):
            return data
        data += part
        if data[:2] not in (b"PK", SIGNATURE[:2]):  # a stream without an end is not read for ever
            raise ModelFileError(f"it begins with {bytes(data[:8])!r}: {WANTED}")


def _read(file: File) -> KerasFile:
    head = file.get(0, min(8, file.size))
    try:
        if head[:2] == b"PK":
            return _zip(file)
        if head == SIGNATURE:
            return _hdf5(Contents(file).root)
    except RecursionError:
        raise ModelFileError("it is nested too deeply: it is damaged") from None
    except (UnicodeDecodeError, OverflowError) as error:
        raise ModelFileError(f"it is damaged: {str(error)[:200]}") from None
    if not file.size:
        raise ModelFileError(f"it is empty: {WANTED}")
    if head[:1] in (b"{", b"["):
        raise ModelFileError(f"it is JSON, which has a model's layers and not its weights: {WANTED}")
    raise ModelFileError(f"it begins with {head!r}: {WANTED}")


def _zip(file: File) -> KerasFile:
    entries = zips.directory(file)
    if "config.json" not in entries:
        if "structure.json" in entries:
            raise ModelFileError("it is a model of pylstm's own, which pylstm.load reads")
        if any(name.endswith("data.pkl") for name in entries):
            raise ModelFileError("it holds weights of PyTorch's, which pylstm.from_torch reads")
        raise ModelFileError(f"it is a zip archive without config.json, and not one of Keras': {WANTED}")
    if "model.weights.h5" not in entries:
        raise ModelFileError(
            "it has no model.weights.h5, perhaps because its weights are in several files: save it again without "
            "max_shard_size"
        )
    config = _json(file, entries["config.json"])
    version = ""
    if "metadata.json" in entries:
        metadata = _json(file, entries["metadata.json"])
        said = metadata.get("keras_version") if isinstance(metadata, dict) else None
        version = said if isinstance(said, str) else ""
    weights = _stored(entries["model.weights.h5"])
    weights.check(file)
    contents = Contents(file, weights.at, weights.nbytes)
    return KerasFile(config, version, contents.root, legacy=False)


def _stored(span: Span) -> Span:
    if not span.stored:
        raise ModelFileError(
            f"{span.name[:80]!r} in it is compressed or encrypted, and Keras stores what it writes: save it again"
        )
    return span


def _json(file: File, span: Span) -> Any:
    if span.nbytes > _CONFIG:
        raise ModelFileError(f"{span.name[:80]!r} has {span.nbytes} bytes: more than {_CONFIG} are not read")
    data = bytearray(_stored(span).nbytes)
    span.fill(file, 0, data)
    return parse(data.decode("utf-8"))


def _hdf5(root: Group) -> KerasFile:
    version = root.attributes.get("keras_version")
    config = root.attributes.get("model_config")
    if isinstance(config, str):
        inside = root.group("model_weights")
        if inside is None:
            raise ModelFileError("it has a model's config and no weights (model_weights)")
        version = version if isinstance(version, str) else inside.attributes.get("keras_version")
        if len(config) > _CONFIG:
            raise ModelFileError(f"its model_config has {len(config)} bytes: more than {_CONFIG} are not read")
        return KerasFile(parse(config), version if isinstance(version, str) else "", inside, legacy=True)
    if "layer_names" in root.attributes or "layer_names0" in root.attributes:
        return KerasFile(None, version if isinstance(version, str) else "", root, legacy=True)
    if any(name in root.items for name in ("layers", "_layer_checkpoint_dependencies", "vars")):
        return KerasFile(None, "", root, legacy=False)
    raise ModelFileError(f"it is an HDF5 file, and not one of Keras' (it has {', '.join(root.items)[:200]}): {WANTED}")
