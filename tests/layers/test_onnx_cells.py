"""The options of ONNX' recurrent operators against ONNX Runtime, where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

T, N, I, H = 6, 2, 3, 5
BLOCKS = {"LSTM": "iofc", "GRU": "zrh", "RNN": "h"}  # in ONNX' order


def compare(kind, order, layer, activations, alpha=(), beta=(), peephole=False, scale=2.0, **attributes):
    """The output of the operator is that of the layer with its weights; `order`: the blocks of the layer's."""
    rng = np.random.default_rng(0)
    gates = len(BLOCKS[kind])
    given = {
        "x": rng.standard_normal((T, N, I)), "W": scale * rng.standard_normal((1, gates * H, I)),
        "R": scale * rng.standard_normal((1, gates * H, H)), "B": rng.standard_normal((1, 2 * gates * H)),
    }  # fmt: skip
    if peephole:
        given["P"] = rng.standard_normal((1, 3 * H))
    given = {name: value.astype(np.float32) for name, value in given.items()}
    inputs = ["x", "W", "R", "B", *(["", "", "", "P"] if peephole else [])]
    given_more = {
        name: list(values) for name, values in (("activation_alpha", alpha), ("activation_beta", beta)) if values
    }
    node = onnx.helper.make_node(
        kind, inputs, ["y"], hidden_size=H, activations=activations, **given_more, **attributes
    )
    number = onnx.TensorProto.FLOAT
    infos = [onnx.helper.make_tensor_value_info(name, number, value.shape) for name, value in given.items()]
    graph = onnx.helper.make_graph([node], "one", infos, [onnx.helper.make_tensor_value_info("y", number, None)])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    want = session.run(None, given)[0][:, 0]

    def blocks(array):
        parts = np.split(array, len(array) // H)
        return np.concatenate([parts[BLOCKS[kind].index(gate)] for gate in order])

    b_x, b_h = np.split(given["B"][0], 2)
    weights = {
        "weight_ih_l0": blocks(given["W"][0]), "weight_hh_l0": blocks(given["R"][0]), "bias_ih_l0": blocks(b_x),
        "bias_hh_l0": blocks(b_h),
    }  # fmt: skip
    if peephole:
        peepholes = dict(zip("iof", np.split(given["P"][0], 3), strict=True))
        weights |= {f"weight_c{gate}_l0": p for gate, p in peepholes.items() if f"weight_c{gate}_l0" in layer.params}
    layer.load_state_dict(weights)
    np.testing.assert_allclose(layer(given["x"])[0], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("peephole", [False, True])
@pytest.mark.parametrize("coupled", [False, True])
def test_lstm(clip, peephole, coupled):
    options = {} if clip is None else {"clip": clip}
    layer = pylstm.LSTM(
        I, H, activation="relu", output_activation="softsign", peephole=peephole, coupled=coupled, **options
    )
    compare(
        "LSTM", "ico" if coupled else "ifco", layer, ["Sigmoid", "Relu", "Softsign"], peephole=peephole,
        input_forget=int(coupled), **options,
    )  # fmt: skip


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("reset_after", [False, True])
def test_gru(clip, reset_after):
    options = {} if clip is None else {"clip": clip}
    layer = pylstm.GRU(
        I, H, reset_after=reset_after, recurrent_activation=("hard_sigmoid", 0.3, 0.4), activation="softsign", **options
    )
    compare(
        "GRU", "rzh", layer, ["HardSigmoid", "Softsign"], [0.3], [0.4], linear_before_reset=int(reset_after), **options
    )


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("Relu", "relu"), ("Sigmoid", "sigmoid"), ("Affine", ("affine", 0.3, 0.1)), ("LeakyRelu", ("leaky_relu", 0.2)),
        ("ThresholdedRelu", ("thresholded_relu", 0.3)), ("ScaledTanh", ("scaled_tanh", 0.7, 1.3)),
        ("HardSigmoid", ("hard_sigmoid", 0.3, 0.4)), ("HardSigmoid", "hard_sigmoid"), ("Elu", ("elu", 0.5)),
        ("Elu", "elu"), ("LeakyRelu", "leaky_relu"), ("Softsign", "softsign"), ("Softplus", "softplus"),
    ],
)  # fmt: skip
def test_rnn(name, function):
    alpha, beta = ([], []) if isinstance(function, str) else (list(function[1:2]), list(function[2:3]))
    compare("RNN", "h", pylstm.RNN(I, H, nonlinearity=function), [name], alpha, beta, scale=0.4)
