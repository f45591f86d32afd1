"""The whole models that `end_to_end.py` times, and the data that every library gets: the same bits in every process."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

EPOCH = 15_000  # sequences
SENTENCES = Path(__file__).resolve().parents[2] / "shared" / "data" / "sentiment_en" / "train.tsv"
LOG_MEAN, LOG_DEVIATION = 2.93, 0.52  # of the sentences' lengths, for where the file is not there


@dataclass(frozen=True)
class System:
    """Embedding (where `vocabulary` is not 0) -> LSTM -> last step -> dropout -> linear; Adam 1e-3."""

    name: str
    title: str
    steps: int
    width: int  # of the embedding, or the number of features a step
    hidden: int
    batch_size: int
    batches: int  # in a timed part of an epoch
    vocabulary: int = 0
    layers: int = 1
    dropout: float = 0.0
    classes: int = 1  # 1: binary cross-entropy from one output, otherwise cross-entropy
    ragged: bool = False


SYSTEMS = [
    System("1", "emotion of a sentence: Embedding(14322, 256), LSTM(128), Dropout(0.5), Dense(1); 64 steps, batch 128",
           steps=64, width=256, hidden=128, batch_size=128, batches=12, vocabulary=14322, dropout=0.5),
    System("1r", "the same, sentences of differing length",
           steps=64, width=256, hidden=128, batch_size=128, batches=24, vocabulary=14322, dropout=0.5, ragged=True),
    System("2", "film reviews: Embedding(10000, 32), LSTM(100), Dense(1); 500 steps, batch 64",
           steps=500, width=32, hidden=100, batch_size=64, batches=5, vocabulary=10000),
    System("6", "classifier of Keras' tutorials: LSTM(64), Dense(10, softmax); 100 steps of 16 features, batch 32",
           steps=100, width=16, hidden=64, batch_size=32, batches=60, classes=10),
    System("6b", "classifier of PyTorch's tutorials: 2 LSTM(64) layers, Dense(10); 100 steps of 16 features, batch 32",
           steps=100, width=16, hidden=64, batch_size=32, batches=30, layers=2, classes=10),
]  # fmt: skip
BY_NAME = {system.name: system for system in SYSTEMS}


@dataclass(frozen=True)
class Data:
    """x: (N, steps) integers, 0 past a sequence's length, or (N, steps, width); y: (N,) labels; lengths: (N,)."""

    x: Array
    y: Array
    lengths: Array | None
    note: str  # where the lengths are from


def make_data(system: System, batches: int) -> Data:
    """As much as `batches` batches need. Words are random, but as unequal in frequency as words are (Zipf's law):
    the gradient of an embedding is a sum over the places where a word stands."""
    rng = np.random.default_rng(zlib.crc32(system.name.encode()))
    size = batches * system.batch_size
    y = rng.integers(0, max(2, system.classes), size)
    if not system.vocabulary:
        return Data(rng.standard_normal((size, system.steps, system.width), dtype=np.float32), y, None, "")
    frequency = 1.0 / np.arange(1, system.vocabulary)  # of the words 1, 2, ...; 0 is padding
    x = rng.choice(np.arange(1, system.vocabulary), (size, system.steps), p=frequency / frequency.sum())
    if not system.ragged:
        return Data(x, y, None, "")
    lengths, note = sentence_lengths(rng, size, system.steps)
    x[np.arange(system.steps) >= lengths[:, None]] = 0
    return Data(x[:, : lengths.max()], y, lengths, note)


def sentence_lengths(rng: np.random.Generator, size: int, steps: int) -> tuple[Array, str]:
    """Lengths as in real film-review sentences, and where they are from."""
    if SENTENCES.is_file():
        lines = SENTENCES.read_text("utf-8").splitlines()
        words = np.array([len(line.split("\t", 1)[1].split()) for line in lines if line])
        note = "lengths drawn from the sentences of sentiment_en"
        lengths = rng.choice(words, size)
    else:
        note = "sentiment_en is not there: log-normal lengths like its own"
        lengths = np.exp(rng.normal(LOG_MEAN, LOG_DEVIATION, size)).astype(np.int64)
    lengths = np.clip(lengths, 1, steps)
    return lengths, f"{note} (mean {lengths.mean():.1f}, longest {lengths.max()})"
