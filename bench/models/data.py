"""Weights and batches of a case, the same bits in every process; and real text, where it lies beside the project."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cases import Array
from models import translations
from models.batches import Batch, Data
from models.cases import ZIPF, ModelCase

TEXT = Path(__file__).resolve().parents[3] / "shared" / "data"
FILES = {
    "poems": "tang_poems/train.txt",
    "words": "sentiment_en/train.tsv",
    "decoder": "translation_en_zh/train.tsv",
    "characters": "translation_en_zh/train.tsv",
    "sentences": "sentiment_en/train.tsv",
    "tags": "tagging_ud_ewt/en_ewt_train.tsv",
    "reviews": "sentiment_en/train.tsv",
}
MARKS = str.maketrans("", "", "，。？！、；：")
PADDING, UNKNOWN = 0, 1  # of real text: a place past a sequence's end; a symbol that is not in the vocabulary


def make_data(case: ModelCase) -> Data:
    """Everything a library gets. Raises FileNotFoundError for real text that is not there."""
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    weights = make_weights(case, rng)
    if case.text:
        return Data(weights, text_batches(case, rng))
    return Data(weights, [drawn_batch(case, rng) for _ in range(case.batches)])


def make_weights(case: ModelCase, rng: np.random.Generator) -> dict[str, Array]:
    """As PyTorch draws them; of an LSTM's two biases, whose sum is what counts, only the first."""

    def uniform(*shape: int, inputs: int) -> Array:
        return rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(math.sqrt(inputs))

    weights: dict[str, Array] = {}
    if case.translates:
        for side, of in [("encoder", translations.encoder_of(case)), ("decoder", translations.decoder_of(case))]:
            weights |= {f"{side}.{name}": value for name, value in make_weights(of, rng).items()}
        for name in ("head.weight", "head.bias"):
            del weights[f"encoder.{name}"]
        return weights | {name: uniform(*shape, inputs=shape[-1]) for name, shape in translations.between(case).items()}
    if case.vocabulary:
        weights["embedding"] = rng.standard_normal((case.vocabulary, case.E), dtype=np.float32) * np.float32(0.5)
        if case.ragged:
            weights["embedding"][PADDING] = 0
    for layer in range(case.layers):
        inputs = case.width if layer else case.E
        for suffix in [f"l{layer}", f"l{layer}_reverse"][: case.directions]:
            weights[f"weight_ih_{suffix}"] = uniform(4 * case.H, inputs, inputs=case.H)
            weights[f"weight_hh_{suffix}"] = uniform(4 * case.H, case.H, inputs=case.H)
            weights[f"bias_ih_{suffix}"] = uniform(4 * case.H, inputs=case.H)
    weights["head.weight"] = uniform(case.C, case.width, inputs=case.width)
    weights["head.bias"] = uniform(case.C, inputs=case.width)
    return weights


# ---- drawn -----------------------------------------------------------------------------------------------------------


def zipf(rng: np.random.Generator, symbols: Array, shape: tuple[int, ...]) -> Array:
    """Of these symbols, the most frequent first."""
    frequency = np.arange(1, len(symbols) + 1) ** -ZIPF
    found: Array = rng.choice(symbols, shape, p=frequency / frequency.sum())
    return found


def drawn_batch(case: ModelCase, rng: np.random.Generator) -> Batch:
    if case.S:
        return drawn_pairs(case, rng)
    if not case.vocabulary:  # the next values of noisy waves
        time = np.arange(case.T + case.C) / rng.uniform(3, 30, (case.N, case.E, 1)) + rng.uniform(0, 6, (case.E, 1))
        waves = (np.sin(time) + 0.1 * rng.standard_normal(time.shape)).astype(np.float32)
        x = np.ascontiguousarray(waves[:, :, : case.T].swapaxes(1, 2))
        return Batch(x, np.ascontiguousarray(waves[:, 0, case.T :]), None)
    lengths = rng.integers(case.shortest, case.T + 1, case.N) if case.ragged else None
    symbols: Array = np.arange(1 if case.ragged else 0, case.vocabulary)
    x = zipf(rng, symbols, (case.N, case.T + 1))
    # the next symbol, where outputs are symbols
    y: Array = x[:, 1:] % case.C if case.per_step else rng.integers(0, 2, case.N)
    return padded(x[:, :-1], y, lengths)


