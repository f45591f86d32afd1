from __future__ import annotations

from typing import Any

import onnxruntime

from cases import Array, Case, Data
from peers import BasePeer, onnx_graph


class Peer(BasePeer):
    version = onnxruntime.__version__

    def __init__(self, case: Case, data: Data, *, training: bool, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        model = onnx_graph.build(case, data, training)
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.streamed = case.streamed
        self.feeds = onnx_graph.feeds(case, data)

    def run(self) -> Any:
        found = self.session.run(None, self.feeds)
        if self.streamed:
            onnx_graph.carry(self.feeds, found)
        return found

    def results(self, raw: Any) -> dict[str, Array]:
        return dict(zip(["output", "h_n", "c_n"], raw, strict=False))
