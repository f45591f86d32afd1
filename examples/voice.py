"""Where somebody speaks: Silero VAD, a convolutional front and an LSTM, run from its ONNX file while the sound comes.

What it teaches:

* an ONNX file is one line, `pylstm.from_onnx`, and needs no other package to run;
* `model.stream()` keeps the LSTM's states between frames: 32 ms of sound at a time, as from a microphone, with the
  outputs of a whole run;
* from probabilities to answers: two thresholds, so that speech does not begin and end at every breath.

The sound: a WAV file of 16,000 samples a second. Without one: vowels that are made here, and noise between them.

Where the model is: `pip install --no-deps silero-vad` (11 MB; the package itself is not imported), or --weights with
its file silero_vad_16k_op15.onnx. It is Silero Team's, MIT.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import common
import numpy as np

import pylstm

Array = np.ndarray[Any, np.dtype[Any]]
FORM = "silero_vad_16k_op15.onnx of silero-vad"
SOUND = "a WAV file of 16,000 samples a second"
INSTALL = "pip install --no-deps silero-vad"
RATE = 16000
FRAME, CONTEXT = 512, 64  # samples of a step, and of the one before that it sees again
ON, OFF = 0.5, 0.35  # probabilities: speech begins above the one, and ends below the other ..
PAUSE = 0.1  # .. for so many seconds


def detector(path: Path) -> Any:
    try:
        model = pylstm.from_onnx(path)
        model.stream(sr=RATE).step(np.zeros((1, CONTEXT + FRAME), np.float32))
        return model
    except FileNotFoundError:
        raise common.DataError(f"there is no {path}; expected {FORM}") from None
    except (OSError, ValueError, TypeError) as error:
        raise common.DataError(f"{path}: {error}; expected {FORM}") from None


def probabilities(model: Any, samples: Array) -> Array:
    """That somebody speaks, of each frame."""
    stream, context = model.stream(sr=RATE), np.zeros(CONTEXT, np.float32)
    samples = np.pad(samples, (0, -len(samples) % FRAME)).astype(np.float32)
    found = []
    for frame in samples.reshape(-1, FRAME):
        found.append(float(stream.step(np.concatenate([context, frame])[None]).squeeze()))
        context = frame[-CONTEXT:]
    return np.array(found)


def spans(chances: Array) -> list[tuple[float, float]]:
    """(begin, end) in seconds of each stretch of speech."""
    step, found, begin, quiet = FRAME / RATE, [], -1, 0
    for i, chance in enumerate([*chances, *[0.0] * (1 + int(PAUSE * RATE / FRAME))]):
        if begin < 0:
            if chance >= ON:
                begin, quiet = i, 0
        else:
            quiet = quiet + 1 if chance < OFF else 0
            if quiet * step >= PAUSE:
                found.append((begin * step, (i + 1 - quiet) * step))
                begin = -1
    return found


def made(seed: int) -> Array:
    """Eight seconds: vowels of a voice that rises and falls, and noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(8 * RATE) / RATE
    sound = 0.003 * rng.standard_normal(len(t))
    for begin in (1.0, 3.5, 6.0):
        for k, formants in enumerate(((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480))):
            inside = (t >= begin + 0.3 * k) & (t < begin + 0.3 * (k + 1))
            pitch = 120 + 25 * np.sin(2 * np.pi * 1.5 * (t[inside] - begin)) + rng.normal(0, 1)
            phase, tone = 2 * np.pi * np.cumsum(pitch) / RATE, np.zeros(int(inside.sum()))
            for harmonic in range(1, 30):
                near = sum(1 / (1 + ((harmonic * pitch - formant) / 90) ** 2) for formant in formants)
                tone += near * np.sin(harmonic * phase) / harmonic**0.5
            sound[inside] += 0.15 * tone * np.minimum(1, 20 * np.hanning(len(tone)))
    return sound.astype(np.float32)


def draw(samples: Array, chances: Array, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, (top, below) = plt.subplots(2, sharex=True, figsize=(10, 4), layout="constrained")
    top.plot(np.arange(len(samples)) / RATE, samples, linewidth=0.4)
    top.set_ylabel("signal")
    below.step(np.arange(len(chances)) * FRAME / RATE, chances, where="post")
    for begin, end in spans(chances):
        below.axvspan(begin, end, alpha=0.2)
    below.set(xlabel="seconds", ylabel="probability of speech", ylim=(0, 1.02))
    figure.savefig(path)
    print(f"drawn in {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sound", nargs="?", type=Path, metavar="FILE", help=SOUND)
    parser.add_argument("--weights", type=Path, metavar="PATH", help=f"{FORM} (default: that of the installed package)")
    parser.add_argument("--picture", type=common.picture_file, help="where a picture of it goes (.png)")
    args = parser.parse_args()
    samples = made(0)
    if args.sound is not None:
        samples, rate = common.sound(args.sound, SOUND)
        if rate != RATE:
            raise common.DataError(f"{args.sound} has {rate} samples a second; expected {SOUND}")
    model = detector(args.weights or common.installed("silero_vad", "data/silero_vad_16k_op15.onnx", INSTALL))
    began = time.perf_counter()
    chances = probabilities(model, samples)
    took = (time.perf_counter() - began) / max(1, len(chances))
    print(f"{len(samples) / RATE:.1f} s of sound in {len(chances)} frames; {1e6 * took:.0f} us for each of "
          f"{1000 * FRAME / RATE:.0f} ms")  # fmt: skip
    for begin, end in spans(chances):
        print(f"  speech from {begin:6.2f} to {end:6.2f} s")
    if not spans(chances):
        print("  nobody speaks")
    if args.picture is not None:
        draw(samples, chances, args.picture)


if __name__ == "__main__":
    common.run(main)
