"""Translation: an encoder reads a sentence in one language, a decoder with attention writes it in another.

By default from English into Chinese, --to en the other way round; Chinese is read and written by characters. In
training the decoder is given the true words one step late; on its own it eats its own words, and beam search keeps the
likeliest sentences. --test measures BLEU (needs `pip install sacrebleu`), by the length of the sentences, too;
--translate writes what you give it; --picture draws what the decoder looks at while it writes.

Data: a UTF-8 file with `English<TAB>Chinese` on each line (columns behind these are ignored), of which a part is held
back; or a folder with a file for each of train, dev and test. Without --data: a sample (data/translations.tsv), put
together from pieces, on which it takes about a minute. docs/guide/examples.md says where real sentences are published.
"""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import common
import numpy as np

import pylstm

Pair = tuple[str, str]  # a sentence, and what it means in the other language
FORM = "a file with `English<TAB>Chinese` on each line"
LONGEST = {"zh": 80, "en": 60}  # symbols of a translation
# on data of one's own, and on the sample, which is small
DEFAULTS = {"embed": (256, 64), "hidden": (256, 128), "dropout": (0.3, 0.2), "batch": (64, 8), "epochs": (12, 15),
            "rate": (1e-3, 5e-3)}  # fmt: skip
LENGTHS = ((1, 5), (6, 9), (10, 14), (15, 1000))  # words of a source, for the table


def read(path: Path) -> list[Pair]:
    """(English, Chinese) of every line that is not blank."""
    rows = []
    for number, line in enumerate(common.text_of(path, FORM).split("\n"), 1):
        if not line.strip():
            continue
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) < 2 or not (columns[0] and columns[1]):
            raise common.DataError(f"{path}, line {number}, is {common.cut(line)!r}; expected {FORM}")
        rows.append((columns[0], columns[1]))
    return rows


def frequencies(target: pylstm.Vocabulary, sentences: int) -> Any:
    """How often each symbol was written, with 1 for those that never were: words, end and begin."""
    return np.maximum([*target.counts, sentences, 0], 1)


class Translator:
    """A model with the vocabularies of both languages, in which begin and end follow the words."""

    def __init__(self, model: pylstm.EncoderDecoder) -> None:
        self.model = model
        self.source: pylstm.Vocabulary = model.metadata["source"]
        self.target: pylstm.Vocabulary = model.metadata["target"]

    @classmethod
    def of(cls, pairs: list[Pair], args: argparse.Namespace) -> Translator:
        source, target = (pylstm.Vocabulary(texts) for texts in zip(*pairs, strict=True))
        end = len(target)
        half, feed = args.hidden // 2, args.hidden if args.input_feeding else 0
        model = pylstm.EncoderDecoder(
            [
                pylstm.Embedding(len(source), args.embed, std=0.1),
                pylstm.Dropout(args.dropout),
                pylstm.LSTM(args.embed, half, batch_first=True, bidirectional=True),
            ],
            [
                pylstm.Embedding(end + 2, args.embed, std=0.1),
                pylstm.Dropout(args.dropout),
                pylstm.LSTM(args.embed + feed, 2 * half, batch_first=True),
                pylstm.Dropout(args.dropout),
                pylstm.Linear(2 * half, end + 2),
            ],
            None if args.attention == "none" else args.attention,
            begin=end + 1, end=end, input_feeding=args.input_feeding, seed=args.seed,
        )  # fmt: skip
        # How frequent a word is need not be learned: BLEU into English is 23.7, and was 20.4 beginning at zero.
        counts = frequencies(target, len(pairs))
        model.load_state_dict({**model.state_dict(), "decoder.4.bias": np.log(counts / counts.sum())})
        model.metadata = {"source": source, "target": target, "to": args.to}
        return cls(model)

    def encoded(self, pairs: list[Pair]) -> tuple[list[Any], list[Any]]:
        """Sources and targets for `fit`."""
        sources, targets = (list(texts) for texts in zip(*pairs, strict=True))
        return self.source.encode(sources), self.target.encode(targets)

    def written(self, ids: list[int]) -> str:
        """A sentence of numbers. What stands for unknown words is left out."""
        text = self.target.decode([i for i in ids if 1 < i < len(self.target)])
        return str(text[:1].upper() + text[1:])

    def translate(self, texts: list[str], beam: int) -> list[str]:
        sources = self.source.encode(texts)
        return [self.written(ids) for ids in self.model.translate(sources, beam, LONGEST[self.model.metadata["to"]])]


def bleu(written: list[str], right: list[str], to: str) -> float:
    """Of 0 to 100 (Papineni et al. 2002): of characters for Chinese, of words for English, small and capital alike."""
    import sacrebleu

    score = sacrebleu.corpus_bleu(written, [right], tokenize="zh" if to == "zh" else "13a", lowercase=True)
    return float(score.score)


def measure(translator: Translator, pairs: list[Pair], beam: int, to: str) -> None:
    """BLEU, and a table by the number of words in the source."""
    began = time.perf_counter()
    written = translator.translate([source for source, _ in pairs], beam)
    seconds = time.perf_counter() - began
    right = [target for _, target in pairs]
    print(f"BLEU {bleu(written, right, to):.1f} of {len(pairs):,} sentences, a beam of {beam}, {seconds:.1f} s")
    print("  words in the source  sentences   BLEU")
    counts = [len(translator.source.split(source)) for source, _ in pairs]
    for low, high in LENGTHS:
        some = [i for i, count in enumerate(counts) if low <= count <= high]
        if some:
            name = f"{low} to {high}" if high < 1000 else f"{low} and more"
            found = bleu([written[i] for i in some], [right[i] for i in some], to)
            print(f"  {name:>19}  {len(some):9,}  {found:5.1f}")


