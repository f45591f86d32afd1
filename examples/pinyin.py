"""How Chinese sentences are spoken: the model of g2pM, which hears from both sides how a character is read that can be
read in several ways, run from its own files, without its package or any framework.

What it teaches:

* weights that PyTorch has trained, under PyTorch's names, become a model of ours by `pylstm.from_torch`: an embedding,
  an LSTM from both sides, two linear layers;
* sentences of any lengths are one batch; the backward direction begins at each one's own end;
* files of Python's pickle are read as data: a stranger's pickle may run anything, this one may make lists, dicts and
  arrays of numbers alone.

Where the files are: `pip install --no-deps g2pM==0.1.2.5` (2 MB; the package itself is not imported), or --weights with
the folder that has np_ckpt.pkl, char2idx.pkl, class2idx.pkl and digest_cedict.pkl. They are Kyubyong Park's and Seanie
Lee's, Apache 2.0 (arXiv 2004.03136); the readings are CC-CEDICT's.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np

import pylstm

FORM = "the folder of g2pM 0.1.2.5"
INSTALL = "pip install --no-deps g2pM==0.1.2.5"
FILES = ("np_ckpt.pkl", "char2idx.pkl", "class2idx.pkl", "digest_cedict.pkl")
BEGIN, END, UNKNOWN = "시", "끝", "<UNK>"


class Plain(pickle.Unpickler):
    """Reads pickles of lists, dicts, texts and arrays of numbers; what names anything else is an error.

    docs.python.org/3/library/pickle.html#restricting-globals
    """

    path: Path

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return lambda kind, shape, letter: np.ndarray((0,), np.float32)  # noqa: ARG005
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return self.number_type
        raise common.DataError(f"{self.path} names {module}.{name}; expected numbers, texts, lists and dicts alone")

    @staticmethod
    def number_type(code: object, *_: object) -> np.dtype[Any]:
        if code not in ("f4", "f8", "i4", "i8"):
            raise pickle.UnpicklingError(f"an array of {code!r}")
        return np.dtype(str(code))

    @classmethod
    def read(cls, path: Path) -> Any:
        try:
            with path.open("rb") as file:
                reader = cls(file)
                reader.path = path
                return reader.load()
        except FileNotFoundError:
            raise common.DataError(f"there is no {path}; expected {FORM}: `{INSTALL}`") from None
        except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, OSError) as error:
            raise common.DataError(f"{path} cannot be read: {error}; expected {FORM}") from None


class Reader(NamedTuple):
    """The model and what its numbers mean."""

    model: pylstm.Sequential
    characters: dict[str, int]
    readings: list[str]  # by class
    dictionary: dict[str, list[str]]  # all readings of a character

    @classmethod
    def of(cls, folder: Path) -> Reader:
        weights, characters, classes, dictionary = (Plain.read(folder / name) for name in FILES)
        try:
            size, hidden = weights["embedding.weight"].shape[1], weights["lstm.weight_hh_l0"].shape[1]
            narrow = weights["logit_layer.0.weight"].shape[0]
            model = pylstm.Sequential([
                pylstm.Embedding(len(characters), size),
                pylstm.LSTM(size, hidden, batch_first=True, bidirectional=True),
                pylstm.Linear(2 * hidden, narrow),
                pylstm.Activation("relu"),
                pylstm.Linear(narrow, len(classes)),
            ])  # fmt: skip
            pylstm.from_torch(weights, model)
            readings = [name for name, _ in sorted(classes.items(), key=lambda one: int(one[1]))]
            return cls(model, dict(characters), readings, dict(dictionary))
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise common.DataError(f"{folder} holds something else: {error}; expected {FORM}") from None

    def ids(self, sentence: str) -> list[int]:
        """What the model reads: the characters between a beginning and an end."""
        unknown = self.characters[UNKNOWN]
        return [self.characters.get(one, unknown) for one in (BEGIN, *sentence, END)]

    def read(self, sentences: Sequence[str]) -> list[list[str]]:
        """Of each sentence what each of its characters is spoken like; what has no reading stays as it is."""
        logits = self.model.predict([self.ids(one) for one in sentences])
        found = []
        for sentence, scores in zip(sentences, logits, strict=True):
            best = scores[1:-1].argmax(1)
            of_one = [self.dictionary.get(character, [character]) for character in sentence]
            found.append([
                known[0] if len(known) == 1 else self.readings[one] for known, one in zip(of_one, best, strict=True)
            ])  # fmt: skip
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ["银行里行人不行。", "长城很长，校长长得很高。", "音乐使人快乐。"]
    parser.add_argument("sentences", nargs="*", default=default)
    parser.add_argument("--weights", type=Path, metavar="PATH", help=f"{FORM} (default: that of the installed package)")
    args = parser.parse_args()
    reader = Reader.of(args.weights or common.installed("g2pM", "np_ckpt.pkl", INSTALL).parent)
    print(reader.model.summary())
    for sentence, readings in zip(args.sentences, reader.read(args.sentences), strict=True):
        print(f"{sentence}  {' '.join(readings)}")


if __name__ == "__main__":
    common.run(main)
