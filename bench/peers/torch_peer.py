from __future__ import annotations

from typing import Any

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from cases import Array, Case, Data
from peers import BasePeer


class Peer(BasePeer):
    version = torch.__version__

    def __init__(self, case: Case, data: Data, *, training: bool, threads: int) -> None:
        torch.set_num_threads(threads)
        self.module = getattr(torch.nn, case.cell.upper())(
            case.I, case.H, case.layers, bidirectional=case.bidirectional, dtype=getattr(torch, data.x.dtype.name)
        )
        self.module.load_state_dict({name: torch.from_numpy(value) for name, value in data.weights.items()})
        self.module.train(training)
        self.steps, self.training = case.T, training
        self.x = torch.from_numpy(data.x).requires_grad_(training)
        self.lengths = None if data.lengths is None else torch.from_numpy(data.lengths)
        state = data.state or (tuple(d * 0 for d in data.d_state) if case.streamed else None)
        self.state = None if state is None else tuple(torch.from_numpy(s) for s in state)
        self.streamed = case.streamed
        self.d_results = [torch.from_numpy(value) for value in (data.d_output, *data.d_state)]

    def forward(self) -> list[Any]:
        """Output and states. A ragged batch is packed and unpacked here, as its user has to."""
        given = self.state if self.state is None or len(self.state) > 1 else self.state[0]
        if self.lengths is None:
            output, state = self.module(self.x, given)
        else:
            packed = pack_padded_sequence(self.x, self.lengths, enforce_sorted=False)
            output, state = self.module(packed, given)
            output, _ = pad_packed_sequence(output, total_length=self.steps)
        states = state if isinstance(state, tuple) else (state,)
        if self.streamed:
            self.state = states
        return [output, *states]

    def run(self) -> Any:
        if not self.training:
            with torch.inference_mode():
                return self.forward(), ()
        found = self.forward()
        return found, torch.autograd.grad(found, [self.x, *self.module.parameters()], self.d_results)

    def results(self, raw: Any) -> dict[str, Array]:
        found, grads = raw
        names = ["x", *(name for name, _ in self.module.named_parameters())]
        named = {
            **dict(zip(["output", "h_n", "c_n"], found, strict=False)),
            **{f"d_{name}": grad for name, grad in zip(names, grads, strict=False)},
        }
        return {name: value.detach().numpy() for name, value in named.items()}
