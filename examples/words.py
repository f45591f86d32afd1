"""A word-level language model: an LSTM reads one long text, learns to guess the next word, and writes.

What it teaches:

* one long text is cut into parts that are read side by side (`pylstm.text_batches`), and states go on from batch to
  batch (`stateful=True`): gradients reach back 35 words, and what the model remembers reaches further;
* thousands of words are thousands of outputs: the loss never holds them all (`--sampled N`: it looks at the right word
  and N drawn ones alone, which pays from some ten thousand words on);
* an honest figure: perplexity on the end of the text, beside a trigram model with modified Kneser-Ney smoothing.

Data: a UTF-8 text in any language, of 20,000 words or (much better) a million; its last tenth is held back, half of it
to watch the training with. Without --data: the language reference that every CPython carries, about a minute.
With --model the model is kept, and a second run loads it instead of training.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import common
import numpy as np
from char_lm import python_documentation
from ngram import KneserNey

import pylstm

Array = np.ndarray[Any, np.dtype[Any]]
FORM = "a text"
STEPS = 35  # words that gradients flow back through


def train(
    vocabulary: pylstm.Vocabulary, ids: np.ndarray, dev: np.ndarray, args: argparse.Namespace
) -> pylstm.Sequential:
    model = pylstm.Sequential([
        pylstm.Embedding(len(vocabulary), args.embed, std=0.1),
        pylstm.Dropout(args.dropout),
        pylstm.LSTM(args.embed, args.hidden, args.layers, batch_first=True, dropout=args.dropout * (args.layers > 1)),
        pylstm.Dropout(args.dropout),
        pylstm.Linear(args.hidden, len(vocabulary)),
    ], seed=args.seed)  # fmt: skip
    print(model.summary())
    loss = pylstm.SampledSoftmax(args.sampled) if args.sampled else "cross_entropy"
    model.fit(
        pylstm.text_batches(ids, args.batch, STEPS), stateful=True, loss=loss,
        optimizer=pylstm.AdamW(4e-3, betas=(0.9, 0.99)), epochs=args.epochs, clip_norm=1.0, metrics=["perplexity"],
        schedule=pylstm.WarmUp(1, pylstm.Cosine(max(1, args.epochs - 1))),
        validation_data=pylstm.text_batches(dev, 4, STEPS), seed=args.seed,
    )  # fmt: skip
    return model


def perplexity(model: pylstm.Sequential, ids: Array) -> float:
    """exp of the mean of -log p over a text that is read from its beginning to its end."""
    batches = pylstm.text_batches(ids, 1, 256)
    return model.evaluate(batches, stateful=True, loss="cross_entropy", metrics=["perplexity"])["perplexity"]


def write(
    model: pylstm.Sequential, vocabulary: pylstm.Vocabulary, prompt: str, count: int, args: argparse.Namespace
) -> str:
    """The prompt and `count` words that are drawn: each one drawn is the next step's input."""
    rng, stream = np.random.default_rng(args.seed), model.stream()
    words = [int(one) for one in vocabulary.encode(prompt)] or [vocabulary.unknown]
    for word in words:
        logits = stream.step(word)
    for _ in range(count):
        logits[[vocabulary.padding, vocabulary.unknown]] = -np.inf
        words.append(int(pylstm.sample(logits, args.temperature, rng=rng)))
        logits = stream.step(words[-1])
    return str(vocabulary.decode(words))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, metavar="PATH", help="UTF-8 text to learn (see above)")
    add("--max-words", type=common.positive_int, default=10000, help="the most different words (default: 10000)")
    add("--embed", type=common.positive_int, default=128, help="size of a word's vector (default: 128)")
    add("--hidden", type=common.positive_int, default=200, help="units of an LSTM layer (default: 200)")
    add("--layers", type=common.positive_int, default=1, help="LSTM layers (default: 1)")
    add("--dropout", type=common.share, default=0.3, help="before, between and after them (default: 0.3)")
    add("--batch", type=common.positive_int, default=10, help="parts of the text read side by side (default: 10)")
    add("--epochs", type=common.positive_int, default=6, help="passes over the text (default: 6)")
    add("--sampled", type=common.positive_int, metavar="N", help="train with a sampled softmax of N words")
    add("--seed", type=common.seed, default=0)
    add("--temperature", type=common.positive, default=0.7, help="below 1: safer guesses, above 1: wilder ones")
    add("--prompt", default="the value of", help="what the text that is written begins with")
    add("--write", type=common.positive_int, default=60, metavar="N", help="words to write (default: 60)")
    add("--test", action="store_true", help="the figures on the very end of the text, too")
    add("--model", type=common.model_file, help="where the model goes; if it is there, it is loaded instead of trained")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    text = common.text_of(args.data, FORM) if args.data else python_documentation()
    ends = [int(len(text) * share) for share in (0.9, 0.95)]
    parts = text[: ends[0]], text[ends[0] : ends[1]], text[ends[1] :]
    model = common.kept(args.model, pylstm.Sequential, "vocabulary")
    vocabulary = model.metadata["vocabulary"] if model else pylstm.Vocabulary([parts[0]], max_size=args.max_words)
    ids, dev, test = (vocabulary.encode(part) for part in parts)
    if len(ids) <= args.batch * STEPS or len(dev) < 10 or len(test) < 10:
        raise common.DataError(f"{len(ids)} words to learn from are too few, {args.batch * STEPS} needed at least")
    unknown = np.mean(dev == vocabulary.unknown)
    print(f"{len(ids):,} words to train on, {len(dev):,} and {len(test):,} held back, {unknown:.1%} of them unknown; "
          f"{len(vocabulary):,} different ones")  # fmt: skip
    if model is None:
        model = train(vocabulary, ids, dev, args)
        if args.model is not None:
            model.save(args.model, metadata={"vocabulary": vocabulary})

    trigram = KneserNey([ids.tolist()], order=3)
    for name, some in (("held back", dev), ("test", test))[: 1 + args.test]:
        ours, theirs = perplexity(model, some), trigram.perplexity([some.tolist()])
        print(f"{name}: perplexity per word {ours:.1f}; trigram with Kneser-Ney smoothing {theirs:.1f}, "
              f"the LSTM's is {abs(1 - ours / theirs):.1%} {'lower' if ours < theirs else 'higher'}")  # fmt: skip
    print("\n" + write(model, vocabulary, args.prompt, args.write, args))


if __name__ == "__main__":
    common.run(main)
