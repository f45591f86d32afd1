"""Pictures of 32 x 32 pixels with one or two shapes in them, and a sentence about each: the sample of captions.py.

    python examples/shapes.py FOLDER        # 1,200 of them as PNG files, and captions.tsv, in the form of --data

Everything is drawn by chance from few words, so that a sentence as a whole is mostly new while its words are not. One
pair of words, "green triangle", is never drawn for training: what is said of it has to be put together from what was
seen of other green things and other triangles. Writing files needs matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
SIZE, FINE = 32, 4  # pixels a side; and how many points a side of each of them are looked at
COLOURS = {
    "red": (0.86, 0.15, 0.15),
    "green": (0.15, 0.65, 0.25),
    "blue": (0.15, 0.3, 0.85),
    "yellow": (0.95, 0.8, 0.2),
    "black": (0.1, 0.1, 0.12),
}
KINDS = ("circle", "ring", "square", "triangle", "cross")
NEVER = ("green", "triangle")  # not together in training


class Picture(NamedTuple):
    """pixels: (32, 32, 4), red, green, blue and opacity in 0..1. new: whether training has no such shape."""

    pixels: Array
    caption: str
    new: bool


def inside(kind: str, x: Array, y: Array) -> Array:
    """Whether points lie in a shape around the middle that is about 2 wide; y grows downwards."""
    distance, farther, nearer = np.hypot(x, y), np.maximum(abs(x), abs(y)), np.minimum(abs(x), abs(y))
    found: Array = {
        "circle": distance < 1,
        "ring": abs(distance - 0.75) < 0.25,
        "square": farther < 0.85,
        "triangle": (y < 0.75) & (abs(x) < (y + 1) * 0.55),
        "cross": (nearer < 0.28) & (farther < 1),
    }[kind]
    return found


def draw(rng: np.random.Generator, new: bool = False) -> Picture:
    """new: with a green triangle in it."""
    places = [(0.0, 0.0)]
    relation = ""
    if rng.random() < 0.5:
        relation = ["left of", "above"][rng.integers(2)]
        places = [(-0.5, 0.0), (0.5, 0.0)] if relation == "left of" else [(0.0, -0.5), (0.0, 0.5)]
    pixels, phrases = np.zeros((SIZE, SIZE, 4), np.float32), []
    for i, middle in enumerate(places):
        colour, kind = str(rng.choice(list(COLOURS))), str(rng.choice(KINDS))
        while (colour, kind) == NEVER:
            kind = str(rng.choice(KINDS))
        if new and i == 0:
            colour, kind = NEVER
        large = bool(rng.integers(2))
        paint(pixels, rng, kind, COLOURS[colour], middle, large, alone=not relation)
        phrases.append(f"a {'large' if large else 'small'} {colour} {kind}")
    return Picture(pixels, f" {relation} ".join(phrases), new)


def paint(
    pixels: Array,
    rng: np.random.Generator,
    kind: str,
    colour: tuple[float, float, float],
    middle: tuple[float, float],
    large: bool,
    alone: bool,
) -> None:
    """A shape somewhere about the middle, (x, y) in -1..1; none is quite like another."""
    radius = (rng.uniform(0.4, 0.48) if large else rng.uniform(0.2, 0.26)) * (1.2 if alone else 1.0)
    x0, y0 = np.array(middle) + rng.uniform(-0.08, 0.08, 2)
    at = (np.arange(SIZE * FINE) + 0.5) / (SIZE * FINE) * 2 - 1
    points = inside(kind, (at[None, :] - x0) / radius, (at[:, None] - y0) / radius)
    cover = points.reshape(SIZE, FINE, SIZE, FINE).mean((1, 3), dtype=np.float32)
    shade = np.clip(np.array(colour) + rng.uniform(-0.08, 0.08, 3), 0, 1)
    pixels[cover > 0, :3] = shade
    pixels[..., 3] = np.maximum(pixels[..., 3], cover)


def drawn(count: int, seed: int, new: bool = False) -> list[Picture]:
    rng = np.random.default_rng(seed)
    return [draw(rng, new) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--count", type=common.positive_int, default=1200, help="how many (default: 1,200)")
    parser.add_argument("--seed", type=common.seed, default=0)
    args = parser.parse_args()
    try:
        from matplotlib.image import imsave
    except ImportError:
        raise common.DataError("writing PNG files needs `pip install matplotlib`") from None
    try:
        args.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise common.DataError(f"there can be no folder {args.folder}: {error.strerror}") from None
    lines = ["file\tcaption"]
    for i, picture in enumerate(drawn(args.count, args.seed)):
        imsave(args.folder / f"{i:04}.png", picture.pixels)
        lines.append(f"{i:04}.png\t{picture.caption}")
    (args.folder / "captions.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    print(f"{args.folder}: {args.count:,} pictures and captions.tsv")


if __name__ == "__main__":
    common.run(main)
