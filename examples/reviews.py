"""Film reviews, good or bad, as in the well-known Keras tutorials: Embedding, LSTM, one output.

    Embedding(10000, 32), LSTM(100), Linear(100, 1): 320,000 + 53,200 + 101 = 373,301 parameters

Every review is padded to the same number of steps; Adam, batches of 64, up to 10 epochs, early stopping. Without
--lengths the LSTM runs over the padding, as in the tutorials; with it, each review ends where it ends: far less work,
and better results.

Data: a UTF-8 file with `label<TAB>text` on each line, two labels, of which a tenth is held back; or a folder with
train.tsv and, if there are, dev.tsv and test.tsv. Without --data: a sample (data/reviews.tsv), put together from
pieces, on which it takes some seconds. docs/guide/examples.md says where real ones are published.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import common
import numpy as np

import pylstm

Array = np.ndarray[Any, np.dtype[Any]]
VOCABULARY, PADDING, UNKNOWN = 10_000, 0, 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, metavar="PATH", help="file of `label<TAB>text` lines, or folder (see above)"
    )
    parser.add_argument(
        "--steps", type=common.positive_int, default=64, help="reviews are padded or cut to this (default: 64)"
    )
    parser.add_argument("--lengths", action="store_true", help="let every review end where it ends")
    parser.add_argument("--epochs", type=common.positive_int, help="(default: 10, or 40 on the sample)")
    parser.add_argument("--seed", type=common.seed, default=0)
    parser.add_argument("--test", action="store_true", help="the figure on the test reviews, too")
    args = parser.parse_args()
    data = args.data or common.SAMPLES / "reviews.tsv"
    parts = common.load(data, common.read_labelled, common.LABELLED, [".tsv"], test=args.test)
    names = sorted({label for part in parts for label, _ in part})
    if len(names) != 2:
        raise common.DataError(
            f"{data} has {len(names)} labels, {common.cut(', '.join(names))}; expected {common.LABELLED}, of two labels"
        )
    train, dev, test = ([text.split() for _, text in part] for part in parts)
    labels, dev_labels, test_labels = (np.array([names.index(label) for label, _ in part]) for part in parts)
    counts = Counter(word for text in train for word in text)
    index = {word: i for i, (word, _) in enumerate(counts.most_common(VOCABULARY - 2), UNKNOWN + 1)}

    def encode(texts: list[list[str]]) -> tuple[Array, Array]:
        """Numbers (N, steps), the padding in front unless lengths are used, and lengths (N,)."""
        x = np.full((len(texts), args.steps), PADDING)
        for row, text in zip(x, texts, strict=True):
            numbers = [index.get(word, UNKNOWN) for word in text[: args.steps]]
            row[slice(0, len(numbers)) if args.lengths else slice(args.steps - len(numbers), None)] = numbers
        return x, np.array([min(len(text), args.steps) for text in texts])

    model = pylstm.Sequential([
        pylstm.Embedding(VOCABULARY, 32, std=0.05),
        pylstm.LSTM(32, 100, batch_first=True, recurrent_bias=False),
        pylstm.LastStep(),
        pylstm.Linear(100, 1),
    ], seed=args.seed)  # fmt: skip
    print(model.summary())

    x, lengths = encode(train)
    x_dev, dev_lengths = encode(dev)
    model.fit(
        x, labels, lengths=lengths if args.lengths else None, loss="binary_cross_entropy", optimizer=pylstm.Adam(1e-3),
        batch_size=64, epochs=args.epochs or (10 if args.data else 40), seed=args.seed,
        validation_data=(x_dev, dev_labels, dev_lengths) if args.lengths else (x_dev, dev_labels),
        callbacks=[pylstm.EarlyStopping(patience=10)],
    )  # fmt: skip
    ends = dev_lengths if args.lengths else None
    accuracy = model.evaluate(x_dev, dev_labels, lengths=ends)["accuracy"]
    counted, counted_dev = ([(label, text.split()) for label, text in part] for part in parts[:2])
    print(f"held back: accuracy {accuracy:.2%} of {len(dev):,} sentences; naive Bayes, which counts words and knows "
          f"nothing of their order, {common.naive_bayes(counted, counted_dev):.2%}")  # fmt: skip
    chance = model.predict(x_dev, lengths=ends, activation="sigmoid")[:, 0]
    order = np.argsort(abs(chance - 0.5))
    for title, rows in (("surest", order[:-4:-1]), ("least sure", order[:3])):
        print(f"{title}:")
        for row in rows:
            label, text = parts[1][row]
            said = names[int(chance[row] > 0.5)]
            odds = max(chance[row], 1 - chance[row])
            print(f"  {said} {odds:.0%}{'' if said == label else ', wrong'}: {common.cut(text, 90)}")
    if args.test:
        x_test, test_lengths = encode(test)
        figures = model.evaluate(x_test, test_labels, lengths=test_lengths if args.lengths else None)
        print(f"test: loss {figures['loss']:.4f}, accuracy {figures['accuracy']:.2%}")


if __name__ == "__main__":
    common.run(main)
