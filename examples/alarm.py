"""An alarm on a stream: a GRU that has learned how a machine shakes when it is well says when it shakes otherwise.

Ten times a second a frame of vibration arrives and becomes the energies of 12 bands of frequency. From the frames so far
the model says what the next one should be; the alarm goes off when it is wrong for about a second. It has only ever seen
the machine well, at changing load, and its narrow middle can pass on little more than the load. So it does not follow a
fault, which changes some bands and not others. Two simple thresholds stand beside it: on the level, as is usual, and on
how far the bands are from their means. Each alarm has its threshold from the same recording of the machine well: the
highest that was reached there. `model.stream()` takes frame by frame, and the time of each is measured.

Data: a WAV file (PCM) of the machine when it is well, a minute or more; its last quarter sets the threshold. --watch is
a second file, in which alarms are looked for. Without --data: signals made here, of a shaft with changing load and
faults of three kinds and many strengths at known times, so that what is missed and what is false can be counted.
"""

from __future__ import annotations

import argparse
import math
import time
import wave
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np

import pylstm

Array = np.ndarray[Any, np.dtype[Any]]
FORM = "a WAV file (PCM), a minute or more"
FRAMES = 10  # a second
BANDS = 12
CHUNK = 100  # frames of a sequence to train on
SMOOTH = 0.1  # of a new frame in the running mean: about a second
REST = 10 * FRAMES  # frames without alarm after which the next one is another alarm
KINDS = ("bearing", "unbalance", "looseness")


class Recording(NamedTuple):
    """frames: (N, samples). faults: kind, first frame and the one behind the last; None where nobody knows."""

    frames: Array
    faults: list[tuple[str, int, int]] | None


# ---- the data --------------------------------------------------------------------------------------------------------


def machine(minutes: float, seed: int, faulty: bool = False, rate: int = 2000) -> Recording:
    """A shaft of 15 to 25 turns a second whose load wanders, with a gear, noise and, in each minute, perhaps a fault."""
    rng = np.random.default_rng(seed)
    size, per_frame = round(minutes * 60 * FRAMES), rate // FRAMES
    frames, faults = np.empty((size, per_frame), np.float32), []
    load, turns = 0.5, 0.0
    for first in range(0, size, 60 * FRAMES):  # minute by minute
        count = min(60 * FRAMES, size - first)
        loads = np.empty(count)
        goal = rng.uniform(0, 1)
        for i in range(count):
            if rng.random() < 1 / 150:
                goal = rng.uniform(0, 1)
            load += 0.03 * (goal - load) + 0.01 * rng.standard_normal()
            loads[i] = load
        level = np.repeat(0.2 + 0.8 * np.clip(loads, 0, 1.2), per_frame)
        angle = turns + np.cumsum(15 + 10 * level) / rate  # in turns
        turns = angle[-1] % 1000
        shake = 0.3 * level * rng.standard_normal(len(level))
        for order, strength in ((1, 1.0), (2, 0.5), (3, 0.25), (12, 0.4)):
            shake += strength * level**1.5 * np.sin(2 * np.pi * order * angle + order)
        if faulty and rng.random() < 0.9 and count > 50 * FRAMES:
            kind = KINDS[rng.integers(3)]
            begin = int(rng.integers(5 * FRAMES, 30 * FRAMES))
            end = begin + 15 * FRAMES
            span = slice(begin * per_frame, end * per_frame)
            shake[span] += fault(kind, angle[span], level[span], rng.uniform(0.1, 0.8), rate)
            faults.append((kind, first + begin, first + end))
        frames[first : first + count] = shake.reshape(count, per_frame)
    return Recording(frames, faults if faulty else [])


