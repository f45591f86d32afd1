"""Addition learned by a plain recurrent network with 8 hidden units.

Two 8-bit numbers are fed bit by bit, the least significant first; at each step the network says the bit of the sum.
What it has to find out is the carry: the one thing that must be remembered from step to step. After training it is
asked for every pair of numbers whose sum fits into 8 bits, and its hidden units are shown while it adds.

Data: none; it draws the numbers itself.
"""

from __future__ import annotations

import argparse
from typing import Any

import common
import numpy as np

import pylstm

Array = np.ndarray[Any, np.dtype[Any]]
BITS = 8


def bits(numbers: Array) -> Array:
    """(N,) -> (N, BITS), the least significant first."""
    return (numbers[:, None] >> np.arange(BITS)) & 1


def problem(a: Array, b: Array) -> tuple[Array, Array]:
    """The two numbers' bits as input (N, BITS, 2), those of their sum as target (N, BITS)."""
    return np.stack([bits(a), bits(b)], axis=-1).astype(np.float32), bits(a + b)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=common.positive_int, default=8, help="hidden units (default: 8)")
    parser.add_argument("--epochs", type=common.positive_int, default=40, help="passes over --pairs sums (default: 40)")
    parser.add_argument("--pairs", type=common.positive_int, default=2000, help="sums to learn from (default: 2000)")
    parser.add_argument("--seed", type=common.seed, default=0)
    args = parser.parse_args()

    every = np.arange(2**BITS)
    a, b = (grid.ravel() for grid in np.meshgrid(every, every))
    fits = a + b < 2**BITS
    a, b = a[fits], b[fits]
    if args.pairs > len(a):
        parser.error(f"argument --pairs: there are {len(a):,} pairs whose sum fits into {BITS} bits")
    some = np.random.default_rng(args.seed).choice(len(a), args.pairs, replace=False)

    model = pylstm.Sequential(
        [pylstm.RNN(2, args.hidden, batch_first=True), pylstm.Linear(args.hidden, 1)], seed=args.seed
    )
    print(model.summary())
    model.fit(
        *problem(a[some], b[some]), loss="binary_cross_entropy", optimizer=pylstm.Adam(1e-2), batch_size=32,
        epochs=args.epochs, clip_norm=1.0, schedule=pylstm.Cosine(args.epochs), seed=args.seed,
        callbacks=[lambda _, logs: logs["accuracy"] == 1 and logs["loss"] < 1e-3],
    )  # fmt: skip

    x, y = problem(a, b)
    found = (model.predict(x)[..., 0] > 0).astype(int)
    right = (found == y).all(axis=1)
    print(f"\nall {len(a):,} pairs whose sum fits into {BITS} bits: {right.mean():.2%} right")
    for k in np.random.default_rng(args.seed).choice(len(a), 3, replace=False):
        sum_found = int((found[k] << np.arange(BITS)).sum())
        print(f"  {a[k]:3} + {b[k]:3} = {sum_found:3}   {found[k][::-1]} {'right' if right[k] else 'wrong'}")

    rnn = model.layers[0]
    assert isinstance(rnn, pylstm.RNN)
    states = rnn.trace(x)["h_l0"]  # (sums, BITS, hidden)
    carry = (np.cumsum(bits(a) << np.arange(BITS), axis=1) + np.cumsum(bits(b) << np.arange(BITS), axis=1)) >> (
        np.arange(BITS) + 1
    )
    k = int(np.flatnonzero((a == 75) & (b == 27))[0])
    print(f"\nthe hidden units while it adds {a[k]} and {b[k]}, least significant bit first (+ near 1, - near -1),")
    print("and how closely each follows the carry over all sums (correlation):")
    print("  carry    ", " ".join("1" if bit else "." for bit in carry[k]))
    for unit in range(args.hidden):
        signs = " ".join("+" if v > 0.5 else "-" if v < -0.5 else "." for v in states[k, :, unit])
        together = np.corrcoef(states[:, :, unit].ravel(), carry.ravel())[0, 1]
        print(f"  unit {unit}    {signs}   {together:+.2f}")


if __name__ == "__main__":
    common.run(main)
