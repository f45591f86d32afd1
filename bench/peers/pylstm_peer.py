from __future__ import annotations

from typing import Any

import limits
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
        self.case, self.data, self.training, self.threads = case, data, training, threads
        several = len(case.about.states) > 1
        self.state = data.state if data.state is None or several else data.state[0]
        self.d_state = data.d_state if several else data.d_state[0]
        self.stream = self.layer.stream(case.N, num_threads=threads) if case.streamed else None
        self.frame, self.out = data.x[0], data.d_output[0].copy()

    def run(self) -> Any:
        if self.stream is not None:
            return self.stream.step(self.frame, out=self.out)
        if not self.training:
            return self.layer(self.data.x, self.state, lengths=self.data.lengths)
        output, state, backward = self.layer.forward(self.data.x, self.state, lengths=self.data.lengths)
        return output, state, backward(self.data.d_output, self.d_state)

    def prediction(self) -> dict[str, Any] | None:
        """What the plan's cost model expects: cycles of the slowest thread, forward and, in training, backward."""
        network = self.layer._packed() if hasattr(self.layer, "_packed") else None
        if network is None:
            return None  # the reference
        steps = self.case.T if self.data.lengths is None else int(self.data.lengths.max())
        running = -(-limits.rows(self.case) // steps)  # sequences at a step, on average
        plans = [network.plan(steps, running, way, self.threads) for way in (False, True)[: 1 + self.training]]
        texts = []
        for (rows, units, directions), chunk, _ in plans:
            shares = {"batch": rows, "units": units, "directions": directions}
            split = [f"{count} {name}" for name, count in shares.items() if count > 1]
            texts.append((" x ".join(split) or "1 thread") + (f", x . W by {chunk} rows" if chunk else ""))
        return {"plan": " | ".join(texts), "cycles": sum(cycles for _, _, cycles in plans)}

    def results(self, raw: Any) -> dict[str, Array]:
        output, state = (raw[None], self.stream.state) if self.stream is not None else raw[:2]
        states = state if isinstance(state, tuple) else (state,)
        found = {"output": output, **{f"{k}_n": s for k, s in zip(self.case.about.states, states, strict=True)}}
        if self.training:
            found |= {"d_x": raw[2].x, **{f"d_{name}": grad for name, grad in raw[2].params.items()}}
        return found
