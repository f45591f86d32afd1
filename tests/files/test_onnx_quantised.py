"""Operators on 8-bit integers: to the digits of onnxruntime, on one thread, which has a batch in one piece."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from support.onnx_files import one_node


def as_onnxruntime(path, x):
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


MODELS = {
    "linear": lambda: pylstm.Sequential([pylstm.Linear(6, 5), pylstm.Activation("relu"), pylstm.Linear(5, 3)], seed=0),
    "lstm": lambda: pylstm.LSTM(6, 5, batch_first=True, seed=0),
    "both ways": lambda: pylstm.LSTM(6, 5, bidirectional=True, batch_first=True, seed=0),
}


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_dynamic_quantisation(tmp_path, name, per_channel):
    pytest.importorskip("onnx")
    quantization = pytest.importorskip("onnxruntime.quantization")
    model = MODELS[name]()
    pylstm.to_onnx(model, tmp_path / "model.onnx")
    quantization.quantize_dynamic(tmp_path / "model.onnx", tmp_path / "small.onnx", per_channel=per_channel)
    x = np.random.default_rng(0).normal(size=(3, 6) if name == "linear" else (3, 4, 6)).astype("f4")
    y = pylstm.from_onnx(tmp_path / "small.onnx")(x)
    expected = as_onnxruntime(str(tmp_path / "small.onnx"), x)
    assert np.abs(y - expected).max() < 1e-6
    plain = model(x)[0] if name != "linear" else model(x)
    assert 1e-5 < np.abs(y - plain).max() < 0.05  # it was quantised


def test_by_hand():
    x = np.array([-1.0, 0.0, 1.0, 4.1], "f4")
    whole, scale, zero = one_node("DynamicQuantizeLinear", [x], outputs=3)
    assert whole.tolist() == [0, 50, 100, 255]
    assert (whole.dtype, zero.item()) == (np.uint8, 50)
    assert np.isclose(scale, 0.02)
    back = one_node("DequantizeLinear", [whole, scale, zero])
    assert np.allclose(back, x, atol=0.011)
    y = one_node("QuantizeLinear", [x, scale, np.array(-3, np.int8)])
    assert y.tolist() == [-53, -3, 47, 127]
    flat = one_node("DynamicQuantizeLinear", [np.zeros(3, "f4")], outputs=3)
    assert [one.tolist() for one in flat] == [[0, 0, 0], 1.0, 0]


def test_products_of_integers():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (3, 700), np.uint8), rng.integers(-128, 128, (700, 4), np.int8)
    exact = (a.astype(int) - 7) @ (b.astype(int) - np.array([1, -2, 0, 5]))
    y = one_node("MatMulInteger", [a, b, np.array(7, np.uint8), np.array([1, -2, 0, 5], np.int8)])
    assert y.dtype == np.int32
    assert np.array_equal(y, exact)
