"""Parts of speech: a bidirectional LSTM says for every word of a sentence whether it is a noun, a verb, ...

A word is several features side by side: the word itself, its first and last letters, and its shape (capitals, digits).
Words seen only once in training become "unknown", so that the network learns to go by the letters where it has to.

Data: a UTF-8 file with `WORD<TAB>TAG` on each line (columns behind these are ignored) and a blank line between
sentences, or a treebank as Universal Dependencies publishes it, .conllu; a tenth of the sentences is held back. Or a
folder with a file for each of train, dev and test. Without --data: a sample (data/tagged.tsv), put together from
pieces, on which it takes some seconds. docs/guide/examples.md says where treebanks are published.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np

import pylstm

Array = np.ndarray[Any, np.dtype[Any]]
Sentence = list[tuple[str, str]]  # words with their tags
FORM = "a file with `WORD<TAB>TAG` on each line and a blank line between sentences, or a .conllu file"
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
    """Sentences of a file; a blank line is between them. In .conllu, a line with # is a comment, and lines of words
    written as one ("2-3") or left out ("8.1") do not count."""
    sentences: list[Sentence] = [[]]
    text = common.text_of(path, FORM)
    for number, line in enumerate(text.split("\n"), 1):
        columns = line.split("\t")
        if not line.strip():
            sentences.append([])
        elif path.suffix == ".conllu" and len(columns) == 10:
            if columns[0].isdigit():
                sentences[-1].append((columns[1], columns[3]))
        elif len(columns) > 1 and path.suffix != ".conllu" and columns[0] and columns[1]:
            sentences[-1].append((columns[0], columns[1]))
        elif not line.startswith("#"):
            raise common.DataError(f"{path}, line {number}, is {common.cut(line)!r}; expected {FORM}")
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


def most_frequent(sentences: list[Sentence]) -> Callable[[str], str]:
    """A baseline: word -> the tag that it mostly has; of unknown words the tag that most words have."""
    counts: dict[str, Counter[str]] = {}
    for word, tag in (pair for sentence in sentences for pair in sentence):
        counts.setdefault(word.lower(), Counter())[tag] += 1
    every = sum(counts.values(), Counter[str]())
    return lambda word: counts.get(word.lower(), every).most_common(1)[0][0]


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
    parser.add_argument("--data", type=Path, metavar="PATH", help="file of tagged words, or folder (see above)")
    parser.add_argument("--hidden", type=common.positive_int, default=128, help="units per direction (default: 128)")
    parser.add_argument("--epochs", type=common.positive_int, default=8, help="passes over the data (default: 8)")
    parser.add_argument("--seed", type=common.seed, default=0)
    parser.add_argument("--test", action="store_true", help="the figure on the test sentences, too")
    parser.add_argument("--out", type=common.model_file, help="where the model goes (.npz or .safetensors)")
    args = parser.parse_args()
    data = args.data or common.SAMPLES / "tagged.tsv"
    train, dev, test = common.load(data, read, FORM, [".tsv", ".conllu"], test=args.test)

    encoder = Encoder(train)
    model = build(encoder, args.hidden, args.seed)
    print(model.summary())

    def encoded(sentences: list[Sentence]) -> tuple[list[Array], list[Array]]:
        return [encoder.inputs(s) for s in sentences], [encoder.targets(s) for s in sentences]

    model.fit(
        *encoded(train), loss="cross_entropy", optimizer=pylstm.AdamW(2e-3), batch_size=32, epochs=args.epochs,
        validation_data=encoded(dev), schedule=pylstm.Cosine(args.epochs), clip_norm=1.0, seed=args.seed,
    )  # fmt: skip
    usual = most_frequent(train)
    for name, sentences in [("dev", dev)] + ([("test", test)] if args.test else []):
        x, y = encoded(sentences)
        right = np.concatenate([p.argmax(axis=-1) == t for p, t in zip(model.predict(x), y, strict=True)])
        fresh = np.concatenate([s[:, 0] == UNKNOWN for s in x])
        each = [usual(word) == tag for sentence in sentences for word, tag in sentence]
        print(f"{name}: {right.mean():.2%} of {len(right):,} words right; each word's most frequent tag "
              f"{np.mean(each):.2%}")  # fmt: skip
        if fresh.any():
            print(f"  of the {fresh.sum():,} whose form is new or was seen once: {right[fresh].mean():.2%}")

    for text in ("I saw her duck under the table .", "They duck behind the old saw ."):
        sentence = [(word, "") for word in text.split()]
        tags = model.predict([encoder.inputs(sentence)])[0].argmax(axis=-1)
        print(" ".join(f"{word}/{encoder.tags[tag]}" for (word, _), tag in zip(sentence, tags, strict=True)))
    if args.out is not None:
        tables = dict(zip(FEATURES, encoder.tables, strict=True))
        model.save(args.out, metadata={"tags": encoder.tags, "tables": tables})


if __name__ == "__main__":
    common.run(main)
