"""Speech to text: a stacked bidirectional LSTM hears what was said and writes the digits, by CTC (Graves 2013).

What it teaches:

* sound becomes a vector for every 20 ms (`pylstm.log_mel`), and text comes out, of another length, without anybody
  having said where in the sound a digit is: `loss="ctc"`;
* the label error rate: insertions, deletions and substitutions, by the number of digits that were said;
* --streaming: the same with a network that only looks back, a causal `Conv1d` before two LSTM layers. It hears one
  frame after another (`model.stream()`) and writes at once; the time that a frame takes is measured, and what it costs
  in errors not to know what comes;
* --without SPEAKER: a voice that was never heard in training, which is another, harder question.

Data: a folder as `speech_digits` is: strings of digits as recipes in digit_strings_train.csv and digit_strings_test.csv
(columns speaker, transcript, gap_ms, files), and the recordings of single digits in recordings/, WAV. Without --data:
ten "digits" spoken by six voices, all made here, which is a far easier task than speech.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np

import pylstm

Array = np.ndarray[Any, np.dtype[Any]]
FORM = "a folder with digit_strings_train.csv and recordings/ of WAV files"
RATE = 8000
OWN = f"a WAV file of {RATE} samples a second"
BANDS = 40
STEP, WINDOW = 0.010, 0.025  # seconds; two frames in a row make one vector
BLANK = 10
VOICES = ("ann", "bob", "cleo", "dan", "eve", "fay")


class Utterance(NamedTuple):
    """What was said, and by whom; `samples` 8,000 times a second."""

    speaker: str
    digits: list[int]
    samples: Array


# ---- the data --------------------------------------------------------------------------------------------------------


def recorded(folder: Path, part: str) -> list[Utterance]:
    """Digits, one after another with the silence between them that the recipe has."""
    recipe = folder / f"digit_strings_{part}.csv"
    lines = list(csv.DictReader(common.text_of(recipe, FORM).splitlines()))
    if missing := {"speaker", "transcript", "gap_ms", "files"} - set(lines[0] if lines else ()):
        raise common.DataError(f"{recipe} has no column {', '.join(sorted(missing))}; expected {FORM}")
    known: dict[str, Array] = {}
    found = []
    for number, line in enumerate(lines, 2):
        pieces: list[Array] = []
        for name, gap in zip(line["files"].split(), [*line["gap_ms"].split(), "0"], strict=False):
            if name not in known:
                known[name] = sound(folder / "recordings" / name)
            if not gap.isdigit() or int(gap) > 5000:
                raise common.DataError(f"{recipe} has {gap!r} as a gap in line {number}; expected milliseconds")
            pieces += [known[name], np.zeros(int(gap) * RATE // 1000, np.float32)]
        if not pieces or not line["transcript"].isdigit():
            raise common.DataError(f"{recipe} has no digits in line {number}; expected {FORM}")
        found.append(Utterance(line["speaker"], list(map(int, line["transcript"])), np.concatenate(pieces)))
    return found


def sound(path: Path, form: str = FORM) -> Array:
    samples, rate = common.sound(path, form)
    if rate != RATE:
        raise common.DataError(f"{path} has {rate} samples a second; expected {RATE}")
    return samples


def spoken(count: int, seed: int) -> list[Utterance]:
    """Strings of three to seven digits, each a glide between two vowels, in voices of their own pitch and speed."""
    rng = np.random.default_rng(seed)
    corners = np.random.default_rng(0).uniform((250, 800), (800, 2500), (10, 2, 2))  # of a digit: two formants, twice
    found = []
    for _ in range(count):
        voice = int(rng.integers(len(VOICES)))
        digits = rng.integers(0, 10, rng.integers(3, 8)).tolist()
        pieces = []
        for digit in digits:
            size = int(RATE * rng.uniform(0.2, 0.35) * (0.8 + 0.08 * voice))
            glide = np.linspace(0, 1, size)[:, None]
            formants = (corners[digit, 0] * (1 - glide) + corners[digit, 1] * glide) * (0.94 + 0.025 * voice)
            pitch = (90 + 25 * voice) * (1 + 0.1 * rng.standard_normal() - 0.1 * glide[:, 0])
            phase, tone = 2 * np.pi * np.cumsum(pitch) / RATE, np.zeros(size)
            for k in range(1, 12):
                near = 1 / (1 + ((k * pitch[:, None] - formants) / 120) ** 2)
                tone += near.sum(1) * np.sin(k * phase)
            pieces += [tone * np.hanning(size), np.zeros(int(RATE * rng.uniform(0.02, 0.12)))]
        samples = np.concatenate(pieces)
        samples = samples / np.abs(samples).max() * rng.uniform(0.1, 0.9)
        samples += 0.01 * rng.standard_normal(len(samples))
        found.append(Utterance(VOICES[voice], digits, samples.astype(np.float32)))
    return found


def vectors(samples: Array) -> Array:
    """(n,) -> (T, 80): two frames of 10 ms are one vector, which has all that a stream knows by then."""
    energies = pylstm.log_mel(samples, RATE, bands=BANDS, step=STEP, window=WINDOW)
    return energies[: len(energies) // 2 * 2].reshape(-1, 2 * BANDS)


# ---- the model -------------------------------------------------------------------------------------------------------


def network(args: argparse.Namespace) -> pylstm.Sequential:
    size = args.hidden
    if args.streaming:
        layers = [
            pylstm.Conv1d(2 * BANDS, size, 5, causal=True),
            pylstm.Activation("relu"),
            pylstm.Dropout(args.dropout),
            pylstm.LSTM(size, size, 2, batch_first=True, dropout=args.dropout),
            pylstm.Dropout(args.dropout),
            pylstm.Linear(size, 11),
        ]
    else:
        layers = [
            pylstm.LSTM(2 * BANDS, size, 2, batch_first=True, bidirectional=True, dropout=args.dropout),
            pylstm.Dropout(args.dropout),
            pylstm.Linear(2 * size, 11),
        ]
    return pylstm.Sequential(layers, seed=args.seed)


def learn(train: list[Utterance], dev: list[Utterance], args: argparse.Namespace) -> pylstm.Sequential:
    """A model; what it has to know of the features is its metadata."""
    features = [vectors(one.samples) for one in train]
    everything = np.concatenate(features)
    mean, scale = everything.mean(0), everything.std(0) + 1e-3
    model = network(args)
    model.metadata = {"mean": mean.tolist(), "scale": scale.tolist(), "streaming": args.streaming}
    print(model.summary())
    x = [(one - mean) / scale for one in features]
    model.fit(
        x, [one.digits for one in train], loss=pylstm.CTC(blank=BLANK), optimizer=pylstm.AdamW(args.rate),
        clip_norm=5.0, batch_size=args.batch, epochs=args.epochs,
        validation_data=(heard(model, dev), [one.digits for one in dev]), metrics=["label_error_rate"],
        schedule=pylstm.WarmUp(1, pylstm.Cosine(max(1, args.epochs - 1))), seed=args.seed,
    )  # fmt: skip
    return model


def heard(model: pylstm.Sequential, some: Iterable[Utterance]) -> list[Array]:
    """What the model is given of utterances."""
    mean, scale = (np.array(model.metadata[name], np.float32) for name in ("mean", "scale"))
    return [(vectors(one.samples) - mean) / scale for one in some]


def written(model: pylstm.Sequential, some: list[Utterance], beam: int) -> list[list[int]]:
    """The digits of each: best first of `beam` prefixes, or of 1 the most probable class of each step."""
    return [
        pylstm.ctc_decode(logits[None], beam_size=beam, blank=BLANK)[0] for logits in model.predict(heard(model, some))
    ]


class Listener:
    """Writes while it hears: samples in, digits out as soon as they are there."""

    def __init__(self, model: pylstm.Sequential) -> None:
        self.stream, self.last = model.stream(), BLANK
        self.mean, self.scale = (np.array(model.metadata[name], np.float32) for name in ("mean", "scale"))
        self.samples = np.zeros(0, np.float32)

    def hear(self, samples: Array) -> list[int]:
        """The digits that became certain with these samples; what is too short for a vector is kept for later."""
        self.samples = np.concatenate([self.samples, samples])
        found = []
        need, step = round((STEP + WINDOW) * RATE), round(2 * STEP * RATE)
        while len(self.samples) >= need:
            features = (vectors(self.samples[:need])[0] - self.mean) / self.scale
            self.samples = self.samples[step:]
            best = int(self.stream.step(features).argmax())
            if best not in (self.last, BLANK):
                found.append(best)
            self.last = best
        return found


# ---- figures ---------------------------------------------------------------------------------------------------------


def error_rate(said: list[list[int]], found: list[list[int]]) -> float:
    """Edits that make one of the other, by the number of digits said."""
    edits = 0
    for a, b in zip(said, found, strict=True):
        row = list(range(len(b) + 1))
        for i, one in enumerate(a, 1):
            before, row[0] = row[0], i
            for j, other in enumerate(b, 1):
                before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
        edits += row[-1]
    return edits / max(1, sum(map(len, said)))


def report(name: str, model: pylstm.Sequential, some: list[Utterance], args: argparse.Namespace) -> None:
    said = [one.digits for one in some]
    found = written(model, some, args.beam)
    right = sum(a == b for a, b in zip(said, found, strict=True))
    print(f"{name}: label error rate {error_rate(said, found):.2%}, {right} of {len(some)} strings without an error")
    if not model.metadata["streaming"]:
        return
    streamed, took = [], []
    step = round(2 * STEP * RATE)
    for one in some[:50]:
        listener, digits = Listener(model), []
        for at in range(0, len(one.samples), step):
            began = time.perf_counter()
            digits += listener.hear(one.samples[at : at + step])
            took.append(time.perf_counter() - began)
        streamed.append(digits)
    rate, late = error_rate(said[:50], streamed), np.quantile(took, 0.99)
    print(f"  heard as it comes, the first {len(streamed)}: {rate:.2%}; {2000 * STEP:.0f} ms of sound take "
          f"{np.median(took) * 1e6:.0f} us (median), 99 of 100 within {late * 1e6:.0f} us, once the "
          f"{1000 * (STEP + WINDOW):.0f} ms that a vector is of are there")  # fmt: skip


def draw(model: pylstm.Sequential, one: Utterance, path: Path) -> None:
    """The signal, the probability of every digit at each step, and the text."""
    import matplotlib.pyplot as plt

    logits = model.predict(heard(model, [one]))[0]
    text = pylstm.ctc_decode(logits[None], blank=BLANK)[0]
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    seconds = len(p) * 2 * STEP
    figure, (top, below) = plt.subplots(2, sharex=True, figsize=(10, 5), layout="constrained")
    top.plot(np.arange(len(one.samples)) / RATE, one.samples, linewidth=0.5)
    top.set_ylabel("signal")
    said = " ".join(map(str, one.digits)) or "?"
    top.set_title(f"said: {said}      written: {' '.join(map(str, text))}")
    below.imshow(p.T, aspect="auto", origin="lower", cmap="Blues", extent=(0, seconds, -0.5, 10.5), vmin=0, vmax=1)
    below.set_yticks(range(11), [*map(str, range(10)), "blank"])
    below.set_xlabel("seconds")
    below.set_ylabel("probability")
    figure.savefig(path)
    print(f"the probabilities are drawn in {path}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, metavar="PATH", help="folder of recordings and recipes (see above)")
    add("--streaming", action="store_true", help="a network that only looks back, heard frame by frame")
    add("--without", metavar="SPEAKER", help="a voice to leave out of training; the test is of this one alone then")
    add(
        "--hidden",
        type=common.positive_int,
        help="units of a layer (default: 128; on the sample 48, or 96 with --streaming)",
    )
    add("--dropout", type=common.share, default=0.3)
    add("--batch", type=common.positive_int, help="utterances in a batch (default: 16, or 8 on the sample)")
    add("--epochs", type=common.positive_int, help="passes over them (default: 20; --streaming on the sample: 40)")
    add("--beam", type=common.positive_int, default=1, help="prefixes that are searched side by side (default: 1)")
    add("--rate", type=common.positive, default=5e-3, help="learning rate (default: 0.005)")
    add("--seed", type=common.seed, default=0)
    add("--test", action="store_true", help="the figures on the test recipes, too")
    add("--listen", type=Path, metavar="FILE", help="write down what is said in a WAV file of yours")
    add("--model", type=common.model_file, help="where the model goes; if it is there, it is loaded instead of trained")
    add("--picture", type=common.picture_file, help="where a picture of an utterance goes (.png)")
    args = parser.parse_args()
    args.hidden = args.hidden or (128 if args.data else 96 if args.streaming else 48)
    args.batch = args.batch or (16 if args.data else 8)
    args.epochs = args.epochs or (40 if args.streaming and not args.data else 20)
    return args


def utterances(args: argparse.Namespace) -> tuple[list[Utterance], list[Utterance], list[Utterance]]:
    """To learn from, to watch the training with, and for the test."""
    if args.data is None:
        train, test = spoken(400, args.seed), spoken(60, args.seed + 1)
    elif not args.data.is_dir():
        raise common.DataError(f"there is no folder {args.data}; expected {FORM}")
    else:
        train, test = (recorded(args.data, part) for part in ("train", "test"))
    if args.without is not None:
        names = sorted({one.speaker for one in train})
        if args.without not in names:
            raise common.DataError(f"--without {args.without}: the speakers are {', '.join(names)}")
        train = [one for one in train if one.speaker != args.without]
        test = [one for one in test if one.speaker == args.without]
    dev = train[::20]
    train = [one for i, one in enumerate(train) if i % 20]
    if len(train) < common.FEWEST or not test:
        raise common.DataError(f"{len(train)} utterances are too few to learn from; expected {FORM}")
    return train, dev, test


def main() -> None:
    args = parse_arguments()
    own = None if args.listen is None else Utterance("", [], sound(args.listen, OWN))
    train, dev, test = utterances(args)
    model = common.kept(args.model, pylstm.Sequential, "mean", "scale", "streaming")
    if model is None:
        print(f"{len(train):,} utterances to learn from, {sum(len(one.samples) for one in train) / RATE / 60:.0f} min")
        model = learn(train, dev, args)
        if args.model is not None:
            model.save(args.model)
    report("held back", model, dev, args)
    if args.test:
        report("test" if args.without is None else f"test, {args.without}, who was never heard", model, test, args)
    for one, digits in zip(test[:5], written(model, test[:5], args.beam), strict=True):
        print(f"  {one.speaker}: said {' '.join(map(str, one.digits))}, written {' '.join(map(str, digits))}")
    if own is not None:
        print(f"{args.listen}: {' '.join(map(str, written(model, [own], args.beam)[0]))}")
    if args.picture is not None:
        draw(model, own or test[0], args.picture)


if __name__ == "__main__":
    common.run(main)
