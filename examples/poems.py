"""Tang poems, one character at a time: an LSTM reads quatrains, learns to guess the next character, and writes.

It is measured by its perplexity on poems it has not seen, next to a 4-gram model with modified Kneser-Ney smoothing of
the same training poems (ngram.py), and its own verses are checked: four lines of five, or of seven, characters.
--picture draws what goes on inside while it reads a poem.

Data: a UTF-8 file with one poem on each line, of which a twentieth is held back; or a folder with train.txt and
test.txt. Without --data: a sample (data/quatrains_zh.txt), put together from pieces by chance, on which it takes less
than half a minute. docs/guide/examples.md says where the poems of the Tang are published.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from pathlib import Path
from typing import Any

import common
import numpy as np
from ngram import KneserNey

import pylstm

Array = np.ndarray[Any, np.dtype[Any]]
FORM = "a file with one poem on each line"
PADDING, BORDER, UNKNOWN = 0, 1, 2  # the border is what a poem begins and ends with
MARKS = "，。？！"


class Vocabulary:
    """Characters that occur more than once; all others are one and the same unknown."""

    def __init__(self, characters: list[str]) -> None:
        self.characters = characters
        self.index = {char: i for i, char in enumerate(characters, UNKNOWN + 1)}

    @classmethod
    def of(cls, poems: list[str]) -> Vocabulary:
        return cls(sorted(char for char, n in Counter("".join(poems)).items() if n > 1))

    def encode(self, poem: str) -> Array:
        return np.array([self.index.get(char, UNKNOWN) for char in poem])

    def pair(self, poem: str) -> tuple[Array, Array]:
        """Input and target: at each step the character before, and the one to guess."""
        ids = np.concatenate([[BORDER], self.encode(poem), [BORDER]])
        return ids[:-1], ids[1:]

    def masked(self, poem: str) -> list[str]:
        """The poem as the network sees it, for the n-gram model."""
        return [char if char in self.index else "<unknown>" for char in poem]


def perplexity(model: pylstm.Sequential, vocabulary: Vocabulary, poems: list[str]) -> float:
    """exp of the mean of -log p over all characters; the ends of the poems are not counted."""
    pairs = [vocabulary.pair(poem) for poem in poems]
    targets = [np.append(y[:-1], -100) for _, y in pairs]  # -100: a target that does not count
    return math.exp(model.evaluate([x for x, _ in pairs], targets, loss="cross_entropy")["loss"])


def write(model: pylstm.Sequential, vocabulary: Vocabulary, temperature: float, rng: np.random.Generator) -> str:
    """A poem, drawn character by character: each one drawn is the next step's input."""
    stream, poem, last = model.stream(), "", BORDER
    while len(poem) < 40:
        logits = stream.step(last)
        logits[[PADDING, UNKNOWN]] = -np.inf
        last = pylstm.sample(logits, temperature, rng=rng)
        if last == BORDER:
            break
        poem += vocabulary.characters[last - UNKNOWN - 1]
    return poem


def in_metre(poem: str) -> bool:
    """Four lines of five, or of seven, characters, each with its mark at the end."""
    for length in (5, 7):
        lines = [poem[at : at + length + 1] for at in range(0, len(poem), length + 1)]
        if len(lines) == 4 and all(
            len(line) == length + 1 and line[-1] in MARKS and not any(mark in line[:-1] for mark in MARKS)
            for line in lines
        ):
            return True
    return False


