from __future__ import annotations

from typing import Any

import openvino

from cases import Array, Case, Data
from peers import BasePeer, onnx_graph


class Peer(BasePeer):
    version = openvino.__version__

    def __init__(self, case: Case, data: Data, *, training: bool, threads: int) -> None:
        core = openvino.Core()
        model = core.read_model(onnx_graph.build(case, data, training))
        config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        self.request = core.compile_model(model, "CPU", config).create_infer_request()
        self.streamed = case.streamed
        self.feeds = onnx_graph.feeds(case, data)

    def run(self) -> Any:
        # A step's results are the next one's input: they must not share memory.
        found = self.request.infer(self.feeds, share_inputs=True, share_outputs=not self.streamed)
        if self.streamed:
            onnx_graph.carry(self.feeds, list(found.values()))
        return found

    def results(self, raw: Any) -> dict[str, Array]:
        return dict(zip(["output", "h_n", "c_n"], raw.values(), strict=False))
