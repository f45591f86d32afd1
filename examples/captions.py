"""What is in a picture: a vector made of its pixels starts an LSTM, which writes a sentence word by word.

Two convolutions look at the picture, 3 x 3 pixels at a time, a part of it moved into place and multiplied by a Linear
layer; another Linear makes one vector of what they find. With it the decoder's states begin, and it stands beside every
word that goes in. The decoder learns from the true words (teacher forcing); when it describes, it is given its own:
--beam keeps so many sentences in mind at once (`pylstm.beam_search`). A picture of any size is brought to 32 x 32.

Data: a table (UTF-8, tab-separated) with columns `file` and `caption`, and `split` (train, dev, test) if there is; PNG
files beside it, or in a folder there. Without `split` a tenth is held back to watch, and a tenth for --test. Reading
PNG files needs matplotlib. Without --data: shapes that are drawn (shapes.py), from which it learns in seconds; two
words that training has never seen together show whether it puts sentences together or remembers them.
docs/guide/examples.md says where real pictures are published.
"""

from __future__ import annotations

import argparse
import math
import textwrap
import time
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import common
import numpy as np
import shapes

import pylstm

Array = np.ndarray[Any, np.dtype[Any]]
FORM = "a table with columns `file` and `caption`, tab-separated, of PNG files beside it"
SIZE, CHANNELS = 32, 4  # red, green, blue, opacity
BORDER = "<border>"  # what a sentence begins and ends with
LONGEST = 40  # words, when it describes
PARTS = ("train", "dev", "test")


class Example(NamedTuple):
    pixels: Array  # (32, 32, 4)
    caption: str


# ---- the model -------------------------------------------------------------------------------------------------------


