from __future__ import annotations

from typing import Any

import pylstm
from cases import Array, Case, Data
from peers import BasePeer


class Peer(BasePeer):
    version = pylstm.__version__
    layers: Any = pylstm  # where LSTM, GRU and RNN are

    def __init__(self, case: Case, data: Data, *, training: bool, threads: int) -> None:
        pylstm.set_num_threads(threads)
        self.layer = getattr(self.layers, case.cell.upper())(
            case.I, case.H, case.layers, bidirectional=case.bidirectional, dtype=data.x.dtype
        )
        self.layer.load_state_dict(data.weights)
        self.data, self.training = data, training
        self.d_state = data.d_state if case.cell == "lstm" else data.d_state[0]

    def run(self) -> Any:
        if not self.training:
            return self.layer(self.data.x, lengths=self.data.lengths)
        output, state, backward = self.layer.forward(self.data.x, lengths=self.data.lengths)
        return output, state, backward(self.data.d_output, self.d_state)

    def results(self, raw: Any) -> dict[str, Array]:
        output, state = raw[:2]
        h_n, *c_n = state if isinstance(state, tuple) else (state,)
        found = {"output": output, "h_n": h_n, **({"c_n": c_n[0]} if c_n else {})}
        if self.training:
            found |= {"d_x": raw[2].x, **{f"d_{name}": grad for name, grad in raw[2].params.items()}}
        return found
