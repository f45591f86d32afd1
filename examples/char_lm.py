"""A character-level LSTM language model: it reads text, learns to guess the next character, and then writes.

What it teaches:

* training a recurrent layer by hand: `forward`, a loss, `backward`, an update, and weights put back;
* truncated back-propagation through time: the text is one long sequence, cut into chunks; gradients stop at the
  border of a chunk, but the *state* is carried over it, so the model still sees what came long before;
* the usual companions: Adam, a falling learning rate, gradients clipped by their global norm;
* an honest figure: bits per character on the end of the text, which is never trained on.

It needs nothing but NumPy and pylstm.

Data: a UTF-8 text in any language, of 20,000 characters or (much better) a million; its last twentieth is held back.
Without --data: the language reference that every CPython carries.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

# NumPy's matrix products have threads of their own, which keep turning for a while after each product, on the cores
# that the LSTM needs next. The products here are small: one thread does.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import common
import numpy as np

import pylstm

try:
    from tqdm import tqdm
except ImportError:  # plain progress lines then
    tqdm = None

Array = np.ndarray[Any, np.dtype[Any]]
State = tuple[Array, Array]
EMBED = 128  # size of the vector that stands for a character
MIN_COUNT = 3  # a character seen less often is too rare to learn anything about ..
UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # .. and becomes this one


def python_documentation() -> str:
    """The text of `help("topics")`; a paragraph that stands in several topics is kept once, or it would leak into both
    sides of the split."""
    from pydoc_data.topics import topics

    return "\n\n".join(dict.fromkeys("\n\n".join(topics.values()).split("\n\n")))


class CharLM:
    """Embedding -> LSTM -> softmax over the vocabulary."""

    def __init__(self, vocabulary: str, embed: int, hidden: int, layers: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.vocabulary = vocabulary
        self.index = {char: i for i, char in enumerate(vocabulary)}
        self.lstm = pylstm.LSTM(embed, hidden, num_layers=layers, seed=seed)
        self.params: dict[str, Array] = {
            "embedding": rng.normal(0, 1, (len(vocabulary), embed)).astype(np.float32),
            "head_weight": rng.uniform(-1, 1, (len(vocabulary), hidden)).astype(np.float32) / math.sqrt(hidden),
            "head_bias": np.zeros(len(vocabulary), np.float32),
            **self.lstm.state_dict(),
        }

    def encode(self, text: str) -> Array:
        unknown = self.index[UNKNOWN]
        return np.array([self.index.get(char, unknown) for char in text], dtype=np.int32)

    def put_back(self) -> None:
        """Hands the changed weights to the LSTM; the others are used where they are."""
        self.lstm.load_state_dict({name: self.params[name] for name in self.lstm.params})

    def logits(self, hidden: Array) -> Array:
        """(T, N, H) -> (T * N, vocabulary)"""
        rows = hidden.reshape(-1, hidden.shape[-1])
        return rows @ self.params["head_weight"].T + self.params["head_bias"]

    def gradients(self, ids: Array, targets: Array, state: State | None) -> tuple[float, dict[str, Array], State]:
        """Mean loss in nats over a chunk (T, N), the gradient of every parameter, and the state after the chunk."""
        hidden, state, backward = self.lstm.forward(self.params["embedding"][ids], state)
        losses, d_logits = cross_entropy(self.logits(hidden), targets.reshape(-1))
        d_logits /= len(losses)
        d_hidden = (d_logits @ self.params["head_weight"]).reshape(hidden.shape)
        grads = backward(d_hidden, None)  # no gradient comes from the next chunk: that is the truncation
        assert grads.x is not None  # it is with need_dx=False
        all_grads = {
            "embedding": scatter_rows(ids.reshape(-1), grads.x.reshape(ids.size, -1), len(self.vocabulary)),
            "head_weight": d_logits.T @ hidden.reshape(ids.size, -1),
            "head_bias": d_logits.sum(0),
            **grads.params,
        }
        return float(losses.mean()), all_grads, state

    def bits_per_character(self, ids: Array, chunk: int = 1024) -> float:
        """Mean of -log2 p(next character) along one sequence, the state carried from its first step to its last."""
        total, state = 0.0, None
        for start in range(0, len(ids) - 1, chunk):
            piece = ids[start : start + chunk + 1, None]
            hidden, state = self.lstm(self.params["embedding"][piece[:-1]], state)
            total += float(cross_entropy(self.logits(hidden), piece[1:, 0])[0].sum(dtype=np.float64))
        return total / math.log(2) / (len(ids) - 1)

    def sample(self, length: int, prompt: str, temperature: float, seed: int) -> str:
        """Lets the model write: every character drawn is the next step's input."""
        rng = np.random.default_rng(seed)
        text, state, ids = "", None, self.encode(prompt)
        for _ in range(length):
            hidden, state = self.lstm(self.params["embedding"][ids[:, None]], state)
            logits = self.logits(hidden[-1:])
            logits[:, self.index[UNKNOWN]] = -np.inf
            ids = pylstm.sample(logits, temperature, rng=rng)
            text += self.vocabulary[int(ids[0])]
        return text

    def save(self, path: Path) -> None:
        """Written beside its place and then moved there, so that no half-written file is ever found."""
        codes = np.array([ord(char) for char in self.vocabulary], dtype=np.uint32)
        partial = path.with_name(path.name + ".part")
        with open(partial, "wb") as file:
            np.savez(file, vocabulary=codes, **self.params)  # type: ignore[arg-type]
        os.replace(partial, path)

    @classmethod
    def load(cls, path: Path) -> CharLM:
        with np.load(path, allow_pickle=False) as file:
            params = dict(file)
        vocabulary = "".join(map(chr, params.pop("vocabulary")))
        layers = sum(name.startswith("weight_hh_l") for name in params)
        model = cls(vocabulary, params["embedding"].shape[1], params["head_weight"].shape[1], layers, seed=0)
        model.params = params
        model.put_back()
        return model


