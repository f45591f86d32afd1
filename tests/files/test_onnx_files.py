"""ONNX files of other programs: their outputs, their states, and the layers in them."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest

import pylstm
from support.onnx_files import EXPORTS, HERE, SILERO

FILES = {path.name: path for folder in (HERE, EXPORTS) for path in sorted(folder.glob("*.onnx"))}


def golden(path):
    return dict(np.load(str(path)[:-4] + "npz"))


def outputs_of(found):
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("name", FILES)
def test_outputs(name):
    """What PyTorch computed of the same inputs."""
    model, arrays = pylstm.from_onnx(FILES[name]), golden(FILES[name])
    inputs = [arrays[f"in{at}"] for at in range(len(model.inputs))]
    found = outputs_of(model(*inputs))
    assert len(found) == len(arrays) - len(inputs)
    for at, y in enumerate(found):
        assert np.abs(y - arrays[f"out{at}"]).max() < 5e-7
        assert y.flags.writeable
    names = [value.name for value in model.inputs]
    again = outputs_of(model(**dict(zip(names, inputs, strict=True))))
    assert all(np.array_equal(one, other) for one, other in zip(found, again, strict=True))


LAYERS = {
    "last_step": ["Embedding", "LSTM", "LastStep", "Linear"], "lstm_2bi": ["LSTM", "LSTM"], "gru_bf": ["GRU"],
    "lstm_bf": ["LSTM"], "rnn_relu": ["RNN"],
}  # fmt: skip
NO_CHAIN = ("lstm_bf_states.legacy", "lstm_bf_states.dynamo", "rnn_relu.dynamo", "rnn_relu.dynamo-dynamic")


@pytest.mark.parametrize("name", FILES)
def test_layers(name):
    model, arrays = pylstm.from_onnx(FILES[name]), golden(FILES[name])
    if name[:-5] in NO_CHAIN:
        with pytest.raises(ValueError, match=r"no chain of layers: node .*It can be called as it is"):
            model.to_sequential()
        return
    net = model.to_sequential()
    assert [type(layer).__name__ for layer in net] == LAYERS[name.split(".")[0]]
    x = arrays["in0"]
    time_first = name.startswith("lstm_2bi")
    y = net(x.swapaxes(0, 1) if time_first else x)
    assert np.abs((y.swapaxes(0, 1) if time_first else y) - arrays["out0"]).max() < 5e-7


def test_a_model_that_was_read_can_be_trained(tmp_path):
    net = pylstm.from_onnx(HERE / "last_step.legacy-dynamic.onnx").to_sequential()
    x = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9], [3, 2, 1]])
    y = np.array([0, 1, 2, 0])
    history = net.fit(x, y, loss="cross_entropy", optimizer=pylstm.Adam(0.05), epochs=30, verbose=0)
    assert history["loss"][-1] < 0.2 * history["loss"][0]
    net.save(tmp_path / "net.npz")
    assert np.array_equal(pylstm.load(tmp_path / "net.npz")(x), net(x))


@pytest.mark.parametrize("name", ["lstm_bf_states.legacy", "lstm_bf_states.dynamo"])
def test_states_are_found_and_kept(name):
    path = FILES.get(f"{name}.onnx")
    if path is None:
        pytest.skip("the shared examples are absent")
    model, arrays = pylstm.from_onnx(path), golden(path)
    x, h, c = (arrays[f"in{at}"] for at in range(3))
    names = [value.name for value in model.inputs]
    stream = model.stream(batch_size=2)
    y_zero = stream.step(x)
    assert np.abs(y_zero - model(x, h * 0, c * 0)[0]).max() < 1e-6
    stream.state = {names[1]: h, names[2]: c}
    first = stream.step(x)
    assert np.abs(first - arrays["out0"]).max() < 5e-7
    second = stream.step(x)
    after = model(x, *model(x, h, c)[1:])
    assert np.array_equal(second, after[0])
    assert np.array_equal(stream.state[names[2]], after[2])
    stream.reset()
    assert np.array_equal(stream.step(x), y_zero)


def test_a_file_object():
    data = (HERE / "rnn_relu.legacy.onnx").read_bytes()
    x = golden(HERE / "rnn_relu.legacy.onnx")["in0"]
    y = pylstm.from_onnx(HERE / "rnn_relu.legacy.onnx")(x)
    assert np.array_equal(pylstm.from_onnx(io.BytesIO(data))(x)[0], y[0])


# ---- a real model ----------------------------------------------------------------------------------------------------

needs_silero = pytest.mark.skipif(not SILERO.exists(), reason="the shared examples are absent")


def frames(count):
    with wave.open(str(SILERO / "test_first_12.8s.wav")) as file:
        sound = np.frombuffer(file.readframes(count * 512), "<i2").astype(np.float32) / 32768
    sound = np.concatenate([np.zeros(64, np.float32), sound])
    return [sound[None, at * 512 : at * 512 + 576] for at in range(count)]


@needs_silero
def test_silero_frame_by_frame():
    """A detector of speech with branches, convolutions and an LSTM: every frame as onnxruntime has it."""
    model = pylstm.from_onnx(SILERO / "silero_vad_16k_op15.onnx")
    expected = dict(np.load(SILERO / "golden_op15_400frames.npz"))
    stream = model.stream(sr=16000)
    worst = 0.0
    for at, frame in enumerate(frames(400)):
        (probability,) = stream.step(frame)[0]
        worst = max(worst, abs(probability - expected["prob"][at]))
    assert worst <= 1e-6
    assert np.allclose(stream.state["state"][0, 0], expected["h"][-1], atol=1e-5)
    assert np.allclose(stream.state["state"][1, 0], expected["c"][-1], rtol=1e-5, atol=1e-4)


@needs_silero
def test_silero_several_at_once():
    model = pylstm.from_onnx(SILERO / "silero_vad_16k_op15.onnx")
    one, two = frames(2)
    state = np.zeros((2, 2, 128), np.float32)
    both, _ = model(np.concatenate([one, two]), state, sr=np.array(16000))
    alone, _ = model(two, state[:, :1], 16000)
    assert np.abs(both[1] - alone[0]).max() < 1e-6
