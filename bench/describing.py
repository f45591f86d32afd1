"""The model of examples/captions.py trained by pylstm and by PyTorch: time of an epoch, and what it learns.

    python bench/describing.py --data FOLDER [--epochs 30] [--threads 2] [--json describing.json]

Both begin with the same values and take the same batches (pictures of one length of caption together, so that hardly
anything is padded), the same AdamW, learning rates and clipping. PyTorch convolves by `conv2d` and flushes denormals.
Each has its own process; they take turns epoch by epoch. Printed are medians of the epochs, the ratio of each round's,
and, of both models, the training and test captions that are exactly right and BLEU (needs sacrebleu).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import turns

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

import captions as example  # type: ignore[import-not-found, unused-ignore]

import pylstm

Array = np.ndarray[Any, np.dtype[Any]]
CHANNELS, SIZE, BATCH, RATE, CLIP, IGNORED = 32, 256, 32, 3e-3, 1.0, -100


class Data:
    """Pictures and words in batches, the same ones in every process."""

    def __init__(self, path: Path) -> None:
        self.parts = example.read(path)
        train = self.parts["train"]
        texts = [[example.BORDER, *example.split(one.caption)] for one in train]
        vocabulary = pylstm.Vocabulary(texts, by="spaces", lowercase=False, min_count=1)
        pixels = np.stack([one.pixels for one in train])
        mean, scale = pixels.mean((0, 1, 2)), pixels.std((0, 1, 2)) + 1e-3
        self.model = example.Captioner(len(vocabulary), CHANNELS, SIZE)
        self.model.redraw(0)
        self.model.metadata = {"vocabulary": vocabulary, "mean": mean.tolist(), "scale": scale.tolist()}
        self.describer = example.Describer(self.model)
        (self.pixels, self.words), self.next = self.describer.pairs(train)

    def batches(self, epoch: int) -> list[tuple[tuple[Array, Array], Array, Array]]:
        """((pixels, words), next words, lengths), padded."""
        rng = np.random.default_rng(epoch)
        order = rng.permutation(len(self.words))
        order = order[np.argsort([len(self.words[i]) for i in order], kind="stable")]
        groups = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
        found = []
        for k in rng.permutation(len(groups)):
            rows = groups[k]
            lengths = np.array([len(self.words[i]) for i in rows])
            words = np.zeros((len(rows), lengths.max()), np.int64)
            targets = np.full(words.shape, IGNORED)
            for i, row in enumerate(rows):
                words[i, : lengths[i]], targets[i, : lengths[i]] = self.words[row], self.next[row]
            found.append(((self.pixels[rows], words), targets, lengths))
        return found

    def figures(self) -> dict[str, float]:
        """Of the model's weights as they are."""
        from sacrebleu import corpus_bleu

        found = {}
        for name in ("train", "test"):
            true = [one.caption for one in self.parts[name]]
            said = self.describer(self.parts[name])
            found[f"{name} exact"] = float(np.mean([a == b for a, b in zip(said, true, strict=True)]))
            found[f"{name} BLEU"] = float(corpus_bleu(said, [true]).score)
        return found


class ByPylstm:
    def __init__(self, data: Data, epochs: int, threads: int) -> None:
        pylstm.set_num_threads(threads)
        self.data, self.optimizer = data, pylstm.AdamW(RATE)
        self.rates = turns.rates(RATE, epochs, len(data.batches(0)))

    def epoch(self, number: int) -> tuple[float, float]:
        """(seconds, mean loss)"""
        batches: list[Any] = []
        for (pixels, words), targets, lengths in self.data.batches(number):
            rows = [row[:n] for row, n in zip(words, lengths, strict=True)]
            batches.append(((pixels, rows), [row[:n] for row, n in zip(targets, lengths, strict=True)]))
        options = {"loss": "cross_entropy", "clip_norm": CLIP}
        return turns.fitted(self.data.model, batches, self.optimizer, self.rates[number], **options)

    def figures(self) -> dict[str, float]:
        return self.data.figures()


class ByTorch:
    def __init__(self, data: Data, epochs: int, threads: int) -> None:
        import torch
        from torch import nn

        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        self.torch, self.data = torch, data
        words = data.model.words

        class Captioner(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.edges = nn.Conv2d(example.CHANNELS, CHANNELS, 3, 2, padding=1)
                self.forms = nn.Conv2d(CHANNELS, 2 * CHANNELS, 3, 2, padding=1)
                self.start = nn.Linear((example.SIZE // 4) ** 2 * 2 * CHANNELS, SIZE)
                self.embed = nn.Embedding(words, SIZE, padding_idx=0)
                self.lstm = nn.LSTM(2 * SIZE, SIZE, batch_first=True)
                self.head = nn.Linear(SIZE, words)

            def forward(self, pixels: Any, words: Any) -> Any:
                x = torch.relu(self.edges(pixels.permute(0, 3, 1, 2))) * 6**0.5
                x = torch.relu(self.forms(x)) * 6**0.5
                vector = 2 * self.start(x.permute(0, 2, 3, 1).flatten(1))
                beside = vector[:, None].expand(-1, words.shape[1], -1)
                x = torch.cat([self.embed(words), beside], -1)
                y, _ = self.lstm(x, (torch.tanh(vector)[None], vector[None]))
                return self.head(y)

        self.net = Captioner()
        self.net.load_state_dict(
            {name: torch.from_numpy(a) for name, a in self._there(data.model.state_dict()).items()}
        )
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=RATE, weight_decay=0.01, fused=True)
        self.rates = turns.rates(RATE, epochs, len(data.batches(0)))

    def _there(self, weights: dict[str, Array]) -> dict[str, Array]:
        """A linear layer over 3 x 3 places as the weight of a convolution."""
        found = dict(weights)
        for name in ("edges.weight", "forms.weight"):
            kernel = weights[name].reshape(len(weights[name]), 3, 3, -1)
            found[name] = np.ascontiguousarray(kernel.transpose(0, 3, 1, 2))
        return found

    def _back(self) -> dict[str, Array]:
        found = {name: value.detach().numpy() for name, value in self.net.state_dict().items()}
        for name in ("edges.weight", "forms.weight"):
            found[name] = found[name].transpose(0, 2, 3, 1).reshape(len(found[name]), -1)
        return found

    def epoch(self, number: int) -> tuple[float, float]:
        torch = self.torch
        batches = [
            (torch.from_numpy(pixels), torch.from_numpy(words), torch.from_numpy(targets))
            for (pixels, words), targets, _ in self.data.batches(number)
        ]
        losses = []
        began = time.perf_counter()
        for step, (pixels, words, targets) in enumerate(batches):
            self.optimizer.param_groups[0]["lr"] = self.rates[number][step]
            self.optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.cross_entropy(self.net(pixels, words).flatten(0, 1), targets.flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP, foreach=True)
            self.optimizer.step()
            losses.append(loss.item() * int((targets >= 0).sum()))
        words = sum(int((targets >= 0).sum()) for _, _, targets in batches)
        return time.perf_counter() - began, sum(losses) / words

    def figures(self) -> dict[str, float]:
        self.data.model.load_state_dict(self._back())
        return self.data.figures()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="as examples/captions.py takes it")
    parser.add_argument("--epochs", type=int, default=30)
    turns.main(parser, {"pylstm": ByPylstm, "torch": ByTorch}, lambda args: Data(args.data))


if __name__ == "__main__":
    main()
