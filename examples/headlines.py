"""Headlines, character by character: the model of textgenrnn, which Keras trained on what people upvote, run from its
own file without Keras.

What it teaches:

* a file of Keras' weights alone needs the model: a `pylstm.Model` whose attributes have the names of its layers, and
  `pylstm.from_keras(path, model)` gives each its weights, those of CuDNN's layout, too;
* a model that is not a chain: two LSTMs, a weighted mean over the steps of both and of what they read;
* many texts are written at once, as one batch; `pylstm.sample` draws the next character of each.

Where the weights are: `pip install --no-deps textgenrnn` (2 MB; the package itself is not imported), or --weights with
the folder that has textgenrnn_weights.hdf5 and textgenrnn_vocab.json. They are Max Woolf's, MIT.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import common
import numpy as np

import pylstm

Array = np.ndarray[Any, np.dtype[Any]]
FORM = "the folder of textgenrnn 2.0 with its weights and vocabulary"
INSTALL = "pip install --no-deps textgenrnn"
WEIGHTS, VOCABULARY = "textgenrnn_weights.hdf5", "textgenrnn_vocab.json"
END = "<s>"  # stands at both ends of a text
WINDOW, LONGEST = 40, 120  # characters that are looked at, and that are written at most


class Headlines(pylstm.Model):
    """(N, 40) characters, 0 before the first one, -> (N, characters) logits of the next one."""

    def __init__(self, characters: int) -> None:
        self.embedding = pylstm.Embedding(characters, 100)
        self.rnn_1 = pylstm.LSTM(100, 128, batch_first=True)
        self.rnn_2 = pylstm.LSTM(128, 128, batch_first=True)
        self.attention = pylstm.Linear(356, 1, bias=False)
        self.output = pylstm.Linear(356, characters)

    def run(self, ids: Any) -> Any:
        read = self.embedding(ids)
        first, _ = self.rnn_1(read)
        second, _ = self.rnn_2(first)
        steps = pylstm.concatenate([read, first, second], axis=-1)
        weights = pylstm.softmax(self.attention(steps), axis=1)
        return self.output((steps * weights).sum(axis=1))


class Writer:
    def __init__(self, folder: Path) -> None:
        try:
            known = json.loads(common.text_of(folder / VOCABULARY, FORM))
            self.numbers = {str(character): int(number) for character, number in known.items()}
            self.characters = {number: character for character, number in self.numbers.items()}
            self.end = self.numbers[END]
            self.model = Headlines(max(self.characters) + 1)
            pylstm.from_keras(folder / WEIGHTS, self.model)
        except FileNotFoundError:
            raise common.DataError(f"there is no {folder / WEIGHTS}; expected {FORM}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise common.DataError(f"{folder} holds something else: {error}; expected {FORM}") from None

    def window(self, text: list[int]) -> list[int]:
        return [0] * max(0, WINDOW - len(text)) + text[-WINDOW:]

    def write(self, count: int, temperature: float, begin: str, seed: int) -> list[str]:
        """So many texts, each beginning with `begin`."""
        rng = np.random.default_rng(seed)
        first = [self.end, *(self.numbers[one] for one in begin if one in self.numbers)]
        texts, going = [list(first) for _ in range(count)], list(range(count))
        for _ in range(LONGEST):
            logits = self.model(np.array([self.window(texts[i]) for i in going]))
            logits[:, 0] = -np.inf  # what stands before a text
            drawn = pylstm.sample(logits, temperature=temperature, rng=rng)
            for i, symbol in zip(going, drawn.tolist(), strict=True):
                texts[i].append(symbol)
            going = [i for i in going if texts[i][-1] != self.end]
            if not going:
                break
        return ["".join(self.characters.get(one, "?") for one in text if one != self.end) for text in texts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, metavar="PATH", help=f"{FORM} (default: that of the installed package)")
    parser.add_argument("--count", type=common.positive_int, default=8, help="texts (default: 8)")
    parser.add_argument("--temperature", type=common.positive, default=0.5, help="low: likely ones (default: 0.5)")
    parser.add_argument("--begin", default="", metavar="TEXT", help="what they begin with")
    parser.add_argument("--seed", type=common.seed, default=0)
    args = parser.parse_args()
    writer = Writer(args.weights or common.installed("textgenrnn", WEIGHTS, INSTALL).parent)
    print(f"{writer.model.num_parameters:,} parameters")
    for text in writer.write(args.count, args.temperature, args.begin, args.seed):
        print(f"  {text}")


if __name__ == "__main__":
    common.run(main)