def read(path: Path) -> list[str]:
    """The poems, without spaces; their own ends of lines are marks."""
    lines = ("".join(line.split()) for line in common.text_of(path, FORM).split("\n"))
    return [line for line in lines if line]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, metavar="PATH", help="file of poems, or folder (see above)")
    add("--embed", type=common.positive_int, default=128, help="size of a character's vector (default: 128)")
    add("--hidden", type=common.positive_int, default=256, help="units of the LSTM (default: 256)")
    add("--dropout", type=common.share, help="before and after the LSTM (default: 0.4, or 0.3 on the sample)")
    add("--epochs", type=common.positive_int, help="passes over the poems (default: 8, or 30 on the sample)")
    add("--seed", type=common.seed, default=0)
    add("--temperature", type=common.positive, default=0.7, help="below 1: safer guesses, above 1: wilder ones")
    add("--poems", type=common.positive_int, default=6, help="how many to write (default: 6)")
    add("--test", action="store_true", help="the figures on the test poems, too")
    add("--out", type=common.model_file, help="where the model goes (.npz or .safetensors)")
    add("--picture", type=common.picture_file, help="where a picture of the LSTM at work goes (.png)")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    data = args.data or common.SAMPLES / "quatrains_zh.txt"
    train, dev, test = common.load(data, read, FORM, [".txt"], every=20, test=args.test)
    epochs, dropout = (8, 0.4) if args.data else (30, 0.3)  # the sample is small, and soon learned
    epochs = args.epochs or epochs
    dropout = dropout if args.dropout is None else args.dropout
    vocabulary = Vocabulary.of(train)
    size = len(vocabulary.characters) + 3

    model = pylstm.Sequential([
        pylstm.Embedding(size, args.embed, padding_idx=PADDING, std=0.1),
        pylstm.Dropout(dropout),
        pylstm.LSTM(args.embed, args.hidden, batch_first=True),
        pylstm.Dropout(dropout),
        pylstm.Linear(args.hidden, size),
    ], seed=args.seed)  # fmt: skip
    print(model.summary())
    (x, y), dev_pairs = (tuple(map(list, zip(*map(vocabulary.pair, some), strict=True))) for some in (train, dev))
    model.fit(
        x, y, loss="cross_entropy", optimizer=pylstm.AdamW(3e-3, betas=(0.9, 0.99)), batch_size=32, epochs=epochs,
        validation_data=dev_pairs, schedule=pylstm.WarmUp(1, pylstm.Cosine(max(1, epochs - 1))), clip_norm=1.0,
        metrics=[], seed=args.seed, callbacks=[pylstm.EarlyStopping(patience=3)],
    )  # fmt: skip

    ngram = KneserNey(map(vocabulary.masked, train))
    for name, some in (("dev", dev), ("test", test if args.test else [])):
        if some:
            ours, theirs = perplexity(model, vocabulary, some), ngram.perplexity(map(vocabulary.masked, some))
            print(f"{name}: perplexity per character {ours:.1f}; 4-gram with Kneser-Ney smoothing {theirs:.1f}, "
                  f"the LSTM's is {abs(1 - ours / theirs):.1%} {'lower' if ours < theirs else 'higher'}")  # fmt: skip
    if args.out is not None:
        model.save(args.out, metadata={"characters": vocabulary.characters})

    rng = np.random.default_rng(args.seed)
    written = [write(model, vocabulary, args.temperature, rng) for _ in range(max(args.poems, 100))]
    good = [poem for poem in written if in_metre(poem)]
    print(f"\n{len(good)} of {len(written)} poems written are in metre; the first of {'these' if good else 'all'}:")
    for poem in (good or written)[: args.poems]:
        half = len(poem) // 2
        print(f"  {poem[:half]}\n  {poem[half:]}\n")

    if args.picture is not None:
        poem = dev[0][:40]
        embedding, lstm = model.layers[0], model.layers[2]
        assert isinstance(embedding, pylstm.Embedding)
        assert isinstance(lstm, pylstm.LSTM)
        trace = lstm.trace(embedding(vocabulary.pair(poem)[0]))
        pylstm.plot_trace(trace, ["▸", *poem], names=["f_l0", "i_l0", "c_l0"], units=30, path=args.picture)
        print(f"the gates over {poem} are drawn in {args.picture}")


if __name__ == "__main__":
    common.run(main)