def cross_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Loss in nats per row, and its gradient to the logits (written over them)."""
    rows = np.arange(len(targets))
    logits -= logits.max(axis=1, keepdims=True)
    chosen = logits[rows, targets]
    np.exp(logits, out=logits)
    sums = logits.sum(axis=1)
    logits /= sums[:, None]  # the softmax
    logits[rows, targets] -= 1
    return np.log(sums) - chosen, logits


def scatter_rows(ids: Array, rows: Array, count: int) -> Array:
    """out[i] = sum of the rows whose id is i: the gradient of a table look-up. Sorting first beats `np.add.at`."""
    out = np.zeros((count, rows.shape[1]), rows.dtype)
    order = np.argsort(ids, kind="stable")
    present, first = np.unique(ids[order], return_index=True)
    out[present] = np.add.reduceat(rows[order], first)
    return out


class Adam:
    """Kingma and Ba, 2014, after clipping by the global norm of all gradients."""

    def __init__(self, params: dict[str, Array], clip_norm: float = 1.0) -> None:
        self.params, self.clip_norm, self.step = params, clip_norm, 0
        self.mean = {name: np.zeros_like(p) for name, p in params.items()}
        self.square = {name: np.zeros_like(p) for name, p in params.items()}

    def update(self, grads: dict[str, Array], lr: float, beta1: float = 0.9, beta2: float = 0.99) -> None:
        self.step += 1
        norm = math.sqrt(sum(float(np.vdot(g, g)) for g in grads.values()))
        scale = min(1.0, self.clip_norm / (norm + 1e-6))
        rate = lr * math.sqrt(1 - beta2**self.step) / (1 - beta1**self.step)
        for name, param in self.params.items():
            grad, mean, square = grads[name] * np.float32(scale), self.mean[name], self.square[name]
            mean += (1 - beta1) * (grad - mean)
            square += (1 - beta2) * (grad * grad - square)
            param -= rate * mean / (np.sqrt(square) + 1e-8)


class Progress:
    """A bar from tqdm on a terminal; elsewhere, or without tqdm, a line after a second and every five."""

    def __init__(self, total: int) -> None:
        self.bar = tqdm(total=total, unit="char", unit_scale=True) if tqdm and sys.stderr.isatty() else None
        self.total, self.began, self.shown, self.seen, self.loss = total, time.perf_counter(), -4.0, 0, math.nan

    def update(self, characters: int, loss: float, last: bool) -> None:
        self.seen += characters
        self.loss = loss if math.isnan(self.loss) else 0.95 * self.loss + 0.05 * loss  # a running mean
        elapsed = time.perf_counter() - self.began
        figures = f"loss {self.loss:.3f}, {self.loss / math.log(2):.3f} bits/char"
        if self.bar is not None:
            self.bar.set_postfix_str(figures, refresh=False)
            self.bar.update(characters)
            if last:
                self.bar.close()
        elif last or elapsed > self.shown + 5:
            self.shown, speed = elapsed, self.seen / elapsed
            print(f"{elapsed:4.0f} s  {self.seen / self.total:4.0%}  {figures}, {speed:,.0f} chars/s", flush=True)


def train(model: CharLM, ids: Array, args: argparse.Namespace) -> None:
    """The text is cut into `batch` streams, which are read side by side, chunk by chunk, from start to end."""
    rng = np.random.default_rng(args.seed)
    adam, began = Adam(model.params), time.perf_counter()
    length = (len(ids) - args.chunk - 1) // args.batch  # of a stream
    per_epoch = length // args.chunk
    steps = max(1, round(args.epochs * per_epoch))
    progress = Progress(steps * args.batch * args.chunk)
    try:
        for step in range(steps):
            first = step % per_epoch * args.chunk
            if first == 0:  # a new epoch: the streams start elsewhere, so that the chunks' borders fall elsewhere
                offset, state = rng.integers(args.chunk), None
                inputs, targets = (ids[at : at + args.batch * length] for at in (offset, offset + 1))
                inputs, targets = (part.reshape(args.batch, length).T for part in (inputs, targets))
            piece = slice(first, first + args.chunk)
            loss, grads, state = model.gradients(inputs[piece], targets[piece], state)
            done = max((step + 1) / steps, (time.perf_counter() - began) / args.seconds)
            adam.update(grads, args.lr * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))
            progress.update(args.batch * args.chunk, loss, last=done >= 1)
            model.put_back()
            if done >= 1:
                break
    except KeyboardInterrupt:  # enough: half an update is still a good set of weights
        print("\nstopped: going on with what has been learned", flush=True)
        model.put_back()


class Defaults(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """The docstring as it stands, and the defaults of the options."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=Defaults)
    add = parser.add_argument
    add("--data", "--text", type=Path, metavar="PATH", help="UTF-8 text to learn (see above)")
    add("--hidden", type=common.positive_int, default=256, help="units of an LSTM layer")
    add("--layers", type=common.positive_int, default=1, help="LSTM layers")
    add("--epochs", type=common.positive, default=8, help="passes over the text")
    add("--seconds", type=common.positive, default=math.inf, help="end training after this time at the latest")
    add("--batch", type=common.positive_int, default=32, help="streams read side by side")
    add("--chunk", type=common.positive_int, default=64, help="steps that gradients flow back through")
    add("--lr", type=common.positive, default=6e-3, help="learning rate at the start; it falls to 0 along a cosine")
    add(
        "--seed",
        type=common.seed,
        default=0,
        help="the same seed gives the same model, unless --seconds ends its training",
    )
    add("--out", type=common.weights_file, default="char_lm.npz", help="where the weights go (.npz)")
    add("--sample", type=int, default=600, metavar="N", help="characters to write at the end")
    add("--prompt", help="what the sample goes on from (default: the start of a line)")
    add("--temperature", type=common.positive, default=0.6, help="below 1: safer guesses, above 1: wilder ones")
    args = parser.parse_args()
    args.prompt = args.prompt or "\n"
    return args


