"""An alarm on a stream: a GRU that has learned how a machine shakes when it is well says when it shakes otherwise.

Ten times a second a frame of vibration arrives and becomes the energies of 12 bands of frequency. From the frames so
far the model says what the next one should be; the alarm goes off when it is wrong for about a second. It has only ever
seen the machine well, at changing load, and its narrow middle can pass on little more than the load. So it does not
follow a fault, which changes some bands and not others. Two simple thresholds stand beside it: on the level of the
whole frame, as is usual, and on how far the bands are from their means. Neither of them is told the load. Each alarm
has its threshold from the same recording of the machine well: the highest that was reached there. The model takes frame
by frame, by `model.stream()`, and the time of each is measured.

Data: a WAV file (PCM) of the machine when it is well, two minutes or more; its last quarter sets the thresholds.
--watch is a second file, in which alarms are looked for. Without --data: signals made here, of a shaft with changing
load and faults of three kinds and many strengths at known times, so that what is missed and what is false can be
counted. That is no measure of how it does on a real machine. And a model is as good as what it has heard: with a third
of the recording (--minutes 20) it has not met all loads, and is no better than the level.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np

import pylstm

Array = np.ndarray[Any, np.dtype[Any]]
FORM = "a WAV file (PCM), two minutes or more"
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
    """A shaft of 15 to 25 turns a second whose load wanders, with a gear, noise and, in most minutes, a fault."""
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
    """The mean of the channels as frames (N, samples), and how many samples there are in a second."""
    samples, rate = common.sound(path, FORM)
    if rate < 50 * FRAMES:
        raise common.DataError(f"{path} has {rate} samples a second, and {50 * FRAMES} are needed; expected {FORM}")
    size = rate // FRAMES
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    if len(frames) < 120 * FRAMES:
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


def watch(model: pylstm.Sequential, frames: Array) -> tuple[dict[str, Array], Array]:
    """The running mean of each alarm's score after each frame, as the frames arrive, and the seconds that the model's
    took, from samples to answer."""
    by_model, by_bands = ByModel(model), ByBands(model)
    found, took = np.empty((3, len(frames))), np.empty(len(frames))
    mean = np.zeros(3)
    for i, frame in enumerate(frames):
        began = time.perf_counter()
        bands = energies(frame)
        surprise = by_model(bands)
        took[i] = time.perf_counter() - began
        mean += max(SMOOTH, 1 / (i + 1)) * (np.array([by_level(bands), by_bands(bands), surprise]) - mean)
        found[:, i] = mean
    return dict(zip(("level", "bands", "GRU"), found, strict=True)), took


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
    add("--minutes", type=minutes, default=60, help="of made signal to watch, beside 5/6 as much before (default: 60)")
    add("--hidden", type=common.positive_int, default=16, help="units of the GRU (default: 16)")
    add("--epochs", type=common.positive_int, default=20, help="passes over the recording (default: 20)")
    add("--seed", type=common.seed, default=0)
    add("--model", type=common.model_file, help="where the model goes; if it is there, it is loaded instead of trained")
    return parser.parse_args()


def minutes(text: str) -> float:
    if (value := common.positive(text)) < 3:
        raise argparse.ArgumentTypeError(f"has to be at least 3, not {text}")
    return value


def recordings(args: argparse.Namespace) -> tuple[Array, Array, Recording]:
    """What the model learns from, what sets the thresholds, and what is watched."""
    if args.data is None:
        if args.watch is not None:
            raise common.DataError(f"--watch needs --data, {FORM} of the same machine when it is well")
        learned, quiet = (machine(args.minutes / part, args.seed + i).frames for i, part in enumerate((3, 2)))
        return learned, quiet, machine(args.minutes, args.seed + 2, faulty=True)
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
    model = common.kept(args.model, pylstm.Sequential, "mean", "scale", "usual", size=well.shape[1])
    if model is None:
        model = learn(well, args)
        if args.model is not None:
            model.save(args.model)

    limits, _ = watch(model, quiet)
    found, took = watch(model, watched.frames)
    print()
    for name in found:
        report(name, watched, found[name], limits[name][REST:].max())
    late = np.quantile(took, 0.99)
    print(f"\na frame by the GRU, from {well.shape[1]} samples to the answer: median {np.median(took) * 1e6:.0f} us, "
          f"99 of 100 within {late * 1e6:.0f} us; one arrives every {1e6 / FRAMES:,.0f} us")  # fmt: skip


def report(name: str, watched: Recording, found: Array, threshold: float) -> None:
    begins = alarms(found, threshold)
    minutes = len(found) / FRAMES / 60
    if watched.faults is None:  # nobody knows which are false
        times = ", ".join(f"{begin / FRAMES:.0f} s" for begin in begins[:8])
        print(f"alarm by {name}: {len(begins)} in {minutes:.1f} minutes, {60 * len(begins) / minutes:.1f} an hour"
              f"{': at ' if times else ''}{times}{', ..' if len(begins) > 8 else ''}")  # fmt: skip
        return
    free = np.ones(len(found), bool)
    waits: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for kind, first, last in watched.faults:
        free[first : last + REST] = False
        above = np.flatnonzero(found[first:last] > threshold)
        waits[kind].append(above[0] / FRAMES if len(above) else math.inf)
    detected = [wait for kind in KINDS for wait in waits[kind] if wait < math.inf]
    kinds = ", ".join(f"{kind} {np.isfinite(waits[kind]).sum()} of {len(waits[kind])}" for kind in KINDS)
    false, hours = int(free[begins].sum()), free.sum() / FRAMES / 3600
    delay = f", after {np.median(detected):.1f} s (median)" if detected else ""
    print(f"alarm by {name}: {len(detected)} of {len(watched.faults)} faults detected{delay}: {kinds}\n"
          f"  {false} false alarms in {60 * hours:.0f} minutes without fault, {false / hours:.1f} an hour")  # fmt: skip


if __name__ == "__main__":
    common.run(main)
