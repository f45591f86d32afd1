"""The model of examples/translate.py trained by pylstm and by PyTorch: time of an epoch, loss and BLEU.

    python bench/translating.py --data FOLDER [--to zh] [--epochs 12] [--threads 2] [--json translating.json]

Both begin with the same values and take the same batches (sources of one length together), the same Adam, learning
rates, clipping and dropout. PyTorch packs both sides, so that no step of a recurrent layer is computed for padding,
computes logits for true words alone, and flushes denormals. Each has its own process; they take turns epoch by epoch.
Printed are medians of the epochs, the ratio of each round's, and BLEU of both models on the test sentences, written by
pylstm's beam search (needs sacrebleu).
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

import common  # type: ignore[import-not-found, unused-ignore]
import translate as example  # type: ignore[import-not-found, unused-ignore]

import pylstm

Array = np.ndarray[Any, np.dtype[Any]]
CLIP, POOL = 1.0, 64  # POOL: batches whose sentences are sorted by length together


class Data:
    """Sentences in batches, the same ones in every process."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        data = args.data or common.SAMPLES / "translations.tsv"
        parts = common.load(data, example.read, example.FORM, [".tsv", ".txt"], test=True)
        train, _, self.test = ([(zh, en) for en, zh in some] if args.to == "en" else some for some in parts)
        self.translator = example.Translator.of(train, args)
        self.model = self.translator.model
        self.sources, self.targets = self.translator.encoded(train)

    def batches(self, epoch: int) -> list[Array]:
        """Rows of each batch; empty sentences, which PyTorch cannot pack, are left out."""
        rng = np.random.default_rng(epoch)
        order = rng.permutation([i for i, one in enumerate(self.sources) if len(one)])
        size, found = self.args.batch, []
        for start in range(0, len(order), size * POOL):
            pool = order[start : start + size * POOL]
            pool = pool[np.argsort([len(self.sources[i]) for i in pool], kind="stable")]
            found += [pool[at : at + size] for at in range(0, len(pool), size)]
        return [found[i] for i in rng.permutation(len(found))]

    def figures(self) -> dict[str, float]:
        """Of the model's weights as they are."""
        written = self.translator.translate([source for source, _ in self.test], self.args.beam)
        every = max(1, len(self.test) // max(1, self.args.show))
        for (source, right), own in list(zip(self.test, written, strict=True))[: every * self.args.show : every]:
            print(f"  {source} -> {own} ({right})", file=sys.stderr)  # standard output is for the figures
        return {"BLEU": example.bleu(written, [target for _, target in self.test], self.args.to)}


class ByPylstm:
    def __init__(self, data: Data, epochs: int, threads: int) -> None:
        pylstm.set_num_threads(threads)
        self.data, self.optimizer = data, pylstm.Adam(data.args.rate)
        self.rates = turns.rates(data.args.rate, epochs, len(data.batches(0)))

    def epoch(self, number: int) -> tuple[float, float]:
        data = self.data
        rows = data.batches(number)
        batches = [([data.sources[i] for i in some], [data.targets[i] for i in some]) for some in rows]
        return turns.fitted(data.model, batches, self.optimizer, self.rates[number], clip_norm=CLIP)

    def figures(self) -> dict[str, float]:
        return self.data.figures()


class ByTorch:
    def __init__(self, data: Data, epochs: int, threads: int) -> None:
        import torch
        from torch import nn
        from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        self.torch, self.data = torch, data
        args, model = data.args, data.model
        words, size, half = len(data.translator.source), 2 * (args.hidden // 2), args.hidden // 2
        symbols = len(data.translator.target) + 2

        class Translator(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.drop = nn.Dropout(args.dropout)
                self.read, self.write = nn.Embedding(words, args.embed), nn.Embedding(symbols, args.embed)
                self.encoder = nn.LSTM(args.embed, half, batch_first=True, bidirectional=True)
                self.decoder = nn.LSTM(args.embed, size, batch_first=True)
                self.h, self.c = nn.Linear(size, size), nn.Linear(size, size)
                self.attention = nn.Linear(size, size, bias=False)
                self.combine = nn.Linear(2 * size, size, bias=False)
                self.head = nn.Linear(size, symbols)

            def forward(self, source: Any, lengths: Any, target: Any, steps: Any) -> Any:
                x = pack_padded_sequence(self.drop(self.read(source)), lengths, True, enforce_sorted=False)
                packed, (h, c) = self.encoder(x)
                keys = pad_packed_sequence(packed, batch_first=True)[0]
                state = (torch.tanh(self.h(torch.cat([h[0], h[1]], -1)))[None],
                         torch.tanh(self.c(torch.cat([c[0], c[1]], -1)))[None])  # fmt: skip
                x = pack_padded_sequence(self.drop(self.write(target)), steps, True, enforce_sorted=False)
                y = pad_packed_sequence(self.decoder(x, state)[0], batch_first=True)[0]
                scores = y @ self.attention(keys).transpose(1, 2)
                outside = torch.arange(keys.shape[1]) >= lengths[:, None]
                weights = torch.softmax(scores.masked_fill(outside[:, None], float("-inf")), -1)
                y = torch.tanh(self.combine(torch.cat([weights @ keys, y], -1)))
                inside = torch.arange(y.shape[1]) < steps[:, None]
                return self.head(self.drop(y[inside]))

        self.net = Translator()
        self.names = {
            "read.weight": "encoder.0.weight", "write.weight": "decoder.0.weight", "h.weight": "bridge.h_l0.weight",
            "h.bias": "bridge.h_l0.bias", "c.weight": "bridge.c_l0.weight", "c.bias": "bridge.c_l0.bias",
            "attention.weight": "attention.weight", "combine.weight": "combine.weight",
            "head.weight": "decoder.4.weight", "head.bias": "decoder.4.bias",
        }  # fmt: skip
        for name in self.net.state_dict():
            part, _, rest = name.partition(".")
            if part in ("encoder", "decoder"):
                self.names[name] = f"{part}.2.{rest}"
        ours = model.state_dict()
        self.net.load_state_dict({name: torch.from_numpy(ours[own]) for name, own in self.names.items()})
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=args.rate, fused=True)
        self.rates = turns.rates(args.rate, epochs, len(data.batches(0)))

    def epoch(self, number: int) -> tuple[float, float]:
        torch, data = self.torch, self.data
        begin, end, batches = data.model.begin, data.model.end, []
        for rows in data.batches(number):
            sources, targets = ([side[i] for i in rows] for side in (data.sources, data.targets))
            lengths, steps = (torch.tensor(list(map(len, side))) for side in (sources, targets))
            source = torch.zeros((len(rows), int(lengths.max())), dtype=torch.long)
            given = torch.zeros((len(rows), int(steps.max()) + 1), dtype=torch.long)
            for i, (a, b) in enumerate(zip(sources, targets, strict=True)):
                source[i, : len(a)] = torch.as_tensor(np.asarray(a))
                given[i, : len(b) + 1] = torch.as_tensor(np.append(begin, b))
            true = torch.cat([torch.as_tensor(np.append(b, end)) for b in targets])
            batches.append((source, lengths, given, steps + 1, true))
        total, count = 0.0, 0
        began = time.perf_counter()
        self.net.train()
        for step, (source, lengths, given, steps, true) in enumerate(batches):
            self.optimizer.param_groups[0]["lr"] = self.rates[number][step]
            self.optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.cross_entropy(self.net(source, lengths, given, steps), true)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP, foreach=True)
            self.optimizer.step()
            total += loss.item() * len(true)
            count += len(true)
        return time.perf_counter() - began, total / count

    def figures(self) -> dict[str, float]:
        weights = {self.names[name]: value.detach().numpy() for name, value in self.net.state_dict().items()}
        self.data.model.load_state_dict(weights)
        return self.data.figures()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, help="as examples/translate.py takes it (default: its sample)")
    add("--to", choices=("zh", "en"), default="zh")
    add("--epochs", type=int, default=12)
    add("--embed", type=int, default=256)
    add("--hidden", type=int, default=256)
    add("--dropout", type=float, default=0.3)
    add("--batch", type=int, default=64)
    add("--rate", type=float, default=1e-3)
    add("--beam", type=int, default=5)
    add("--seed", type=int, default=0)
    add("--show", type=int, default=0, help="so many translations of each library's model, with what is right")
    parser.set_defaults(attention="general", input_feeding=False)
    turns.main(parser, {"pylstm": ByPylstm, "torch": ByTorch}, Data)


if __name__ == "__main__":
    main()