@pylstm.register
class Captioner(pylstm.Model):
    """(N, 32, 32, 4) pixels and (N, T) words so far -> (N, T, words) logits of the next ones."""

    def __init__(self, words: int, channels: int, size: int) -> None:
        self.words, self.channels, self.size = words, channels, size
        self.edges = pylstm.Linear(9 * CHANNELS, channels)
        self.forms = pylstm.Linear(9 * channels, 2 * channels)
        self.start = pylstm.Linear((SIZE // 4) ** 2 * 2 * channels, size)
        self.embed = pylstm.Embedding(words, size, padding_idx=0)
        self.lstm = pylstm.LSTM(2 * size, size, batch_first=True)
        self.head = pylstm.Linear(size, words)

    def run(self, pixels: Any, words: Array, lengths: Array | None = None) -> Any:
        vector = self.look(pixels)
        y, _ = self.lstm(self.inputs(words, vector), self.states(vector), lengths=lengths)
        return self.head(y)

    def look(self, pixels: Any) -> Any:
        """(N, size): what is in the pictures."""
        x = convolved(convolved(pixels, self.edges), self.forms)
        return 2 * self.start(x.reshape(len(x), -1))

    def begin(self, pixels: Array) -> tuple[Array, Array, Array]:
        """What `Describer.step` goes on from, (1, N, size) each: h, c, and the vector."""
        vector = self.look(pixels)
        return *self.states(vector), vector[None]

    def states(self, vector: Any) -> tuple[Any, Any]:
        return pylstm.tanh(vector)[None], vector[None]

    def inputs(self, words: Array, vector: Any) -> Any:
        """The words, and the picture's vector beside each."""
        beside = vector[:, None] + np.zeros((1, words.shape[1], 1), np.float32)
        return pylstm.concatenate([self.embed(words), beside], axis=-1)


def convolved(x: Any, linear: pylstm.Linear) -> Any:
    """(N, H, W, C) -> (N, H/2, W/2, ..): of every second place its surroundings, 3 x 3, through a linear layer.

    The factor keeps the size of the numbers, which ReLU and initial values in +-1/sqrt(inputs) would shrink.
    """
    n, height, width, channels = x.shape
    x = pylstm.concatenate([np.zeros((n, 1, width, channels), np.float32), x], axis=1)
    x = pylstm.concatenate([np.zeros((n, height + 1, 1, channels), np.float32), x], axis=2)
    around = [x[:, i : i + height : 2, j : j + width : 2] for i in range(3) for j in range(3)]
    return pylstm.relu(linear(pylstm.concatenate(around, axis=-1))) * 6**0.5


class Describer:
    """A model with what it needs beside its weights: vocabulary, and how the colours of its pictures are spread."""

    def __init__(self, model: Captioner) -> None:
        self.model = model
        self.vocabulary: pylstm.Vocabulary = model.metadata["vocabulary"]
        self.mean, self.scale = (np.array(model.metadata[name], np.float32) for name in ("mean", "scale"))
        self.border = self.vocabulary.id(BORDER)

    def pixels(self, examples: list[Example]) -> Array:
        return (np.stack([example.pixels for example in examples]) - self.mean) / self.scale

    def pairs(self, examples: list[Example]) -> tuple[tuple[Array, list[Array]], list[Array]]:
        """As fit takes them: pictures with the words so far, and the words that come next."""
        ids = [
            np.array([self.border, *words, self.border])
            for words in self.vocabulary.encode([split(example.caption) for example in examples])
        ]
        return (self.pixels(examples), [row[:-1] for row in ids]), [row[1:] for row in ids]

    def __call__(self, examples: list[Example], beam: int = 1) -> list[str]:
        """What the model says; a beam of 1 is greedy."""
        return [found[0][0] for found in self.best(examples, beam, 1)]

    def best(self, examples: list[Example], beam: int, count: int) -> list[list[tuple[str, float]]]:
        """The likeliest sentences about each, with their probabilities."""
        state = self.model.begin(self.pixels(examples))
        found = pylstm.beam_search(
            self.step, state, self.border, self.border, beam, LONGEST, n_best=min(beam, count), axis=1
        )
        words = self.vocabulary.words
        return [[(joined([words[i] for i in one.symbols]), math.exp(one.log_prob)) for one in some] for some in found]

    def step(self, words: Array, state: Any) -> tuple[Array, Any]:
        """One word further: (N,) words and the states behind them -> (N, words) logits of the next ones, and states."""
        h, c, vector = state
        y, (h, c) = self.model.lstm(self.model.inputs(words[:, None], vector[0]), (h, c))
        logits = self.model.head(y[:, 0])
        logits[:, [self.vocabulary.padding, self.vocabulary.unknown]] = -np.inf
        return logits, (h, c, vector)


def split(caption: str) -> list[str]:
    """Words; a comma is one of them."""
    return caption.replace(",", " ,").split()


def joined(words: list[str]) -> str:
    return " ".join(words).replace(" ,", ",")


# ---- the data --------------------------------------------------------------------------------------------------------


def read(path: Path) -> dict[str, list[Example]]:
    """What a table and its pictures hold, by part."""
    path = path / "captions.tsv" if path.is_dir() else path
    header, *lines = common.text_of(path, FORM).split("\n")
    columns = [name.strip().lower() for name in header.split("\t")]
    for name in ("file", "caption"):
        if name not in columns:
            raise common.DataError(f"{path} has no column `{name}`, but {common.cut(header)!r}; expected {FORM}")
    parts: dict[str, list[Example]] = {name: [] for name in PARTS}
    folders = [path.parent, *(inner for inner in sorted(path.parent.iterdir()) if inner.is_dir())]
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        row = dict(zip(columns, (cell.strip() for cell in line.split("\t")), strict=False))
        file, caption, part = row["file"], " ".join(row.get("caption", "").split()), row.get("split", "train")
        if not (file and caption):
            raise common.DataError(f"{path}, line {number}, has no file or no caption: {common.cut(line)!r}; {FORM}")
        if part not in parts:
            raise common.DataError(f"{path}, line {number}: `split` is {part!r}; expected one of {', '.join(PARTS)}")
        place = next((folder / file for folder in folders if (folder / file).is_file()), None)
        if place is None:
            raise common.DataError(f"{path}, line {number}: there is no {file} beside it; expected {FORM}")
        parts[part].append(Example(picture(place), caption))
    count = sum(map(len, parts.values()))
    if count < common.FEWEST or not parts["train"]:
        raise common.DataError(
            f"{path} holds {count} examples, {len(parts['train'])} of them to learn from; at least {common.FEWEST} are "
            f"needed; expected {FORM}"
        )
    return parts if "split" in columns else dict(zip(PARTS, common.held_back(parts["train"]), strict=True))


def picture(path: Path) -> Array:
    """(32, 32, 4) of a PNG file: colours as far as they are opaque, and opacity."""
    if find_spec("matplotlib") is None:
        raise common.DataError("reading pictures needs `pip install matplotlib`")
    from matplotlib.image import imread

    try:
        with path.open("rb") as file:
            pixels = np.asarray(imread(file, format="png"), np.float32)
    except FileNotFoundError:
        raise common.DataError(f"there is no {path}; expected a PNG file") from None
    except OSError as error:
        raise common.DataError(f"cannot read {path}: {error.strerror or 'it is no PNG file'}") from None
    except (SyntaxError, ValueError) as error:
        raise common.DataError(f"{path} is no PNG file: {error}") from None
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    opacity = pixels[..., 3:] if pixels.shape[2] == 4 else np.ones_like(pixels[..., :1])
    return fitted(np.concatenate([pixels[..., :3] * opacity, opacity], axis=2))


def fitted(pixels: Array) -> Array:
    """Brought to 32 x 32 by means, or by repeating pixels; what is not square gets an empty border."""
    height, width = pixels.shape[:2]
    side = max(height, width)
    if height != width:
        square = np.zeros((side, side, CHANNELS), np.float32)
        top, left = (side - height) // 2, (side - width) // 2
        square[top : top + height, left : left + width] = pixels
        pixels = square
    if side == SIZE:
        return pixels
    edges = np.arange(SIZE) * side // SIZE
    if side < SIZE:
        return np.asarray(pixels[edges][:, edges])
    sums = np.add.reduceat(np.add.reduceat(pixels, edges, axis=0), edges, axis=1)
    counts = np.diff(np.append(edges, side))
    means: Array = sums / (counts[:, None, None] * counts[None, :, None]).astype(np.float32)
    return means


def drawn(count: int, seed: int, new: bool = False) -> list[Example]:
    """Shapes; new: with such as training does not have."""
    found = []
    for shape in shapes.drawn(count, seed, new):
        opacity = shape.pixels[..., 3:]
        found.append(Example(np.concatenate([shape.pixels[..., :3] * opacity, opacity], axis=2), shape.caption))
    return found


# ---- training, figures, pictures -------------------------------------------------------------------------------------


def learn(parts: dict[str, list[Example]], args: argparse.Namespace) -> Describer:
    """A model of the training part; what is needed beside it is its metadata."""
    train, dev = parts["train"], parts["dev"]
    texts = [[BORDER, *split(example.caption)] for example in train]
    vocabulary = pylstm.Vocabulary(texts, by="spaces", lowercase=False, min_count=1)
    pixels = np.stack([example.pixels for example in train])
    model = Captioner(len(vocabulary), args.channels, args.size)
    model.redraw(args.seed)
    mean, scale = pixels.mean((0, 1, 2)), pixels.std((0, 1, 2)) + 1e-3
    model.metadata = {"vocabulary": vocabulary, "mean": mean.tolist(), "scale": scale.tolist()}
    describer = Describer(model)
    print(f"{len(train):,} pictures, {len(vocabulary):,} words, {model.num_parameters:,} parameters")
    model.fit(
        *describer.pairs(train), loss="cross_entropy", optimizer=pylstm.AdamW(args.lr), batch_size=args.batch,
        epochs=args.epochs, schedule=pylstm.WarmUp(1, pylstm.Cosine(max(1, args.epochs - 1))), clip_norm=1.0,
        metrics=[], validation_data=describer.pairs(dev) if dev else None, seed=args.seed,
    )  # fmt: skip
    return describer


def report(name: str, describer: Describer, examples: list[Example], known: set[str], beam: int) -> list[str]:
    """Prints how many captions are exactly right, and their BLEU; returns what the model says."""
    began = time.perf_counter()
    said = describer(examples, beam)
    took = time.perf_counter() - began
    true = [example.caption for example in examples]
    right = [a == b for a, b in zip(said, true, strict=True)]
    print(f"{name}: {np.mean(right):.1%} of {len(right):,} captions exactly right{bleu(said, true)}, "
          f"{took / len(right) * 1e3:.2f} ms a picture")  # fmt: skip
    if name != "train":
        if beam > 1:
            greedy = [a == b for a, b in zip(describer(examples), true, strict=True)]
            print(f"  with a beam of {beam}; greedy {np.mean(greedy):.1%}")
        words = set(describer.vocabulary.words)
        can = [set(split(caption)) <= words for caption in true]
        new = [caption not in known for caption in true]
        known_words = f"{np.mean(np.array(right)[can]):.1%} of the" if any(can) else "the"
        print(f"  {known_words} {np.sum(can):,} right whose words are all in training; {np.sum(new):,} are sentences "
              "that training has not")  # fmt: skip
    return said


def bleu(said: list[str], true: list[str]) -> str:
    """Corpus BLEU of words (Papineni et al. 2002), where sacrebleu is installed."""
    if find_spec("sacrebleu") is None:
        return " (for BLEU: pip install sacrebleu)"
    from sacrebleu import corpus_bleu

    return f", BLEU {corpus_bleu(said, [true]).score:.1f}"


def contact_sheet(path: Path, examples: list[Example], said: list[str]) -> None:
    """The pictures with what the model says under each; where that is wrong, in red and with what is true."""
    from matplotlib.figure import Figure

    columns = 8
    rows = -(-len(examples) // columns)
    figure = Figure(figsize=(1.9 * columns, 1.75 * rows), layout="constrained")
    for i, (example, words) in enumerate(zip(examples, said, strict=True)):
        axes = figure.add_subplot(rows, columns, i + 1)
        rgb, opacity = example.pixels[..., :3], example.pixels[..., 3:]
        axes.imshow(np.clip(rgb + 1 - opacity, 0, 1), interpolation="nearest")  # on white
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_frame_on(False)
        right = words == example.caption
        text = wrapped(words) if right else f"{wrapped(words)}\n({wrapped(example.caption)})"
        axes.set_xlabel(text, fontsize=6.5, color="black" if right else "firebrick")
    figure.savefig(path, dpi=150)


def wrapped(text: str, width: int = 30) -> str:
    return "\n".join(textwrap.wrap(text, width)) or "nothing"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, metavar="PATH", help="table of pictures and captions, or its folder (see above)")
    add("--channels", type=common.positive_int, help="of the first convolution (default: 32, or 16 on the sample)")
    add("--size", type=common.positive_int, help="units of the LSTM (default: 256, or 64 on the sample)")
    add("--epochs", type=common.positive_int, help="passes over the pictures (default: 30, or 15 on the sample)")
    add("--batch", type=common.positive_int, default=32, help="pictures in a batch (default: 32)")
    add("--lr", type=common.positive, help="learning rate (default: 0.003, or 0.005 on the sample)")
    add("--seed", type=common.seed, default=0)
    add("--beam", type=common.positive_int, default=4, help="sentences to keep in mind; 1 is greedy (default: 4)")
    add("--test", action="store_true", help="the figures on the test pictures, too")
    add("--model", type=common.model_file, help="where the model goes; if it is there, it is loaded instead of trained")
    add("--describe", type=Path, nargs="+", metavar="PNG", help="pictures of your own to describe")
    add("--picture", type=common.picture_file, help="where a sheet of pictures with captions goes (.png)")
    args = parser.parse_args()
    usual = {"channels": 32, "size": 256, "epochs": 30, "lr": 3e-3}
    few = {"channels": 16, "size": 64, "epochs": 15, "lr": 5e-3}  # the sample has 19 words
    for name, value in (usual if args.data else few).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


def main() -> None:
    args = parse_arguments()
    own = [Example(picture(path), "") for path in args.describe or []]
    model = common.kept(args.model, Captioner, "vocabulary", "mean", "scale")
    parts = data(args) if model is None or args.test or args.picture or not own else {}
    describer = learn(parts, args) if model is None else Describer(model)
    if model is None and args.model is not None:
        describer.model.save(args.model)

    if parts:
        figures(describer, parts, args)
    found = describer.best(own, args.beam, 3) if own else []
    for path, some in zip(args.describe or [], found, strict=True):
        print(f"{path}: " + ", or ".join(f"{words} ({chance:.0%})" for words, chance in some))


def data(args: argparse.Namespace) -> dict[str, list[Example]]:
    if args.data:
        return read(args.data)
    return dict(zip(PARTS, common.held_back(drawn(1500, args.seed)), strict=True))


def figures(describer: Describer, parts: dict[str, list[Example]], args: argparse.Namespace) -> None:
    known = {example.caption for example in parts["train"]}
    said = {}
    for name in PARTS if args.test else PARTS[:2]:
        if parts[name]:
            said[name] = report(name, describer, parts[name], known, args.beam)
    if args.data is None:
        never = " ".join(shapes.NEVER)
        report(f'with a "{never}"', describer, drawn(100, args.seed + 1, new=True), known, args.beam)
    if args.picture is not None:
        name = list(said)[-1]
        chosen = Random(0).sample(range(len(said[name])), min(48, len(said[name])))
        contact_sheet(args.picture, [parts[name][i] for i in chosen], [said[name][i] for i in chosen])
        print(f"{len(chosen)} pictures of {name} with what the model says are drawn in {args.picture}")


if __name__ == "__main__":
    common.run(main)
