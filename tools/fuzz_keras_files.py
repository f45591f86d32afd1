"""A coverage-guided fuzz of files of Keras. `python tools/fuzz_keras_files.py --minutes 10`.

Good files of every kind are changed: bytes anywhere, numbers of their HDF5 structures, words and values of configs.
What reaches lines of the reader that no file has reached before is kept, and changed further. A file is refused with a
ValueError that has words, or it is loaded. Never another exception, more than 64 MiB and eight times the file, or two
seconds of the processor.
"""

from __future__ import annotations

import collections
import io
import json
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np

import pylstm
from fuzz_loop import Promises, arguments, limited, run, search, words
from fuzz_mutations import INTERESTING, broken, pick

VALUES = [
    None, True, False, 0, 1, 2, -1, 3, 7, 2**31, 2**62, 0.5, -0.5, 1e300, "", "x", "relu", "linear", "softmax", "sum",
    "ave", "same", "causal", [], [1], [1, 2], [None, None, 3], ["a", 0, 0], {}, {"class_name": "LSTM"},
]  # fmt: skip
KINDS = [
    "LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "TimeDistributed", "Dense", "Embedding", "Masking", "Conv1D",
    "Add", "Concatenate", "Dot", "Attention", "AdditiveAttention", "MultiHeadAttention", "BatchNormalization",
    "LayerNormalization", "GlobalMaxPooling1D", "MaxPooling1D", "Flatten", "Reshape", "Permute", "RepeatVector",
    "Sequential", "Functional", "Lambda", "NotEqual", "Softmax", "InputLayer",
]  # fmt: skip


class KerasPromises(Promises):
    def check(self, data: bytes) -> str:
        """How it went, or raises."""
        path = self.folder / "model"
        path.write_bytes(data)
        model = made()
        how = "refused"
        with limited(len(data)), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for given in ((), (model,)):
                began = time.thread_time()
                try:
                    pylstm.from_keras(path, *given)
                    how = "loaded"
                except ValueError as error:
                    words(error)
                self.in_time(began)
        return how


def made() -> pylstm.Sequential:
    return pylstm.Sequential([
        pylstm.Embedding(5, 3), pylstm.LSTM(3, 2, batch_first=True, bidirectional=True), pylstm.Dropout(0.1),
        pylstm.Conv1d(4, 2, 2), pylstm.GRU(2, 2, batch_first=True), pylstm.LastStep(), pylstm.LayerNorm(2),
        pylstm.Linear(2, 2), pylstm.Activation("softmax"),
    ], seed=0)  # fmt: skip


def seeds(folder: Path) -> list[bytes]:
    """Good files: a chain in all kinds of files, and graphs."""
    chain, found = made(), []
    for end in (".keras", ".h5", ".weights.h5"):
        path = folder / f"seed{end}"
        pylstm.to_keras(chain, path)
        found.append(path.read_bytes())
    return [*found, graph_of(found[0])]


def graph_of(data: bytes) -> bytes:
    """The chain as a graph, in which every layer says what it is called with."""

    def tensor(name):
        return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}

    def change(config):
        layers, before = config["config"]["layers"], None
        for layer in layers:
            name = layer["config"]["name"]
            layer["name"] = name
            if layer["class_name"] == "GRU":
                layer["config"].update(stateful=True, recurrent_dropout=0.3)
            layer["inbound_nodes"] = [] if before is None else [{"args": [tensor(before)], "kwargs": {}}]
            before = name
        config["class_name"] = "Functional"
        config["config"]["input_layers"] = [[layers[0]["name"], 0, 0]]
        config["config"]["output_layers"] = [[before, 0, 0]]
        return config

    return with_config(data, change)


def with_config(data: bytes, change) -> bytes:
    """The archive again, with another config."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, value in entries:
            if name == "config.json":
                value = json.dumps(change(json.loads(value))).encode()
            archive.writestr(zipfile.ZipInfo(name), value)
    return buffer.getvalue()


def with_weights(data: bytes, rng: np.random.Generator) -> bytes:
    """The archive again, with other bytes in its weights, and a checksum that fits."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, value in entries:
            archive.writestr(zipfile.ZipInfo(name), other_hdf5(value, rng) if name.endswith(".h5") else value)
    return buffer.getvalue()


def other_hdf5(data: bytes, rng: np.random.Generator) -> bytes:
    """A number of a structure is another one: mostly one that stands where structures begin."""
    changed = bytearray(data)
    marks = [at for sign in (b"TREE", b"SNOD", b"HEAP", b"GCOL", b"\x01\x00") for at in places(data, sign)]
    at = int(pick([*marks, 0], rng)) + int(rng.integers(0, 96))
    width = int(pick([1, 2, 4, 8], rng))
    if at + width > len(changed):
        return broken(data, rng)
    value = int(pick([*INTERESTING[:20], *(place for place in marks)], rng)) % 2 ** (8 * width)
    changed[at : at + width] = value.to_bytes(width, "little")
    return bytes(changed)


def places(data: bytes, sign: bytes) -> list[int]:
    found, at = [], data.find(sign)
    while at >= 0 and len(found) < 60:
        found.append(at)
        at = data.find(sign, at + 1)
    return found


def other_config(value, rng: np.random.Generator):
    """One place of it is another one."""
    spots: list = []

    def walk(here):
        for key in list(here) if isinstance(here, dict) else range(len(here)):
            spots.append((here, key))
            if isinstance(here[key], (dict, list)):
                walk(here[key])

    walk(value)
    here, key = spots[int(rng.integers(len(spots)))]
    kind = int(rng.integers(5))
    if kind == 0 and isinstance(here, dict):
        here.pop(key)
    elif key == "class_name":
        here[key] = pick(KINDS, rng)
    elif kind == 1:
        other, name = spots[int(rng.integers(len(spots)))]
        here[key] = json.loads(json.dumps(other[name]))
    else:
        here[key] = pick(VALUES, rng)
    return value


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Another file: mostly one that is right but for a few things."""
    for _ in range(int(pick([1, 1, 1, 2, 3], rng))):
        try:
            if data[:2] == b"PK" and rng.random() < 0.9:
                if rng.random() < 0.7:
                    data = with_config(data, lambda config: other_config(config, rng))
                else:
                    data = with_weights(data, rng)
            elif data[:4] == b"\x89HDF" and rng.random() < 0.8:
                data = other_hdf5(data, rng)
            else:
                data = broken(data, rng)
        except Exception:  # noqa: PERF203  too broken to be taken apart
            data = broken(data, rng)
    return data[:100_000]


def fuzz(seed: int, **options) -> collections.Counter:
    """As `search` does it; the good files are changed oftener."""
    return search(KerasPromises, seeds, mutate, (tuple(range(4)),), seed, **options)


def main() -> None:
    run(arguments(__doc__.split("\n\n")[0], 10.0).parse_args(), KerasPromises, fuzz)


if __name__ == "__main__":
    main()