def draw(translator: Translator, text: str, beam: int, path: Path) -> None:
    """What the decoder looks at while it writes."""
    found, weights = translator.model.translate(translator.source.encode([text]), beam, return_attention=True)
    words = [translator.target.words[i] if i < len(translator.target) else "?" for i in found[0]]
    if not words:
        print(f"nothing is written for {text!r}, so that there is nothing to draw")
        return
    pylstm.plot_attention(weights[0], translator.source.split(text), words, path=path)
    print(f"what it looks at while it writes {translator.written(found[0])!r} is drawn in {path}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, metavar="PATH", help="file of sentence pairs, or folder (see above)")
    add("--to", choices=("zh", "en"), default="zh", help="the language to write (default: zh)")
    add("--embed", type=common.positive_int, help="size of a word's vector (default: 256, or 64 on the sample)")
    add("--hidden", type=common.positive_int, help="units of the decoder (default: 256, or 128 on the sample)")
    add("--attention", choices=("general", "additive", "dot", "scaled_dot", "none"), default="general")
    add("--input-feeding", action="store_true", help="give the decoder the vector of the step before; slower")
    add("--dropout", type=common.share, help="before and after the decoder's LSTM (default: 0.3, or 0.2 on the sample)")
    add("--batch", type=common.positive_int, help="sentences per update (default: 64, or 8 on the sample)")
    add("--sampled", type=common.positive_int, metavar="N", help="train with a sampled softmax of N words")
    add("--epochs", type=common.positive_int, help="passes over the data at most (default: 12, or 15 on the sample)")
    add("--rate", type=common.positive, help="learning rate of Adam (default: 0.001, or 0.005 on the sample)")
    add("--beam", type=common.positive_int, default=5, help="hypotheses of the beam search (default: 5)")
    add("--seed", type=common.seed, default=0)
    add("--test", action="store_true", help="BLEU on the test sentences (needs sacrebleu)")
    add("--translate", nargs="+", default=[], metavar="TEXT", help="sentences to translate")
    add("--model", type=common.model_file, help="where the model goes; if it is there, it is loaded instead of trained")
    add("--picture", type=common.picture_file, help="where a picture of the attention goes (.png)")
    args = parser.parse_args()
    for name, (real, sample) in DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, real if args.data else sample)
    if args.test and find_spec("sacrebleu") is None:
        parser.error("--test needs `pip install sacrebleu`")
    if args.picture is not None and args.attention == "none":
        parser.error("--picture draws an attention, and --attention none has none")
    if args.hidden % 2:
        parser.error(f"--hidden has to be even, a half for each direction of the encoder, not {args.hidden}")
    return args


def trained(train: list[Pair], dev: list[Pair], args: argparse.Namespace) -> Translator:
    translator = Translator.of(train, args)
    print(translator.model.summary())
    sources, targets = translator.encoded(train)
    symbols = sum(map(len, sources)) + sum(len(target) + 1 for target in targets)

    def speed(_: int, logs: dict[str, float]) -> None:
        print(f"  {symbols / logs['seconds']:,.0f} words a second; {dev[0][0]} -> "
              f"{translator.translate([dev[0][0]], 1)[0]}")  # fmt: skip

    loss: Any = "cross_entropy"
    if args.sampled:
        loss = pylstm.SampledSoftmax(args.sampled, frequencies(translator.target, len(train)))
    translator.model.fit(
        sources, targets, loss=loss, optimizer=pylstm.Adam(args.rate), batch_size=args.batch, epochs=args.epochs,
        validation_data=translator.encoded(dev), metrics=["perplexity"], clip_norm=1.0, seed=args.seed,
        schedule=pylstm.Cosine(args.epochs), callbacks=[pylstm.EarlyStopping(patience=3), speed],
    )  # fmt: skip
    return translator


def fitting(model: Any, args: argparse.Namespace) -> Translator:
    """Of a file of an earlier run."""
    if model.metadata["to"] != args.to:
        raise common.DataError(
            f"{args.model} holds a model that writes {model.metadata['to']}: say --to, or another file"
        )
    if args.picture is not None and model.attention is None:
        raise common.DataError(f"{args.model} holds a model without attention, and --picture draws one")
    return Translator(model)


def main() -> None:
    args = parse_arguments()
    model = common.kept(args.model, pylstm.EncoderDecoder, "source", "target", "to")
    train: list[Pair] = []
    dev: list[Pair] = []
    if model is None or args.test or args.picture is not None or not args.translate:
        data = args.data or common.SAMPLES / "translations.tsv"
        parts = common.load(data, read, FORM, [".tsv", ".txt"], test=args.test)
        train, dev, test = ([(zh, en) for en, zh in some] if args.to == "en" else some for some in parts)
    translator = trained(train, dev, args) if model is None else fitting(model, args)
    if args.model is not None and model is None:
        translator.model.save(args.model)
    if args.test:
        measure(translator, test, args.beam, args.to)
    shown = [(text, "") for text in args.translate] or dev[:8]
    written = translator.translate([text for text, _ in shown], args.beam)
    for (source, right), found in zip(shown, written, strict=True):
        print(f"{source} -> {found}" + (f"   ({right})" if right else ""))
    if args.picture is not None:
        text = args.translate[0] if args.translate else max((source for source, _ in dev[:50]), key=len)
        draw(translator, text, args.beam, args.picture)


if __name__ == "__main__":
    common.run(main)