def main() -> None:
    args = parse_arguments()
    text = common.text_of(args.data, "a text") if args.data else python_documentation()
    split = int(len(text) * 0.95)
    if split < (needed := (args.batch + 1) * (args.chunk + 1)) or len(text) - split < 2:
        raise common.DataError(
            f"{split} characters are too few, {needed} needed: give more text or lower --batch or --chunk"
        )
    counts = Counter(text[:split])
    vocabulary = UNKNOWN + "".join(sorted(c for c, n in counts.items() if n >= MIN_COUNT and c != UNKNOWN))

    model = CharLM(vocabulary, EMBED, args.hidden, args.layers, args.seed)
    ids = model.encode(text)
    size = sum(param.size for param in model.params.values())
    print(f"{split:,} characters to train on, {len(text) - split:,} held out; {len(vocabulary)} symbols")
    print(f"{size:,} parameters, {pylstm.get_num_threads()} threads")
    train(model, ids[:split], args)
    held_out = model.bits_per_character(ids[split:])
    print(f"held out: {held_out:.3f} bits per character")

    model.save(args.out)
    model = CharLM.load(args.out)
    if model.bits_per_character(ids[split:]) != held_out:
        sys.exit(f"char_lm: the model read back from {args.out} is not the one that was written")
    print(f"weights written to {args.out} and read back: the same figure\n")
    print(args.prompt + model.sample(args.sample, args.prompt, args.temperature, args.seed))


if __name__ == "__main__":
    common.run(main)
