"""A vocabulary of 50,000 words: steps with the softmax over all of them and with `SampledSoftmax`, and the perplexity
that each reaches after the same time of training.

python bench/sampled_softmax.py [--seconds 20] [--samples 512] [--curve] [--plot curve.png]

The words follow Zipf's law (exponent 1.2, as in bench/end_to_end.py); six of ten are given by the word before. The
clock stands still while perplexity, always over all words, is measured. The head's bias begins at log frequencies.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pylstm

WORDS, EMBEDDING, HIDDEN, LAYERS, STEPS, SEQUENCES = 50_000, 200, 200, 2, 35, 20
ZIPF, FOLLOWS = 1.2, 0.6
Curve = list[tuple[float, int, float]]  # seconds of training, steps, perplexity
Index = NDArray[np.int64]


def model() -> pylstm.Sequential:
    layers = [
        pylstm.Embedding(WORDS, EMBEDDING),
        pylstm.LSTM(EMBEDDING, HIDDEN, LAYERS, batch_first=True),
        pylstm.Linear(HIDDEN, WORDS),
    ]
    return pylstm.Sequential(layers, seed=0)


def text(count: int, seed: int) -> Index:
    """(count, STEPS + 1) words by falling frequency."""
    sums = np.cumsum(np.arange(1.0, WORDS + 1) ** -ZIPF)
    following, rng = np.random.default_rng(0), np.random.default_rng(seed)

    def drawn(rng: np.random.Generator, size: Any) -> Index:
        return np.asarray(np.searchsorted(sums, rng.random(size) * sums[-1]), np.int64)

    after = drawn(following, WORDS)
    words = drawn(rng, (count, STEPS + 1))
    follows = rng.random(words.shape) < FOLLOWS
    for step in range(1, STEPS + 1):
        words[:, step] = np.where(follows[:, step], after[words[:, step - 1]], words[:, step])
    return words


class Way:
    """One way to train, with its own model."""

    def __init__(self, name: str, loss: Any, optimizer: pylstm.Optimizer) -> None:
        self.name, self.loss, self.optimizer, self.net = name, loss, optimizer, model()
        self.seconds, self.steps = 0.0, 0
        counts = np.maximum(np.bincount(text(10_000, seed=9).reshape(-1), minlength=WORDS), 1)
        state = self.net.state_dict()
        state[list(state)[-1]] = np.log(counts / counts.sum()).astype(np.float32)  # the head's bias
        self.net.load_state_dict(state)

    def train(self, words: Index) -> float:
        """Seconds a step."""
        began = time.perf_counter()
        self.net.fit(
            words[:, :-1], words[:, 1:], loss=self.loss, optimizer=self.optimizer, batch_size=SEQUENCES, metrics=[],
            clip_norm=5.0, seed=self.steps, verbose=0,
        )  # fmt: skip
        taken, steps = time.perf_counter() - began, -(-len(words) // SEQUENCES)
        self.seconds, self.steps = self.seconds + taken, self.steps + steps
        return taken / steps

    def perplexity(self, words: Index) -> float:
        x, y = words[:, :-1], words[:, 1:]
        return self.net.evaluate(x, y, loss="cross_entropy", metrics=["perplexity"])["perplexity"]


def ways(samples: int, rate: float) -> list[Callable[[], Way]]:
    found: list[Callable[[], Way]] = []
    for loss in ("cross_entropy", pylstm.SampledSoftmax(samples)):
        for lazy in (False, True):
            name = f"{'full' if isinstance(loss, str) else f'{samples} samples'}, Adam(lazy={lazy})"
            found.append(partial(Way, name, loss, pylstm.Adam(rate, lazy=lazy)))
    return found


def step_times(samples: int, rounds: int = 3) -> None:
    words = text(SEQUENCES * 40, seed=1)  # many, so that what fit does around them counts little
    print(f"{WORDS} words, {STEPS} x {SEQUENCES} a step, {pylstm.get_num_threads()} threads: ms a step")
    made = [make() for make in ways(samples, 1e-3)]
    pieces = [words[: SEQUENCES * (4 if way.loss == "cross_entropy" else 40)] for way in made]
    times = [[way.train(some) for way, some in zip(made, pieces, strict=True)] for _ in range(rounds + 1)]
    best = np.min(times[1:], axis=0)  # the ways take turns, for the machine has better and worse minutes
    for way, seconds in zip(made, best, strict=True):
        print(f"{way.name:32} {1e3 * seconds:8.1f}   {best[0] / seconds:5.1f} times the speed of the first")


def curves(samples: int, seconds: float, rate: float, points: int = 6) -> dict[str, Curve]:
    """Of the full softmax and the sampled one, both with lazy Adam; by name."""
    held_out, found = text(60, seed=2), {}
    for make in ways(samples, rate)[1::2]:
        way, number = make(), 3
        curve = found[way.name] = [(0.0, 0, way.perplexity(held_out))]
        speed = way.train(text(2 * SEQUENCES, number))
        for point in range(1, points + 1):
            while (left := seconds * point / points - way.seconds) > speed / 2:
                number += 1
                steps = max(1, min(100, round(left / speed)))
                speed = way.train(text(SEQUENCES * steps, number))
            curve.append((way.seconds, way.steps, way.perplexity(held_out)))
            print(
                f"{way.name:32} {way.seconds:6.1f} s {way.steps:6d} steps: perplexity {curve[-1][2]:9.1f}", flush=True
            )
    return found


def draw(found: dict[str, Curve], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panel = plt.subplots(figsize=(6, 4), layout="constrained")
    for (name, curve), colour in zip(found.items(), ("#0072B2", "#D55E00"), strict=True):
        panel.plot([c[0] for c in curve], [c[2] for c in curve], "o-", color=colour, label=name)
    panel.set(xlabel="seconds of training", ylabel="perplexity over all words", yscale="log")
    panel.legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=20.0, help="of training, of each way in the curve")
    parser.add_argument("--rate", type=float, default=3e-3, help="the learning rate in the curve")
    parser.add_argument("--curve", action="store_true", help="perplexity after equal time, in place of a step's time")
    parser.add_argument("--plot", type=Path, help="draw the curve (needs matplotlib)")
    given = parser.parse_args()
    if not given.curve and given.plot is None:
        step_times(given.samples)
        return
    found = curves(given.samples, given.seconds, given.rate)
    if given.plot is not None:
        draw(found, given.plot)


if __name__ == "__main__":
    main()