def fault(kind: str, angle: Array, level: Array, strength: float, rate: int) -> Array:
    if kind == "unbalance":  # once a turn
        return 2 * strength * level**1.5 * np.sin(2 * np.pi * angle + 1)
    if kind == "looseness":  # between the harmonics
        return strength * level * sum(np.sin(2 * np.pi * order * angle) for order in (0.5, 1.5, 2.5))
    hits = np.diff(np.floor(3.6 * angle), prepend=np.floor(3.6 * angle[0]))  # a ball rolls over the damage
    seconds = np.arange(rate // 20) / rate
    ring = np.exp(-200 * seconds) * np.sin(2 * np.pi * 0.3 * rate * seconds)
    return 3 * strength * np.convolve(hits * level, ring)[: len(angle)]


def read(path: Path) -> tuple[Array, int]:
    """The first channel as frames (N, samples), and the number of samples a second."""
    if not path.is_file():
        raise common.DataError(f"there is no file {path}; say with --data where {FORM} is")
    try:
        with wave.open(str(path), "rb") as file:
            rate, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise common.DataError(
            f"{path} is no WAV file of PCM ({error or 'it ends too early'}); expected {FORM}"
        ) from None
    if width not in (1, 2, 4) or rate < 50 * FRAMES:
        raise common.DataError(
            f"{path} has {8 * width} bits and {rate} samples a second; expected 8, 16 or 32 bits, {FORM}"
        )
    raw = raw[: len(raw) // (width * channels) * width * channels]
    samples = np.frombuffer(raw, {1: "u1", 2: "<i2", 4: "<i4"}[width]).reshape(-1, channels)[:, 0].astype(np.float32)
    samples = (samples - (128 if width == 1 else 0)) / 2.0 ** (8 * width - 1)
    size = rate // FRAMES
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    if len(frames) < 60 * FRAMES:
        raise common.DataError(f"{path} has {len(frames) / FRAMES:.1f} s; expected {FORM}")
    return frames, rate


def energies(frames: Array) -> Array:
    """(..., samples) -> (..., 12): the logarithms of the energies in bands that widen upwards."""
    size = frames.shape[-1]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(size), axis=-1)) ** 2
    edges = np.unique(np.geomspace(1, size // 2, BANDS + 1).round().astype(int))[:-1]
    edges = np.concatenate([edges, np.arange(edges[-1] + 1, edges[-1] + 1 + BANDS - len(edges))])
    return np.log(np.add.reduceat(spectrum, edges, axis=-1) + 1e-9)


# ---- the alarms ------------------------------------------------------------------------------------------------------


class ByModel:
    """How far each frame is from what the model expected, in units of its usual error."""

    def __init__(self, model: pylstm.Sequential) -> None:
        self.model, self.stream = model, model.stream()
        self.mean, self.scale, self.usual = (np.array(model.metadata[name]) for name in ("mean", "scale", "usual"))
        self.expected: Array | None = None

    def __call__(self, bands: Array) -> float:
        x = (bands - self.mean) / self.scale
        error = 0.0 if self.expected is None else float((((x - self.expected) / self.usual) ** 2).mean())
        self.expected = self.stream.step(x)
        return math.log(error + 1e-9)


class ByBands:
    """How far the bands are from their means."""

    def __init__(self, model: pylstm.Sequential) -> None:
        self.mean, self.scale = (np.array(model.metadata[name]) for name in ("mean", "scale"))

    def __call__(self, bands: Array) -> float:
        return float((((bands - self.mean) / self.scale) ** 2).mean())


def by_level(bands: Array) -> float:
    """The energy of the whole frame."""
    return float(np.log(np.exp(bands).sum()))


def scores(score: Any, frames: Array) -> tuple[Array, Array]:
    """The running mean of a frame's score after each frame as it arrives, and how many seconds each took."""
    found, took = np.empty(len(frames)), np.empty(len(frames))
    mean = 0.0
    for i, frame in enumerate(frames):
        began = time.perf_counter()
        value = score(energies(frame))
        mean += (SMOOTH if i >= FRAMES else 1 / (i + 1)) * (value - mean)
        found[i] = mean
        took[i] = time.perf_counter() - began
    return found, took


def alarms(found: Array, threshold: float) -> Array:
    """The frames at which an alarm begins."""
    above = np.flatnonzero(found > threshold)
    return above[np.diff(above, prepend=-REST - 1) > REST]


def learn(frames: Array, args: argparse.Namespace) -> pylstm.Sequential:
    """A model of the machine that is well; what is needed beside it is its metadata."""
    bands = energies(frames)
    mean, scale = bands.mean(0), bands.std(0) + 1e-6
    x = ((bands - mean) / scale).astype(np.float32)
    count = (len(x) - 1) // CHUNK * CHUNK
    x, y = (part.reshape(-1, CHUNK, BANDS) for part in (x[:count], x[1 : count + 1]))
    held = max(1, len(x) // 5)
    model = pylstm.Sequential([
        pylstm.GRU(BANDS, args.hidden, batch_first=True),
        pylstm.Linear(args.hidden, 2),
        pylstm.Linear(2, BANDS),
    ], seed=args.seed)  # fmt: skip
    print(model.summary())
    model.fit(
        x[:-held], y[:-held], loss="mse", optimizer=pylstm.Adam(1e-2), batch_size=8, epochs=args.epochs, clip_norm=1.0,
        schedule=pylstm.Cosine(args.epochs), validation_data=(x[-held:], y[-held:]), seed=args.seed,
    )  # fmt: skip
    usual = (model.predict(x[-held:]) - y[-held:])[:, FRAMES:].std((0, 1)) + 1e-6
    model.metadata = {"mean": mean.tolist(), "scale": scale.tolist(), "usual": usual.tolist(), "size": frames.shape[1]}
    return model


# ---- the comparison --------------------------------------------------------------------------------------------------


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, metavar="PATH", help="WAV file of the machine when it is well")
    add("--watch", type=Path, metavar="PATH", help="WAV file to watch (default: the last quarter of --data)")
    add("--minutes", type=common.positive, default=60, help="of the made signal to watch (default: 60)")
    add("--hidden", type=common.positive_int, default=16, help="units of the GRU (default: 16)")
    add("--epochs", type=common.positive_int, default=20, help="passes over the recording (default: 20)")
    add("--seed", type=common.seed, default=0)
    add("--model", type=common.model_file, help="where the model goes; if it is there, it is loaded instead of trained")
    return parser.parse_args()


def recordings(args: argparse.Namespace) -> tuple[Array, Array, Recording]:
    """What the model learns from, what sets the thresholds, and what is watched."""
    if args.data is None:
        if args.watch is not None:
            raise common.DataError(f"--watch needs --data, {FORM} of the same machine when it is well")
        quiet = [machine(minutes, args.seed + i).frames for i, minutes in ((0, 20), (1, 30))]
        return quiet[0], quiet[1], machine(args.minutes, args.seed + 2, faulty=True)
    frames, rate = read(args.data)
    cut = len(frames) * 3 // 4
    if args.watch is None:
        return frames[: len(frames) // 2], frames[len(frames) // 2 : cut], Recording(frames[cut:], None)
    watched, other = read(args.watch)
    if other != rate:
        raise common.DataError(f"{args.watch} has {other} samples a second, and {args.data} {rate}; expected the same")
    return frames[:cut], frames[cut:], Recording(watched, None)


def main() -> None:
    args = parse_arguments()
    well, quiet, watched = recordings(args)
    print(f"{len(well) / FRAMES / 60:.1f} minutes to learn from, {len(quiet) / FRAMES / 60:.1f} to set the thresholds, "
          f"{len(watched.frames) / FRAMES / 60:.1f} to watch")  # fmt: skip
    if args.model is not None and args.model.is_file():
        model = pylstm.load(args.model)
        print(f"{args.model} is loaded; delete it to train anew")
        if model.metadata.get("size") != well.shape[1]:
            raise common.DataError(
                f"{args.model} is not a model of frames of {well.shape[1]} samples; expected one of alarm.py"
            )
    else:
        model = learn(well, args)
        if args.model is not None:
            model.save(args.model)

    print(f"\n{'alarm by':20}{'detected':>12}{'after':>9}{'false per hour':>17}")
    for name, kind in (("level", None), ("bands", ByBands), ("GRU", ByModel)):
        threshold = scores(by_level if kind is None else kind(model), quiet)[0][REST:].max()
        found, took = scores(by_level if kind is None else kind(model), watched.frames)
        report(name, watched, found, alarms(found, threshold), threshold)
    print(f"\na frame by the GRU, from {well.shape[1]} samples to the answer: median {np.median(took) * 1e6:.0f} us, 99 of "
          f"100 within {np.quantile(took, 0.99) * 1e6:.0f} us, the slowest {took.max() * 1e6:.0f} us; "
          f"one arrives every {1e6 / FRAMES:,.0f} us")  # fmt: skip


def report(name: str, watched: Recording, found: Array, begins: Array, threshold: float) -> None:
    hours = len(found) / FRAMES / 3600
    if watched.faults is None:  # nobody knows which are false
        times = ", ".join(f"{begin / FRAMES:.0f} s" for begin in begins[:8])
        print(f"{name:20}{len(begins)} alarms, {len(begins) / hours:.1f} per hour{': ' if times else ''}{times}")
        return
    after = {kind: [] for kind in KINDS}
    free = np.ones(len(found), bool)
    for kind, first, last in watched.faults:
        free[first : last + REST] = False
        above = np.flatnonzero(found[first:last] > threshold)
        after[kind].append(above[0] / FRAMES if len(above) else math.inf)
    waits = np.array([wait for kind in KINDS for wait in after[kind]])
    false = int(free[begins].sum())
    delay = f"{np.median(waits[np.isfinite(waits)]):.1f} s" if np.isfinite(waits).any() else "-"
    print(
        f"{name:20}{np.isfinite(waits).sum():5} of {len(waits):3}{delay:>9}{false / (free.sum() / FRAMES / 3600):17.1f}"
    )
    print("    " + ", ".join(f"{kind} {np.isfinite(after[kind]).sum()} of {len(after[kind])}" for kind in KINDS))


if __name__ == "__main__":
    common.run(main)