def drawn_pairs(case: ModelCase, rng: np.random.Generator) -> Batch:
    """Targets of lengths of their own, that are about as long beside the longest as their inputs are."""
    lengths = rng.integers(case.shortest, case.T + 1, case.N)
    counts = np.clip(lengths * case.S // case.T + rng.integers(-1, 2, case.N), 1, case.S)
    if case.translates:
        x = zipf(rng, np.arange(1, case.vocabulary), (case.N, case.T))
        labels = zipf(rng, np.arange(1, translations.end_of(case)), (case.N, case.S))
    else:  # class 0 is the blank
        x = rng.standard_normal((case.N, case.T, case.E), dtype=np.float32)
        labels = rng.integers(1, case.C, (case.N, case.S))
    inputs, targets = padded(x, counts, lengths), padded(labels, lengths, counts)
    return Batch(inputs.x, targets.x, lengths, counts)


def padded(x: Array, y: Array, lengths: Array | None) -> Batch:
    """0 past a length, cut to the longest."""
    if lengths is None:
        return Batch(np.ascontiguousarray(x), np.ascontiguousarray(y), None)
    steps = int(lengths.max())
    past = np.arange(steps) >= lengths[:, None]
    x = np.where(past.reshape(*past.shape, *[1] * (x.ndim - 2)), x.dtype.type(PADDING), x[:, :steps])
    return Batch(x, np.where(past, 0, y[:, :steps]) if y.ndim > 1 else y, lengths)


# ---- real text -------------------------------------------------------------------------------------------------------


def text_batches(case: ModelCase, rng: np.random.Generator) -> list[Batch]:
    kind = case.name.removesuffix("_text")
    lines = (TEXT / FILES[kind]).read_text(encoding="utf-8").splitlines()
    count = case.batches * case.N
    pairs = {
        "poems": lambda: next_symbols(case, [line.translate(MARKS) for line in lines], rng, count),
        "decoder": lambda: next_symbols(case, [line.split("\t")[1] for line in lines], rng, count),
        "words": lambda: pieces(case, [line.split("\t")[1].split() for line in lines], count),
        "reviews": lambda: pieces(case, [line.split("\t")[1].split() for line in lines], count),
        "characters": lambda: pieces(case, [line.split("\t")[0] + "\n" for line in lines], count),
        "sentences": lambda: labelled(case, lines, rng, count),
        "tags": lambda: tagged(case, lines, rng, count),
    }[kind]()
    return [batch_of(case, pairs[start : start + case.N]) for start in range(0, count, case.N)]


def index_of(case: ModelCase, sequences: Iterable[Iterable[Any]]) -> dict[Any, int]:
    """The most frequent symbols, as many as the vocabulary has room for."""
    counted = Counter(symbol for sequence in sequences for symbol in sequence)
    return {symbol: i for i, (symbol, _) in enumerate(counted.most_common(case.vocabulary - 2), start=2)}


def encoded(case: ModelCase, sequences: Sequence[Iterable[Any]]) -> list[Array]:
    index = index_of(case, sequences)
    return [np.array([index.get(symbol, UNKNOWN) for symbol in sequence], np.int64) for sequence in sequences]


def next_symbols(case: ModelCase, lines: list[str], rng: np.random.Generator, count: int) -> list[tuple[Array, Any]]:
    """Whole lines; at each step the symbol before and the one to guess."""
    found = [line[: case.T] for line in encoded(case, lines) if len(line) >= 2]
    chosen = [found[i] for i in rng.permutation(len(found))[:count]]
    return [(np.concatenate([[UNKNOWN], line[:-1]]), line) for line in chosen]


def pieces(case: ModelCase, sequences: Sequence[Iterable[Any]], count: int) -> list[tuple[Array, Any]]:
    """One long text, cut into pieces of T. Too short a text is read again."""
    text = np.concatenate(encoded(case, sequences))
    text = np.resize(text, count * case.T + 1)
    x, y = text[:-1].reshape(count, case.T), text[1:].reshape(count, case.T)
    return [(x[i], y[i] if case.per_step else i % 2) for i in range(count)]


def labelled(case: ModelCase, lines: list[str], rng: np.random.Generator, count: int) -> list[tuple[Array, Any]]:
    labels, texts = zip(*(line.split("\t", 1) for line in lines), strict=True)
    found = encoded(case, [text.split() for text in texts])
    return [(found[i][: case.T], int(labels[i])) for i in rng.permutation(len(found))[:count]]


def tagged(case: ModelCase, lines: list[str], rng: np.random.Generator, count: int) -> list[tuple[Array, Any]]:
    sentences: list[list[list[str]]] = [[]]
    for line in lines:
        if not line.strip():
            sentences.append([])
        elif "\t" in line:  # else a sentence's name
            sentences[-1].append(line.split("\t"))
    sentences = [sentence for sentence in sentences if sentence]
    words = encoded(case, [[word for word, *_ in sentence] for sentence in sentences])
    names = sorted({tag for sentence in sentences for _, tag, *_ in sentence})
    tags = [np.array([names.index(tag) for _, tag, *_ in sentence]) for sentence in sentences]
    return [(words[i][: case.T], tags[i][: case.T]) for i in rng.permutation(len(words))[:count]]


def batch_of(case: ModelCase, pairs: list[tuple[Array, Any]]) -> Batch:
    lengths = np.array([len(x) for x, _ in pairs])
    x = np.zeros((len(pairs), int(lengths.max())), np.int64)
    y: Array = np.zeros_like(x) if case.per_step else np.array([label for _, label in pairs])
    for row, (symbols, labels) in enumerate(pairs):
        x[row, : len(symbols)] = symbols
        if case.per_step:
            y[row, : len(symbols)] = labels
    return Batch(x, y, lengths if case.ragged else None)
