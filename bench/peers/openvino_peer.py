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
        self.feeds = onnx_graph.feeds(data)

    def run(self) -> Any:
        return self.request.infer(self.feeds, share_inputs=True, share_outputs=True)

    def results(self, raw: Any) -> dict[str, Array]:
        return dict(zip(["output", "h_n", "c_n"], raw.values(), strict=False))
