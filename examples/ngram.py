"""An n-gram model with interpolated, modified Kneser-Ney smoothing (Chen & Goodman 1999): what a network must beat.

Other examples import it. By itself it shows how much each more symbol of context helps on texts that were held back.

Data: a UTF-8 file with one text on each line, of which a tenth is held back. Without --data: a sample
(data/quatrains_zh.txt), put together from pieces.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import common

FORM = "a file with one text on each line"
START, END = "<s>", "</s>"


class KneserNey:
    """p(symbol | the order - 1 symbols before it), from sequences of symbols.

    Every order takes a discount off its counts, which depends on whether the count is 1, 2 or more, and gives what it
    saved to the next lower order. The lower orders count in how many different contexts a symbol was seen, rather than
    how often.
    """

    def __init__(self, sequences: Iterable[Sequence[str]], order: int = 4) -> None:
        self.order = order
        counts: dict[int, Counter[tuple[str, ...]]] = {k: Counter() for k in range(1, order + 1)}
        for sequence in sequences:
            padded = [START] * (order - 1) + [*sequence, END]
            for i in range(order - 1, len(padded)):
                counts[order][tuple(padded[i - order + 1 : i + 1])] += 1
        for k in range(order - 1, 0, -1):
            counts[k] = Counter(gram[1:] for gram in counts[k + 1])
        self.counts = counts
        self.symbols = len(counts[1])
        self.discounts = {k: self._discounts(counts[k]) for k in counts}
        self.totals: dict[int, Counter[tuple[str, ...]]] = {k: Counter() for k in counts}
        self.saved: dict[int, defaultdict[tuple[str, ...], float]] = {k: defaultdict(float) for k in counts}
        for k, grams in counts.items():
            for gram, count in grams.items():
                self.totals[k][gram[:-1]] += count
                self.saved[k][gram[:-1]] += self.discounts[k][min(count, 3)]

    @staticmethod
    def _discounts(counts: Counter[tuple[str, ...]]) -> list[float]:
        n = Counter(counts.values())
        if not all(n[k] for k in (1, 2, 3, 4)):
            return [0.0, 0.75, 0.75, 0.75]
        y = n[1] / (n[1] + 2 * n[2])
        return [0.0] + [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]

    def probability(self, symbol: str, context: tuple[str, ...]) -> float:
        """p(symbol | context), of which the last order - 1 symbols count."""
        k = len(context) + 1
        lower = self.probability(symbol, context[1:]) if context else 1.0 / self.symbols
        total = self.totals[k][context]
        if total == 0:
            return lower
        count = self.counts[k][(*context, symbol)]
        kept = max(count - self.discounts[k][min(count, 3)], 0.0)
        return kept / total + self.saved[k][context] / total * lower

    def perplexity(self, sequences: Iterable[Sequence[str]]) -> float:
        """exp of the mean of -log p over all symbols; the ends of the sequences are not counted."""
        loss, n = 0.0, 0
        for sequence in sequences:
            padded = [START] * (self.order - 1) + list(sequence)
            for i in range(self.order - 1, len(padded)):
                loss -= math.log(self.probability(padded[i], tuple(padded[i - self.order + 1 : i])))
                n += 1
        return math.exp(loss / n)


def read(path: Path) -> list[str]:
    return [line for line in common.text_of(path, FORM).split("\n") if line.strip()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="PATH", help="file with one text on each line")
    parser.add_argument("--order", type=common.positive_int, default=5, help="the longest n-grams (default: 5)")
    args = parser.parse_args()
    train, held_back, _ = common.load(args.data or common.SAMPLES / "quatrains_zh.txt", read, FORM, [".txt"])
    print(f"{len(train):,} texts to count in, {len(held_back):,} held back")
    for order in range(1, args.order + 1):
        known = f"{order - 1} character{'s' * (order != 2)} before it known"
        print(f"perplexity per character, {known}: {KneserNey(train, order).perplexity(held_back):.1f}")


if __name__ == "__main__":
    common.run(main)
