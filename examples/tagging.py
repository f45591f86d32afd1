"""Parts of speech: a bidirectional LSTM says for every word of a sentence whether it is a noun, a verb, ...

A word is several features side by side: the word itself, its first and last letters, and its shape (capitals, digits).
Words seen only once in training become "unknown", so that the network learns to go by the letters where it has to.
Data: the English Web Treebank of Universal Dependencies (tagging_ud_ewt), one `FORM<TAB>UPOS<TAB>XPOS` a line.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import pylstm

Array = np.ndarray[Any, np.dtype[Any]]
Sentence = list[tuple[str, str]]  # words with their tags
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "tagging_ud_ewt"
PADDING, UNKNOWN = 0, 1


def shape(word: str) -> str:
    """The kinds of characters in a word, runs of the same kind once: "McDonald's" is "XxXx'x"."""
    kinds = ["X" if c.isupper() else "x" if c.islower() else "9" if c.isdigit() else c for c in word]
    return "".join(k for i, k in enumerate(kinds) if i == 0 or k != kinds[i - 1])


# name: (feature of a word, dimensions of its vector)
FEATURES: dict[str, tuple[Callable[[str], str], int]] = {
    "word": (str.lower, 100),
    "suffix 1": (lambda w: w[-1:].lower(), 12),
    "suffix 2": (lambda w: w[-2:].lower(), 24),
    "suffix 3": (lambda w: w[-3:].lower(), 40),
    "prefix 2": (lambda w: w[:2].lower(), 16),
    "prefix 3": (lambda w: w[:3].lower(), 24),
    "shape": (shape, 16),
}


def read(path: Path) -> list[Sentence]:
    """Sentences of a file; a blank line is between them, lines with # are comments."""
    sentences: list[Sentence] = [[]]
    for line in path.read_text("utf-8").splitlines():
        if not line.strip():
            sentences.append([])
        elif line.count("\t") == 2:
            word, tag, _ = line.split("\t")
            sentences[-1].append((word, tag))
    return [sentence for sentence in sentences if sentence]


class Encoder:
    """Words to rows of numbers, one column per feature; tags to labels."""

    def __init__(self, sentences: list[Sentence]) -> None:
        words = [word for sentence in sentences for word, _ in sentence]
        self.tables: list[dict[str, int]] = []
        for feature, _ in FEATURES.values():
            counts = Counter(map(feature, words))
            frequent = sorted(value for value, n in counts.items() if n > 1)
            self.tables.append({value: i for i, value in enumerate(frequent, UNKNOWN + 1)})
        self.tags = sorted({tag for sentence in sentences for _, tag in sentence})

    def inputs(self, sentence: Sentence) -> Array:
        """(T, features)"""
        functions = [feature for feature, _ in FEATURES.values()]
        return np.array([
            [table.get(feature(word), UNKNOWN) for feature, table in zip(functions, self.tables, strict=True)]
            for word, _ in sentence
        ])  # fmt: skip

    def targets(self, sentence: Sentence) -> Array:
        """(T,); a tag that training has never seen is left out of the loss, and counts as wrong in the end."""
        known = {tag: i for i, tag in enumerate(self.tags)}
        return np.array([known.get(tag, -100) for _, tag in sentence])


def build(encoder: Encoder, hidden: int, seed: int) -> pylstm.Sequential:
    embeddings = [
        pylstm.Embedding(len(table) + 2, dim, padding_idx=PADDING, std=0.3)
        for table, (_, dim) in zip(encoder.tables, FEATURES.values(), strict=True)
    ]
    width = sum(dim for _, dim in FEATURES.values())
    return pylstm.Sequential([
        pylstm.Columns(embeddings),
        pylstm.Dropout(0.4),
        pylstm.LSTM(width, hidden, batch_first=True, bidirectional=True),
        pylstm.Dropout(0.4),
        pylstm.Linear(2 * hidden, len(encoder.tags)),
    ], seed=seed)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with en_ewt_{train,dev,test}.tsv")
    parser.add_argument("--hidden", type=int, default=128, help="units per direction (default: 128)")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test", action="store_true", help="the figure on the test sentences, too")
    parser.add_argument("--out", type=Path, help="where the model goes (.npz or .safetensors)")
    args = parser.parse_args()
    if not (args.data / "en_ewt_train.tsv").is_file():
        sys.exit(f"tagging: there is no en_ewt_train.tsv in {args.data}; say with --data where the treebank is")
    train, dev = (read(args.data / f"en_ewt_{name}.tsv") for name in ("train", "dev"))

    encoder = Encoder(train)
    model = build(encoder, args.hidden, args.seed)
    print(model.summary())

    def encoded(sentences: list[Sentence]) -> tuple[list[Array], list[Array]]:
        return [encoder.inputs(s) for s in sentences], [encoder.targets(s) for s in sentences]

    model.fit(
        *encoded(train), loss="cross_entropy", optimizer=pylstm.AdamW(2e-3), batch_size=32, epochs=args.epochs,
        validation_data=encoded(dev), schedule=pylstm.Cosine(args.epochs), clip_norm=1.0, seed=args.seed,
    )  # fmt: skip
    for name, sentences in [("dev", dev)] + ([("test", read(args.data / "en_ewt_test.tsv"))] if args.test else []):
        x, y = encoded(sentences)
        right = np.concatenate([p.argmax(axis=-1) == t for p, t in zip(model.predict(x), y, strict=True)])
        fresh = np.concatenate([s[:, 0] == UNKNOWN for s in x])
        print(f"{name}: {right.mean():.2%} of {len(right):,} words right; of the {fresh.sum():,} whose form is new or "
              f"was seen once: {right[fresh].mean():.2%}")  # fmt: skip

    sentence = [(word, "") for word in ["I", "saw", "her", "duck", "under", "the", "table", ",", "didn't", "I", "?"]]
    tags = model.predict([encoder.inputs(sentence)])[0].argmax(axis=-1)
    print(" ".join(f"{word}/{encoder.tags[tag]}" for (word, _), tag in zip(sentence, tags, strict=True)))
    if args.out is not None:
        tables = dict(zip(FEATURES, encoder.tables, strict=True))
        model.save(args.out, metadata={"tags": encoder.tags, "tables": tables})


if __name__ == "__main__":
    main()
