"""pylstm, as its guide has it: `fit` on padded arrays with their lengths, `predict` on a batch."""

from __future__ import annotations

from typing import Any

import numpy as np

import pylstm
from cases import Array
from models import ModelPeer, parts, translations
from models.batches import Batch, Data
from models.cases import ModelCase
from models.data import PADDING


class Peer(ModelPeer):
    version = pylstm.__version__

    def __init__(self, case: ModelCase, data: Data, *, training: bool, threads: int) -> None:
        pylstm.set_num_threads(threads)
        self.case, self.data, self.training = case, data, training
        self.model = build(case, data.weights)
        self.optimizer = pylstm.Adam(1e-3, eps=1e-8)
        self.x, self.y, self.lengths = joined(case, data.batches)
        self.inputs: list[Any] = [batch.x for batch in data.batches]
        if case.ragged:
            self.inputs = [as_list(batch.x, batch.lengths) for batch in data.batches]
        if case.translates:
            targets = [as_list(batch.y, batch.counts) for batch in data.batches]
            self.inputs = list(zip(self.inputs, targets, strict=True))

    def _fit(self, rows: slice) -> float:
        history = self.model.fit(
            self.x[rows],
            self.y[rows],
            lengths=None if self.lengths is None else self.lengths[rows],
            loss=self.case.loss,
            optimizer=self.optimizer,
            batch_size=self.case.N,
            shuffle=False,
            metrics=[],
            verbose=0,
        )
        return history["loss"][0]

    def run(self) -> Any:
        if self.training:
            return self._fit(slice(None))
        for inputs in self.inputs:
            outputs = self.model.predict(inputs, batch_size=self.case.N)
        return outputs

    def losses(self) -> list[float]:
        return [self._fit(slice(at, at + self.case.N)) for at in range(0, len(self.x), self.case.N)]

    def outputs(self) -> Array:
        found = self.model.predict(self.inputs[0], batch_size=self.case.N)
        if not isinstance(found, list):
            return found  # type: ignore[no-any-return]
        padded = np.zeros((len(found), max(map(len, found)), self.case.C), np.float32)
        for row, values in zip(padded, found, strict=True):
            row[: len(values)] = values
        return padded

    def parts(self) -> dict[str, float]:
        """Where the time of a run goes."""
        return parts.measure(self.run)


def build(case: ModelCase, weights: dict[str, Array]) -> pylstm.Sequential | pylstm.EncoderDecoder:
    """The model with these weights."""
    if case.translates:
        return translator(case, weights)
    layers: list[Any] = []
    if case.vocabulary:
        layers.append(pylstm.Embedding(case.vocabulary, case.E, padding_idx=PADDING if case.ragged else None))
        layers[-1].load_state_dict({"weight": weights["embedding"]})
    lstm = pylstm.LSTM(
        case.E, case.H, case.layers, bidirectional=case.bidirectional, batch_first=True, recurrent_bias=False
    )
    lstm.load_state_dict({name: weights[name] for name in lstm.params})
    head = pylstm.Linear(case.width, case.C)
    head.load_state_dict({name: weights[f"head.{name}"] for name in ("weight", "bias")})
    return pylstm.Sequential([*layers, lstm, *([] if case.per_step else [pylstm.LastStep()]), head])


def translator(case: ModelCase, weights: dict[str, Array]) -> pylstm.EncoderDecoder:
    """As examples/translate.py has it, without dropout."""
    encoder, decoder = (
        [pylstm.Embedding(of.vocabulary, of.E),
         pylstm.LSTM(of.E, of.H, bidirectional=of.bidirectional, batch_first=True, recurrent_bias=False)]
        for of in (translations.encoder_of(case), translations.decoder_of(case))
    )  # fmt: skip
    model = pylstm.EncoderDecoder(
        encoder, [*decoder, pylstm.Linear(case.H, case.C)], "general",
        begin=translations.begin_of(case), end=translations.end_of(case),
    )  # fmt: skip
    places = {"0.weight": "embedding", "2.weight": "head.weight", "2.bias": "head.bias"}
    values = {}
    for name in model.params:
        side, _, rest = name.partition(".")
        if side in ("encoder", "decoder"):
            values[name] = weights[f"{side}.{places.get(rest, rest.removeprefix('1.'))}"]
        else:
            values[name] = weights[name.replace("_l0", "")]
    model.load_state_dict(values)
    return model


def as_list(values: Array, lengths: Array | None) -> list[Array]:
    """Sequences without padding."""
    assert lengths is not None
    return [row[:length] for row, length in zip(values, lengths, strict=True)]


def joined(case: ModelCase, batches: list[Batch]) -> tuple[Any, Any, Array | None]:
    """All batches in one padded array, as `fit` takes them; targets of lengths of their own, and what is translated
    into them, as lists."""
    steps = max(batch.steps for batch in batches)

    def padded(values: Array) -> Array:
        widths = [(0, 0), (0, steps - values.shape[1]), *[(0, 0)] * (values.ndim - 2)]
        return np.pad(values, widths)

    if case.translates:
        sources = [row for batch in batches for row in as_list(batch.x, batch.lengths)]
        return sources, [row for batch in batches for row in as_list(batch.y, batch.counts)], None
    x = np.concatenate([padded(batch.x) for batch in batches])
    if case.S:
        labels = [row for batch in batches for row in as_list(batch.y, batch.counts)]
        return x, labels, np.concatenate([batch.lengths for batch in batches if batch.lengths is not None])
    per_step = batches[0].y.shape == batches[0].x.shape[:2]
    y = np.concatenate([padded(batch.y) if per_step else batch.y for batch in batches])
    lengths = [batch.lengths for batch in batches if batch.lengths is not None]
    return x, y, np.concatenate(lengths) if lengths else None
