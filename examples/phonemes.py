"""How English words are spoken: the model of g2p_en, a GRU that reads letters and one that writes phonemes, run from
its own file, without its package or any framework.

What it teaches:

* weights that another program has trained, NumPy arrays under names of its own, become a model of ours by
  `pylstm.from_torch` and a mapping from our names to theirs;
* which layers they are is for us to say: `EncoderDecoder` of two GRUs, the last state of one copied to the other;
* words of any lengths are one batch, and writing is a beam of one.

Where the weights are: `pip install --no-deps g2p_en==2.1.0` (3 MB; the package itself is not imported), or --weights
with its file checkpoint20.npz. They are Kyubyong Park's and Jongseok Kim's, Apache 2.0, trained on the pronouncing
dictionary of Carnegie Mellon University, whose phonemes (ARPAbet, stress behind the vowels) it writes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import common

import pylstm

FORM = "checkpoint20.npz of g2p_en 2.1.0"
INSTALL = "pip install --no-deps g2p_en==2.1.0"
LETTERS = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"
# UW is there without a stress, too.
SOUNDS = sorted([*CONSONANTS.split(), "UW", *(vowel + stress for vowel in VOWELS.split() for stress in "012")])
PHONEMES = ["<pad>", "<unk>", "<s>", "</s>", *SOUNDS]
BEGIN, END, LONGEST = PHONEMES.index("<s>"), PHONEMES.index("</s>"), 20
SIZE = 256

# our names, theirs
NAMES = {"encoder.0.weight": "enc_emb", "decoder.0.weight": "dec_emb", "decoder.2.weight": "fc_w",
         "decoder.2.bias": "fc_b"} | {
    f"{part}.1.{kind}_{end}_l0": f"{part[:3]}_{kind[0]}_{end}"
    for part in ("encoder", "decoder") for kind in ("weight", "bias") for end in ("ih", "hh")
}  # fmt: skip


def speaker(path: Path) -> pylstm.EncoderDecoder:
    """The model with the weights of a file."""
    model = pylstm.EncoderDecoder(
        [pylstm.Embedding(len(LETTERS), SIZE), pylstm.GRU(SIZE, SIZE, batch_first=True)],
        [
            pylstm.Embedding(len(PHONEMES), SIZE),
            pylstm.GRU(SIZE, SIZE, batch_first=True),
            pylstm.Linear(SIZE, len(PHONEMES)),
        ],
        begin=BEGIN, end=END, bridge="copy",
    )  # fmt: skip
    try:
        return pylstm.from_torch(common.arrays(path, FORM), model, mapping=NAMES)
    except ValueError as error:
        raise common.DataError(f"{path} has other weights: {error}; expected {FORM}") from None


def letters(word: str) -> list[int]:
    """What the model reads."""
    known = {letter: i for i, letter in enumerate(LETTERS)}
    return [known.get(letter, known["<unk>"]) for letter in [*word.lower(), "</s>"]]


def spoken(model: pylstm.EncoderDecoder, words: Sequence[str]) -> list[str]:
    """The phonemes of each word."""
    found = model.translate([letters(word) for word in words], beam_size=1, max_length=LONGEST)
    return [" ".join(PHONEMES[i] for i in ids) for ids in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", default=["pronunciation", "activationist", "pylstm", "framework"])
    parser.add_argument("--weights", type=Path, metavar="PATH", help=f"{FORM} (default: that of the installed package)")
    args = parser.parse_args()
    model = speaker(args.weights or common.installed("g2p_en", "checkpoint20.npz", INSTALL))
    print(model.summary())
    for word, phonemes in zip(args.words, spoken(model, args.words), strict=True):
        print(f"{word:>20}  {phonemes}")


if __name__ == "__main__":
    common.run(main)
