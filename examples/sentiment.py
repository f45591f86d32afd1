"""Emotion of a sentence: English film reviews (good or bad), or Chinese sentences (eight emotions, by characters).

    --task english   words, and their first five letters side by side, so that a rare form leans on its relatives
    --task chinese   characters, pairs and triples of characters side by side

The features' vectors go through a bidirectional LSTM, whose output is added to them (Residual) and pooled over time.
--plain is the model of the well-known Keras tutorial in place of it: Embedding, LSTM(256 -> 128) with 197,120
parameters, its last step, dropout, one output. --picture draws the gates over one sentence, and what the answer hangs
on.

Data: a UTF-8 file with `label<TAB>text` on each line, of which a tenth is held back; or a folder with train.tsv and, if
there are, dev.tsv and test.tsv. Without --data: a sample (data/reviews.tsv, data/emotions_zh.tsv), put together from
pieces, on which it takes some seconds. docs/guide/examples.md says where real ones are published.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np

import pylstm

Array = np.ndarray[Any, np.dtype[Any]]
PADDING, UNKNOWN = 0, 1


def words(text: str) -> list[tuple[str, ...]]:
    """Each word with its first five letters."""
    return [(word, word[:5]) for word in text.split()]


def characters(text: str) -> list[tuple[str, ...]]:
    """Each character, with the one before it, and with those on both sides."""
    padded = f"<{text}>"
    return [
        (padded[i], padded[i - 1 : i + 1], padded[i - 1 : i + 2])
        for i in range(1, len(padded) - 1)
    ]  # fmt: skip


class Task(NamedTuple):
    """What differs between the two."""

    sample: str
    folder: str  # where --data holds several data sets
    features: Any  # text -> one tuple of features per step
    dims: tuple[int, ...]  # of their vectors
    std: float  # these start as normal numbers of this size
    dropout: float
    pool: type[pylstm.Layer]
    weight_decay: float
    batch_size: int
    epochs: int
    sample_epochs: int
    example: str


TASKS = {
    "english": Task("reviews.tsv", "sentiment_en", words,
                    (128, 64), 0.3, 0.6, pylstm.MaxOverTime, 0.01, 32, 8, 30,
                    "the acting is weak , but i could not stop watching this strange and beautiful film"),
    "chinese": Task("emotions_zh.tsv", "emotion_zh", characters,
                    (64, 64, 64), 0.2, 0.4, pylstm.MeanOverTime, 0.1, 16, 6, 6,
                    "谢谢你一直陪着我，可是这次真的让我很失望。"),
}  # fmt: skip


class Encoder:
    """Texts to numbers, one column per feature: features that occur more than once, and unknown for the rest."""

    def __init__(self, texts: list[str], task: Task) -> None:
        self.features = task.features
        counts = [Counter[str]() for _ in task.dims]
        for text in texts:
            for step in task.features(text):
                for counter, value in zip(counts, step, strict=True):
                    counter[value] += 1
        self.tables = [
            {value: i for i, value in enumerate(sorted(v for v, n in counter.items() if n > 1), UNKNOWN + 1)}
            for counter in counts
        ]

    def __call__(self, texts: list[str]) -> list[Array]:
        return [
            np.array([
                [table.get(value, UNKNOWN) for table, value in zip(self.tables, step, strict=True)]
                for step in self.features(text)
            ])
            for text in texts
        ]  # fmt: skip


def build(task: Task, encoder: Encoder, outputs: int, plain: bool, seed: int) -> pylstm.Sequential:
    sizes = [len(table) + 2 for table in encoder.tables]
    if plain:
        return pylstm.Sequential([
            pylstm.Columns([pylstm.Embedding(sizes[0], 256, padding_idx=PADDING, std=0.05)]),
            pylstm.LSTM(256, 128, batch_first=True, recurrent_bias=False),
            pylstm.LastStep(),
            pylstm.Dropout(0.5),
            pylstm.Linear(128, outputs),
        ], seed=seed)  # fmt: skip
    width = sum(task.dims)
    return pylstm.Sequential([
        pylstm.Columns([
            pylstm.Embedding(size, dim, padding_idx=PADDING, std=task.std)
            for size, dim in zip(sizes, task.dims, strict=True)
        ]),
        pylstm.Dropout(task.dropout),
        pylstm.Residual(pylstm.LSTM(width, width // 2, batch_first=True, bidirectional=True)),
        task.pool(),
        pylstm.Dropout(0.5),
        pylstm.Linear(width, outputs),
    ], seed=seed)  # fmt: skip


def picture(model: pylstm.Sequential, encoder: Encoder, task: Task, path: Path) -> None:
    """The LSTM's gates over the example sentence, and the steps that its answer hangs on."""
    (ids,) = encoder([task.example])
    inside = model.layers[2]
    lstm = inside.layers[0] if isinstance(inside, pylstm.Residual) else model.layers[1]
    assert isinstance(lstm, pylstm.LSTM)
    embedding = model.layers[0]
    assert isinstance(embedding, pylstm.Columns)
    tokens = [step[0] for step in task.features(task.example)]
    pylstm.plot_trace(lstm.trace(embedding(ids)), tokens, names=["i_l0", "f_l0", "c_l0"],
                      saliency=model.saliency(ids, signed=True), path=path)  # fmt: skip
    print(f"drawn in {path}: {task.example}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=sorted(TASKS), default="english")
    parser.add_argument(
        "--data", type=Path, metavar="PATH", help="file of `label<TAB>text` lines, or folder (see above)"
    )
    parser.add_argument("--plain", action="store_true", help="the tutorial's model; its features are single")
    parser.add_argument(
        "--epochs",
        type=common.positive_int,
        help="passes over the data (default: 8 and 6, or 30 and 6 on the samples)",
    )
    parser.add_argument("--seed", type=common.seed, default=0)
    parser.add_argument("--test", action="store_true", help="train on all but the test sentences, then take the test")
    parser.add_argument("--out", type=common.model_file, help="where the model goes (.npz or .safetensors)")
    parser.add_argument("--picture", type=common.picture_file, help="where a picture of the LSTM at work goes (.png)")
    args = parser.parse_args()
    task = TASKS[args.task]
    if args.plain:
        features = task.features
        task = task._replace(features=lambda text: [step[:1] for step in features(text)], dims=task.dims[:1])
    data = args.data or common.SAMPLES / task.sample
    if (data / task.folder).is_dir():
        data /= task.folder
    train, dev, test = common.load(data, common.read_labelled, common.LABELLED, [".tsv"], test=args.test)
    if args.test:
        train, dev = train + dev, test
    labels, texts = map(list, zip(*train, strict=True))
    dev_labels, dev_texts = map(list, zip(*dev, strict=True))
    names = sorted({*labels, *dev_labels})
    if len(names) < 2:
        raise common.DataError(
            f"{data} has one label only, {names[0]!r}; expected {common.LABELLED}, with several labels"
        )
    y, y_dev = (np.array([names.index(label) for label in some]) for some in (labels, dev_labels))
    encoder = Encoder(texts, task)
    binary = len(names) == 2
    model = build(task, encoder, 1 if binary else len(names), args.plain, args.seed)
    print(model.summary())

    epochs = args.epochs or (task.epochs if args.data else task.sample_epochs)
    model.fit(
        encoder(texts), y, loss="binary_cross_entropy" if binary else "cross_entropy", batch_size=task.batch_size,
        epochs=epochs, optimizer=pylstm.AdamW(2e-3 if binary else 3e-3, weight_decay=task.weight_decay),
        schedule=pylstm.Cosine(epochs), clip_norm=1.0, seed=args.seed,
        validation_data=None if args.test else (encoder(dev_texts), y_dev),
    )  # fmt: skip
    figures = model.evaluate(encoder(dev_texts), y_dev)
    counted, counted_dev = (
        [(label, [feature for step in task.features(text) for feature in step]) for label, text in rows]
        for rows in (train, dev)
    )
    print(f"{'test' if args.test else 'dev'}: accuracy {figures['accuracy']:.2%} of {len(y_dev):,} sentences; "
          f"naive Bayes on the same features {common.naive_bayes(counted, counted_dev):.2%}")  # fmt: skip

    answer = model.predict(encoder([task.example]), activation="sigmoid" if binary else "softmax")[0]
    odds = dict(zip(names, [1 - answer[0], answer[0]] if binary else answer, strict=True))
    if binary and names == ["0", "1"]:  # as the published reviews have it
        odds = {"bad": odds["0"], "good": odds["1"]}
    best = sorted(odds.items(), key=lambda pair: -pair[1])[:3]
    print(task.example, "->", ", ".join(f"{name} {p:.0%}" for name, p in best))
    if args.out is not None:
        model.save(args.out, metadata={"labels": names, "tables": encoder.tables})
    if args.picture is not None:
        picture(model, encoder, task, args.picture)


if __name__ == "__main__":
    common.run(main)
