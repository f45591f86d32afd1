"""PyTorch at its best: padded or packed batches, eager or compiled, whichever is fastest; all loss-free choices taken
beforehand (time first, batches packed, denormals flushed, the fused Adam where it beats `foreach`)."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from cases import Array
from models import ModelPeer
from models.batches import Batch, Data
from models.cases import ModelCase
from models.data import PADDING
from models.losses import valid
from models.torch_translator import Pair, Translator
from peers import fastest

IGNORED = -100


class Peer(ModelPeer):
    version = torch.__version__

    def __init__(self, case: ModelCase, data: Data, *, training: bool, threads: int, compiled: bool = True) -> None:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        logging.getLogger("torch").setLevel(logging.ERROR)
        self.case, self.data, self.training = case, data, training
        self.model = (Translator if case.translates else Model)(case, data.weights).train(training)
        self.first = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.batches = prepared(case, data.batches)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self._reset("fused")
        self._choose(data, compiled)

    def _reset(self, adam: str) -> None:
        """The first weights, and an optimizer that has seen nothing."""
        self.model.load_state_dict(self.first)
        self.optimizer = torch.optim.Adam(
            self.trained, lr=1e-3, eps=1e-8, fused=adam == "fused", foreach=adam == "foreach"
        )

    def _choose(self, data: Data, compiled: bool) -> None:
        """The fastest variant; all of them have to compute the same."""
        functions: dict[str, Callable[[Any], Any]] = {"eager": self._losses if self.training else self._outputs}
        if compiled:
            functions["compiled"] = torch.compile(functions["eager"])
        adam = self._choose_adam() if self.training else "fused"
        variants = {}
        first: torch.Tensor | None = None
        for how, function in functions.items():
            for form in self.batches:
                self._reset(adam)
                self.form, self.function = form, function
                try:
                    found = (
                        np.array(self.losses()) if self.training else valid(self.case, data.batches[0], self.outputs())
                    )
                except IndexError:  # the compiler loses its way among the packed sequences of the translator
                    if how == "eager":
                        raise
                    continue
                value = torch.from_numpy(found)
                first = value if first is None else first
                torch.testing.assert_close(value, first, rtol=1e-3, atol=1e-4)
                variants[f"{how}, {form}" if self.case.ragged else how] = (form, function)
        name = fastest({name: functools.partial(self._run, *variant) for name, variant in variants.items()})
        self.form, self.function = variants[name]
        self.formulation = f"{name}, {adam} Adam" if self.training else name
        self._reset(adam)

    def _choose_adam(self) -> str:
        """fused or foreach."""
        steps: dict[str, Callable[[], Any]] = {}
        for adam in ("foreach", "fused"):
            self._reset(adam)
            self._losses(next(iter(self.batches.values()))[0]).backward()
            steps[adam] = self.optimizer.step
        return fastest(steps)

    def _outputs(self, batch: Any) -> Any:
        return self.model(batch)

    def _losses(self, batch: Any) -> Any:
        outputs = self.model(batch)
        if self.case.loss == "ctc":
            return batch.loss(outputs)
        if self.case.loss == "mse":
            return F.mse_loss(outputs, batch.y)
        if self.case.loss == "binary_cross_entropy":
            return F.binary_cross_entropy_with_logits(outputs, batch.y)
        return F.cross_entropy(outputs.reshape(-1, self.case.C), batch.y.reshape(-1), ignore_index=IGNORED)

    def _step(self, batch: Any, function: Callable[[Any], Any]) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        loss = function(batch)
        loss.backward()
        self.optimizer.step()
        return loss.item()  # type: ignore[no-any-return]

    def _run(self, form: str, function: Callable[[Any], Any]) -> Any:
        if self.training:
            return [self._step(batch, function) for batch in self.batches[form]]
        with torch.inference_mode():
            for batch in self.batches[form]:
                outputs = function(batch)
        return outputs

    def run(self) -> Any:
        return self._run(self.form, self.function)

    def losses(self) -> list[float]:
        found: list[float] = self.run()
        return found

    def outputs(self) -> Array:
        batch = self.batches[self.form][0]
        with torch.inference_mode():
            found: Array = batch.time_last(self.function(batch)).contiguous().numpy()
        return found


def prepared(case: ModelCase, batches: list[Batch]) -> dict[str, list[Any]]:
    """All batches in each of the forms that they may be given in."""
    if case.translates:
        return {"packed": [Pair(case, batch) for batch in batches]}
    if case.loss == "ctc":
        return {"packed": [Spoken(case, batch) for batch in batches],
                "packed, labels joined": [Spoken(case, batch, joined=True) for batch in batches]}  # fmt: skip
    found: dict[str, list[Any]] = {"padded": [Padded(case, batch) for batch in batches]}
    if case.ragged:
        found["packed"] = [Packed(case, batch) for batch in batches]
        if case.bidirectional:  # the way back would begin in the padding
            del found["padded"]
    return found


class Padded:
    """A batch with time first; labels past a length are ignored."""

    def __init__(self, case: ModelCase, batch: Batch) -> None:
        self.x = torch.from_numpy(batch.x).swapaxes(0, 1).contiguous()
        self.y = target(case, batch)
        if case.per_step:
            past = torch.from_numpy(~batch.valid)
            self.y = self.y.masked_fill(past, IGNORED).T.contiguous()
        self.lengths = None if batch.lengths is None else torch.from_numpy(batch.lengths)

    def time_last(self, outputs: Any) -> Any:
        return outputs.swapaxes(0, 1) if outputs.ndim > 2 else outputs


class Packed:
    """A batch without padding, packed already."""

    lengths = None

    def __init__(self, case: ModelCase, batch: Batch) -> None:
        assert batch.lengths is not None

        def pack(values: Any) -> Any:
            return pack_padded_sequence(values, torch.from_numpy(batch.lengths), batch_first=True, enforce_sorted=False)

        self.x = pack(torch.from_numpy(batch.x))
        at_steps = case.per_step and not case.S
        self.y = pack(target(case, batch)).data if at_steps else target(case, batch)
        self.case = case

    def time_last(self, outputs: Any) -> Any:
        if not self.case.per_step:
            return outputs
        return pad_packed_sequence(self.x._replace(data=outputs), batch_first=True)[0]


class Spoken(Packed):
    """A packed batch with labels without places, padded or one behind the other."""

    def __init__(self, case: ModelCase, batch: Batch, *, joined: bool = False) -> None:
        super().__init__(case, batch)
        assert batch.counts is not None
        self.steps, self.counts = torch.from_numpy(batch.lengths), torch.from_numpy(batch.counts)
        if joined:
            self.y = torch.cat([row[:count] for row, count in zip(self.y, batch.counts, strict=True)])

    @torch.compiler.disable  # type: ignore[untyped-decorator, unused-ignore]
    def loss(self, outputs: Any) -> Any:
        """The compiler cannot read a packed sequence that it has not made."""
        by_step = pad_packed_sequence(self.x._replace(data=F.log_softmax(outputs, -1)))[0]
        return F.ctc_loss(by_step, self.y, self.steps, self.counts)


def target(case: ModelCase, batch: Batch) -> torch.Tensor:
    y = torch.from_numpy(batch.y)
    return y.float()[:, None] if case.loss == "binary_cross_entropy" else y


class Model(nn.Module):
    def __init__(self, case: ModelCase, weights: dict[str, Array]) -> None:
        super().__init__()
        self.case = case
        if case.vocabulary:
            self.embedding = nn.Embedding(case.vocabulary, case.E, padding_idx=PADDING if case.ragged else None)
        self.lstm = nn.LSTM(case.E, case.H, case.layers, bidirectional=case.bidirectional)
        self.head = nn.Linear(case.width, case.C)
        with torch.no_grad():
            for name, value in self.named_parameters():
                if "bias_hh" in name:  # one bias is enough, and what Keras has
                    value.zero_().requires_grad_(False)
                else:
                    key = name.removeprefix("lstm.").replace("embedding.weight", "embedding")
                    value.copy_(torch.from_numpy(weights[key]))

    def forward(self, batch: Any) -> Any:
        x, lengths = batch.x, batch.lengths
        if not self.case.vocabulary:
            vectors = x
        elif isinstance(x, PackedSequence):
            vectors = x._replace(data=self.embedding(x.data))
        else:
            vectors = self.embedding(x)
        output, (h, _) = self.lstm(vectors)
        if self.case.per_step:
            return self.head(output.data if isinstance(output, PackedSequence) else output)
        if lengths is None:
            return self.head(h[-1])
        return self.head(output[lengths - 1, torch.arange(len(lengths))])
