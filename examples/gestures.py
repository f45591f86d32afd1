"""Series of any length, each with one label: which movement did a hand make, or which word was said?

A bidirectional GRU reads a series from both sides, with its gaps: a value that is missing goes in as the last one that
was, and a number beside it says so. The largest output over time of every unit decides. Nothing is padded to one length
by hand: `fit` takes a list of arrays. Beside it stand what needs no order, a linear classifier of means, deviations,
extremes and length, and the most frequent label.

Data: a CSV file (UTF-8) with a header and columns `series`, `label` and numbers: a row for each step, the rows of a
series one after another; empty cells are gaps. Or a folder of WAV files (PCM) named LABEL_anything.wav, of which the
energies of 24 bands are taken, a hundred times a second. A tenth is held back to watch, and a tenth for --test. Without
--data: accelerations of a hand, drawn here: a circle and its reverse, shaking, a knock and a double knock, at any speed
and strength, with noise and gaps. docs/guide/examples.md says where real series are published.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path
from typing import Any

import common
import numpy as np

import pylstm

Array = np.ndarray[Any, np.dtype[Any]]
Labelled = tuple[str, Array]  # with (T, F), NaN where there is nothing
FORM = "a CSV file with columns `series`, `label` and numbers, or a folder of files LABEL_anything.wav"
BANDS = 24
MOVES = ("circle", "reverse circle", "shake", "knock", "double knock")


# ---- the data --------------------------------------------------------------------------------------------------------


def drawn(count: int, seed: int) -> list[Labelled]:
    rng = np.random.default_rng(seed)
    return [(label, move(rng, label)) for label in rng.choice(MOVES, count).tolist()]


def move(rng: np.random.Generator, label: str) -> Array:
    """(T, 3): accelerations, 20 to 80 steps."""
    steps = int(rng.integers(20, 81))
    t = np.linspace(0, 1, steps)
    found = np.zeros((steps, 3))
    if "circle" in label:
        angle = 2 * np.pi * (rng.uniform(1, 2) * t + rng.random())
        found[:, 0], found[:, 1] = np.cos(angle), np.sin(angle) * (-1 if "reverse" in label else 1)
    elif label == "shake":
        found[:, int(rng.integers(2))] = np.sin(2 * np.pi * rng.uniform(3, 5) * t)
    else:
        hits = [rng.uniform(0.2, 0.8)] if label == "knock" else [rng.uniform(0.15, 0.4), rng.uniform(0.55, 0.85)]
        for hit in hits:
            found[:, 2] += 2.5 * np.exp(-(((t - hit) * steps / 2) ** 2))
    found = rng.uniform(0.6, 1.4) * found + rng.normal(0, 0.3, 3) + 0.25 * rng.standard_normal(found.shape)
    found[rng.random(found.shape) < 0.1] = np.nan
    return found


def read(path: Path) -> list[Labelled]:
    if path.is_dir():
        return [(file.name.split("_")[0], sound(file)) for file in sorted(path.glob("*.wav"))]
    try:
        return read_rows(path)
    except csv.Error as error:
        raise common.DataError(f"{path} is no CSV file: {error}; expected {FORM}") from None


def read_rows(path: Path) -> list[Labelled]:
    text = common.text_of(path, FORM)
    header = text.split("\n", 1)[0]
    rows = csv.reader(text.splitlines(), delimiter=max(",;\t", key=header.count))
    names = [name.strip().lower() for name in next(rows)]
    if not {"series", "label"} <= set(names) or len(names) < 3:
        raise common.DataError(f"{path} has the columns {common.cut(header)!r}; expected {FORM}")
    numbers = [i for i, name in enumerate(names) if name not in ("series", "label")]
    place = names.index("series"), names.index("label")
    found: dict[str, tuple[str, list[list[float]]]] = {}
    last = None
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        line = f"{path}, line {rows.line_num}"
        if len(row) != len(names):
            raise common.DataError(f"{line} has {len(row)} cells, and the header {len(names)}; expected {FORM}")
        name, label = (row[i].strip() for i in place)
        if not label or (name in found and (name != last or found[name][0] != label)):
            raise common.DataError(
                f"{line}: series {name!r} has no label, another one than before, or rows elsewhere; expected {FORM}"
            )
        try:
            values = [float(row[i]) if row[i].strip() else math.nan for i in numbers]
        except ValueError as error:
            raise common.DataError(f"{line}: {error}; expected {FORM}") from None
        if any(map(math.isinf, values)):
            raise common.DataError(f"{line} holds infinity; expected {FORM}")
        found.setdefault(name, (label, []))[1].append(values)
        last = name
    return [(label, np.array(values)) for label, values in found.values()]


def sound(path: Path) -> Array:
    """(T, 24): logarithms of the energies in bands that widen upwards, of 25 ms, every 10 ms."""
    samples, rate = common.sound(path, FORM)
    size, hop = max(64, rate // 40), max(1, rate // 100)
    samples = np.pad(samples, (0, max(0, size - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop] * np.hanning(size)
    energy = abs(np.fft.rfft(frames, n=2 * size)) ** 2
    edges = np.geomspace(4, energy.shape[1] - 1, BANDS + 1).astype(int)
    edges = np.maximum.accumulate(np.maximum(edges, 4 + np.arange(BANDS + 1)))
    return np.asarray(np.log(np.add.reduceat(energy[:, : edges[-1]], edges[:-1], axis=1) + 1e-8))


# ---- what goes in ----------------------------------------------------------------------------------------------------


def known(series: Array, mean: Array, scale: Array) -> Array:
    """(T, 2 F): values, or the last ones that there were (at first the mean); whether they are of now."""
    return np.concatenate([common.last_known((series - mean) / scale), np.isfinite(series)], axis=1, dtype=np.float32)


def summary(series: Array) -> Array:
    """What is left of a series without its order."""
    values = [column[np.isfinite(column)] for column in series.T]
    values = [v if len(v) else np.zeros(1) for v in values]
    parts = [(v.mean(), v.std(), v.min(), v.max(), abs(np.diff(v, prepend=v[0])).mean()) for v in values]
    return np.array([*np.concatenate(parts), math.log(len(series)), 1.0])


class Linear:
    """Least squares from summaries to labels as one-hot vectors, with a ridge."""

    def __init__(self, series: list[Array], labels: Array) -> None:
        x = np.stack([summary(one) for one in series])
        self.size = x.std(0) + 1e-6
        x = x / self.size
        self.weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ np.eye(labels.max() + 1)[labels])

    def __call__(self, series: list[Array]) -> Array:
        scores = np.stack([summary(one) for one in series]) / self.size @ self.weights
        return np.asarray(scores.argmax(axis=1))


# ---- training and figures --------------------------------------------------------------------------------------------


def learn(train: list[Labelled], dev: list[Labelled], args: argparse.Namespace) -> pylstm.Sequential:
    labels = sorted({label for label, _ in train})
    steps = np.concatenate([series for _, series in train])
    seen = np.isfinite(steps).any(0)
    mean = np.where(seen, np.nanmean(np.where(seen, steps, 0.0), axis=0), 0.0)
    scale = np.where(seen, np.nanstd(np.where(seen, steps, 0.0), axis=0), 0.0)
    scale = np.where(scale > 0, scale, 1.0)
    model = pylstm.Sequential([
        pylstm.GRU(2 * steps.shape[1], args.hidden, batch_first=True, bidirectional=True),
        pylstm.MaxOverTime(),
        pylstm.Dropout(0.2),
        pylstm.Linear(2 * args.hidden, len(labels)),
    ], seed=args.seed)  # fmt: skip
    model.metadata = {"labels": labels, "mean": mean.tolist(), "scale": scale.tolist(), "features": len(mean)}
    print(model.summary())
    model.fit(
        *pairs(model, train), loss="cross_entropy", optimizer=pylstm.AdamW(1e-2), batch_size=32, epochs=args.epochs,
        validation_data=pairs(model, dev), schedule=pylstm.Cosine(args.epochs), clip_norm=1.0, seed=args.seed,
    )  # fmt: skip
    return model


def pairs(model: Any, rows: list[Labelled]) -> tuple[list[Array], Array]:
    """As fit takes them; a label that training has never seen is left out of the loss, and counts as wrong."""
    mean, scale, labels = (model.metadata[name] for name in ("mean", "scale", "labels"))
    series = [known(one, np.array(mean), np.array(scale)) for _, one in rows]
    return series, np.array([labels.index(label) if label in labels else -100 for label, _ in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, metavar="PATH", help="CSV file, or folder of WAV files (see above)")
    add("--hidden", type=common.positive_int, default=32, help="units per direction (default: 32)")
    add("--epochs", type=common.positive_int, default=15, help="passes over the series (default: 15)")
    add("--seed", type=common.seed, default=0)
    add("--test", action="store_true", help="the figure on the test series, too")
    add("--model", type=common.model_file, help="where the model goes; if it is there, it is loaded instead of trained")
    add("--classify", type=Path, nargs="+", metavar="WAV", help="sounds of your own to classify")
    add("--picture", type=common.picture_file, help="where the confusion matrix goes (.png)")
    args = parser.parse_args()
    rows = read(args.data) if args.data else drawn(1200, args.seed)
    if len(rows) < common.FEWEST:
        raise common.DataError(f"{args.data} holds {len(rows)} series, fewer than {common.FEWEST}; expected {FORM}")
    train, dev, test = common.held_back(rows)
    own = [sound(path) for path in args.classify or []]
    labels = {label for label, _ in train}
    if len(labels) < 2:
        raise common.DataError(f"{args.data} has one label only, {min(labels)!r}; expected {FORM}")
    lengths = [len(series) for _, series in train]
    print(f"{len(train):,} series of {min(lengths)} to {max(lengths)} steps, {len(labels)} labels")
    model = common.kept(args.model, pylstm.Sequential, "labels", "scale", "mean", features=train[0][1].shape[1])
    if model is None:
        model = learn(train, dev, args)
        if args.model is not None:
            model.save(args.model)

    x, y = [series for _, series in train], pairs(model, train)[1]
    linear = Linear(x, y)
    usual = np.bincount(y).argmax()
    for name, part in [("dev", dev)] + ([("test", test)] if args.test else []):
        some, labels_there = pairs(model, part)
        said = model.predict_classes(some)
        simple = np.mean(linear([series for _, series in part]) == labels_there)
        print(f"{name}: {np.mean(said == labels_there):.1%} of {len(part)} series right; a linear classifier of means "
              f"and extremes {simple:.1%}, always the most frequent label {np.mean(labels_there == usual):.1%}"
        )  # fmt: skip
    if args.picture is not None:
        names = model.metadata["labels"]
        matrix = pylstm.confusion_matrix([label for label, _ in part], [names[i] for i in said])
        pylstm.plot_confusion_matrix(matrix, path=args.picture)
        print(f"what was taken for what is drawn in {args.picture}")
    for path, one in zip(args.classify or [], own, strict=True):
        p = model.predict(pairs(model, [("", one)])[0], activation="softmax")[0]
        print(f"{path}: {model.metadata['labels'][p.argmax()]} ({p.max():.0%})")


if __name__ == "__main__":
    common.run(main)
