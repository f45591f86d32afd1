"""The translator in PyTorch: both sides packed, so that no step is computed for padding, and what stands behind the
attention for true words alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from cases import Array
from models import translations
from models.batches import Batch
from models.cases import ModelCase


class Pair:
    """A batch: sources and what the decoder reads packed, which steps of the sources there are, and the places of the
    true words among all steps, in the order of y."""

    def __init__(self, case: ModelCase, batch: Batch) -> None:
        assert batch.lengths is not None
        assert batch.counts is not None
        steps = translations.steps_of(case, batch)
        self.source = packed(batch.x, batch.lengths)
        self.read = packed(steps.read, batch.counts + 1)
        self.outside = torch.from_numpy(~batch.valid)[:, None]
        self.shape = (*steps.valid.shape, case.C)
        self.places = torch.from_numpy(steps.valid.reshape(-1)).nonzero()[:, 0]
        self.y = torch.from_numpy(steps.written[steps.valid])

    def time_last(self, outputs: Any) -> Any:
        whole = outputs.new_zeros((self.shape[0] * self.shape[1], self.shape[2]))
        whole[self.places] = outputs
        return whole.reshape(self.shape)


def packed(values: Array, lengths: Array) -> Any:
    return pack_padded_sequence(
        torch.from_numpy(values), torch.from_numpy(lengths), batch_first=True, enforce_sorted=False
    )


class Side(nn.Module):
    """An embedding and an LSTM, of packed symbols."""

    def __init__(self, of: ModelCase) -> None:
        super().__init__()
        self.embedding = nn.Embedding(of.vocabulary, of.E)
        self.lstm = nn.LSTM(of.E, of.H, batch_first=True, bidirectional=of.bidirectional)

    def forward(self, symbols: Any, states: Any = None) -> Any:
        return self.lstm(symbols._replace(data=self.embedding(symbols.data)), states)


class Translator(nn.Module):
    def __init__(self, case: ModelCase, weights: dict[str, Array]) -> None:
        super().__init__()
        self.encoder, self.decoder = Side(translations.encoder_of(case)), Side(translations.decoder_of(case))
        self.head = nn.Linear(case.H, case.C)
        self.bridge = nn.ModuleDict({state: nn.Linear(case.H, case.H) for state in ("h", "c")})
        self.attention = nn.Linear(case.H, case.H, bias=False)
        self.combine = nn.Linear(2 * case.H, case.H, bias=False)
        with torch.no_grad():
            for name, value in self.named_parameters():
                if "bias_hh" in name:  # one bias is enough
                    value.zero_().requires_grad_(False)
                else:
                    key = name.replace("lstm.", "").replace("embedding.weight", "embedding")
                    key = f"decoder.{key}" if key.startswith("head") else key
                    value.copy_(torch.from_numpy(weights[key]))

    def forward(self, batch: Pair) -> Any:
        output, states = self.encoder(batch.source)
        keys = pad_packed_sequence(output, batch_first=True)[0]
        memory = pad_packed_sequence(output._replace(data=self.attention(output.data)), batch_first=True)[0]
        h, c = (
            torch.tanh(layer(torch.cat([state[0], state[1]], -1)))[None]
            for layer, state in zip(self.bridge.values(), states, strict=True)
        )
        output, _ = self.decoder(batch.read, (h, c))
        y = pad_packed_sequence(output, batch_first=True)[0]
        scores = (y @ memory.transpose(1, 2)).masked_fill(batch.outside, float("-inf"))
        both = torch.cat([torch.softmax(scores, -1) @ keys, y], -1)
        return self.head(torch.tanh(self.combine(both.flatten(0, 1)[batch.places])))
