"""Stateful layers of Keras, without Keras: a call goes on from the states that the one before has left."""

from __future__ import annotations

import copy
import io
import pickle
import threading

import numpy as np
import pytest

import pylstm
from pylstm.files.keras.recurrent import ours
from support.keras_files import file_of, h5_of, layer, tensor

F, H, N, T = 3, 4, 4, 6
X = np.random.default_rng(0).normal(size=(N, T, F)).astype(np.float32)
RNG = np.random.default_rng(1)
CELL = [RNG.normal(size=(F, 4 * H)) * 0.4, RNG.normal(size=(H, 4 * H)) * 0.4, RNG.normal(size=4 * H)]


def one(size=N, **values):
    values = {"units": H, "stateful": True, "return_sequences": True, **values}
    layers = [layer("InputLayer", "x", batch_shape=[size, None, F]), layer("LSTM", "lstm", tensor("x"), **values)]
    return pylstm.from_keras(
        file_of(layers, {"lstm/cell": CELL}, input_layers=["x", 0, 0], output_layers=["lstm", 0, 0])
    )


def no_number(output, targets, lengths=None):  # noqa: ARG001
    return float("nan"), output * 0


def whole():
    """What comes out of all steps at once."""
    mine = pylstm.LSTM(F, H, batch_first=True, recurrent_bias=False)
    mine.load_state_dict({f"{name}_l0": value for name, value in ours("LSTM", CELL).items()})
    return mine(X)[0]


@pytest.mark.parametrize("call", [
    lambda model, x: model(x), lambda model, x: model.predict(x), lambda model, x: model.predict(x, batch_size=N),
    lambda model, x: model.forward(x)[0],
])  # fmt: skip
def test_pieces_are_as_the_whole(call):
    model = one()
    assert type(model) is pylstm.KerasModel
    assert model.stateful
    for _ in range(2):
        found = np.concatenate([call(model, X[:, :2]), call(model, X[:, 2:3]), call(model, X[:, 3:])], axis=1)
        np.testing.assert_allclose(found, whole(), atol=1e-6)
        model.reset_states()


def test_one_that_is_not_stateful():
    model = one(stateful=False, return_state=True)
    assert type(model) is pylstm.KerasModel
    assert not model.stateful
    assert np.array_equal(model(X), model(X))
    model.reset_states()
    assert model(X[:1]).shape == (1, T, H)


def test_predict_goes_batch_by_batch_in_order():
    model = one()
    both = model.predict(np.concatenate([X[:, :3], X[:, 3:]]))
    np.testing.assert_allclose(np.concatenate([both[:N], both[N:]], axis=1), whole(), atol=1e-6)


def test_shuffling_and_lengths_keep_the_order():
    seen = []

    class Watching(pylstm.Callback):
        def end_batch(self, training):
            seen.append(training.model._states.count)

    model, other = one(), one()
    x, y = np.concatenate([X, -X]), np.zeros((2 * N, T, H), np.float32)
    for each, shuffle in ((model, True), (other, False)):
        each.fit(x, y, loss="mse", batch_size=N, epochs=2, shuffle=shuffle, verbose=0, callbacks=[Watching()])
    assert np.array_equal(model(X), other(X))
    assert seen == [N] * 8
    lengths = [6, 1, 3, 2]
    model = one()
    model.predict(X, lengths=lengths)
    state = model._states.arrays
    (arrays,) = state.values()
    for n, length in enumerate(lengths):
        np.testing.assert_allclose(arrays[0][n], whole()[n, length - 1], atol=1e-6)


def test_evaluation_carries_them_too():
    model, y = one(), np.zeros((N, 3, H), np.float32)
    first = model.evaluate(X[:, :3], y, loss="mse", batch_size=N)["loss"]
    second = model.evaluate(X[:, 3:], y, loss="mse", batch_size=N)["loss"]
    np.testing.assert_allclose([first, second], [(whole()[:, :3] ** 2).mean(), (whole()[:, 3:] ** 2).mean()], rtol=1e-5)


def test_looks_and_failures_move_no_state():
    model, y = one(), np.zeros((N, T, H), np.float32)
    assert model.keeps_time is True
    model(X[:, :3])
    before = model._states
    with pytest.raises(FloatingPointError):
        model.fit(X, y, loss=no_number, batch_size=N, verbose=0)
    assert model._states is before
    with pytest.raises(ValueError, match="the input 'x' must"):
        model(X[:, :, :2])
    assert model._states is before
    np.testing.assert_allclose(model(X[:, 3:]), whole()[:, 3:], atol=1e-6)


def test_a_batch_of_another_size_is_refused_with_both_sizes():
    model = one()
    with pytest.raises(ValueError, match=r"the LSTM 'lstm' is stateful.*of 4 sequences, and the batch has 3.*size=3"):
        model(X[:3])
    y = np.zeros((N, T, H), np.float32)
    for call in (
        lambda: model.fit(X, y, loss="mse", verbose=0), lambda: model.evaluate(X, y, loss="mse"),
        lambda: model.predict(X, batch_size=2),
        lambda: model.fit(X, y, loss="mse", batch_size=N, validation_data=(X[:2], y[:2]), verbose=0),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"batch_size must be 4, got|which is no multiple of batch_size, 4"):
            call()
    with pytest.raises(ValueError, match="x holds 3 sequences, which is no multiple of batch_size, 4"):
        model.predict(X[:3])
    np.testing.assert_allclose(model(X), whole(), atol=1e-6)
    model.reset_states(batch_size=1)
    np.testing.assert_allclose(model(X[:1]), whole()[:1], atol=1e-6)
    with pytest.raises(ValueError, match="those of 1 sequences, and the batch has 4"):
        model(X)
    model.reset_states()
    np.testing.assert_allclose(model(X), whole(), atol=1e-6)


@pytest.mark.parametrize("size", [0, -1, 1.5, "4", True])
def test_what_is_no_batch_size(size):
    model = one()
    model(X)
    before = model._states
    with pytest.raises((TypeError, ValueError), match="batch_size"):
        model.reset_states(batch_size=size)
    assert model._states is before


def test_where_the_file_says_no_size_the_first_batch_does():
    model = one(size=None)
    model(X[:2])
    with pytest.raises(ValueError, match="those of 2 sequences, and the batch has 4"):
        model(X)
    model.reset_states()
    np.testing.assert_allclose(model(X), whole(), atol=1e-6)


def test_copies_and_files_begin_anew(tmp_path):
    model = one()
    model(X)
    pylstm.to_keras(model, tmp_path / "m.keras")
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model)),
                  pylstm.from_keras(tmp_path / "m.keras")):  # fmt: skip
        np.testing.assert_allclose(other(X), whole(), atol=1e-6)
        with pytest.raises(ValueError, match="those of 4 sequences"):
            other(X[:1])
    assert "stateful" in str(one()._graph.config.layers["lstm"].values)
    assert not np.allclose(model(X), whole())


def test_a_model_that_stands_in_another_one():
    class Around(pylstm.Model):
        def __init__(self):
            self.inner = one()

        def run(self, x):
            return self.inner(x) * 2

    model = Around()
    found = np.concatenate([model(X[:, :4]), model(X[:, 4:])], axis=1)
    np.testing.assert_allclose(found, 2 * whole(), atol=1e-6)
    model.inner.reset_states()
    model.fit(X, np.zeros((N, T, H), np.float32), loss="mse", batch_size=N, optimizer=pylstm.SGD(0.0), shuffle=False,
              verbose=0)  # fmt: skip
    after = model.inner._states.arrays
    np.testing.assert_allclose(next(iter(after.values()))[0], whole()[:, -1], atol=1e-6)  # once, and not twice


def test_threads_see_whole_states():
    """Each call begins with states that some call has left: of none two halves."""
    model = one()
    outputs, errors = [], []

    def work():
        try:
            for _ in range(30):
                outputs.append(model(X))  # noqa: PERF401 - as they come
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one_thread in threads:
        one_thread.start()
    for one_thread in threads:
        one_thread.join()
    assert not errors
    alone = one()
    known = [alone(X) for _ in range(121)]
    for found in outputs:
        assert any(np.array_equal(found, one_of) for one_of in known)


def test_states_given_by_the_graph_go_before_those_of_the_layer():
    layers = [
        layer("InputLayer", "x", batch_shape=[N, None, F]), layer("InputLayer", "h", batch_shape=[N, H]),
        layer("InputLayer", "c", batch_shape=[N, H]),
        layer("LSTM", "lstm", tensor("x"), units=H, stateful=True, return_sequences=True),
    ]  # fmt: skip
    layers[-1]["inbound_nodes"][0]["kwargs"] = {"initial_state": [tensor("h"), tensor("c")]}
    model = pylstm.from_keras(file_of(
        layers, {"lstm/cell": CELL}, input_layers=[["x", 0, 0], ["h", 0, 0], ["c", 0, 0]],
        output_layers=["lstm", 0, 0],
    ))  # fmt: skip
    zeros = np.zeros((N, H), np.float32)
    for _ in range(2):
        np.testing.assert_allclose(model(X, zeros, zeros), whole(), atol=1e-6)


def test_a_model_of_keras_2_says_its_size_in_its_first_layer():
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [
        {"class_name": "LSTM", "config": {"name": "lstm", "units": H, "stateful": True, "return_sequences": True,
                                          "batch_input_shape": [N, T, F], "recurrent_activation": "sigmoid"}},
    ]}}  # fmt: skip
    model = pylstm.from_keras(h5_of("2.2.4", config, {"lstm": CELL}))
    np.testing.assert_allclose(model(X), whole(), atol=1e-6)
    with pytest.raises(ValueError, match="those of 4 sequences, and the batch has 2"):
        model(X[:2])


def test_what_is_refused():
    model = one()
    with pytest.raises(ValueError, match="carries its states anyway"):
        model.fit(X, X, loss="mse", stateful=True, batch_size=N, verbose=0)
    inner = layer("LSTM", "lstm", units=H, stateful=True)
    layers = [layer("InputLayer", "x"), layer("TimeDistributed", "steps", tensor("x"), layer=inner)]
    with pytest.raises(pylstm.ModelFileError, match="stateful, which is not read"):
        pylstm.from_keras(file_of(layers, {"time_distributed/layer/cell": CELL}, input_layers=["x", 0, 0],
                                  output_layers=["steps", 0, 0]))  # fmt: skip

    class Resetting(pylstm.Model):
        def __init__(self):
            self.inner = one()

        def run(self, x):
            self.inner.reset_states()
            return self.inner(x)

    with pytest.raises(TypeError, match="inside of a model's run"):
        Resetting()(X)


def test_a_model_that_is_saved_is_told_how(tmp_path):
    """Whoever asks, and by which kind of file it came from."""
    model, y = one(), np.zeros((N, T, H), np.float32)
    checkpoint = pylstm.ModelCheckpoint(str(tmp_path / "c.npz"))
    for call in (
        lambda: model.save(io.BytesIO()), lambda: model.save(tmp_path / "m.npz"),
        lambda: model.fit(X, y, loss="mse", batch_size=N, callbacks=[checkpoint], verbose=0),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=r'pylstm\.to_keras\(model, "model\.keras"\)'):
            call()
    assert not list(tmp_path.iterdir())
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [
        {"class_name": "LSTM", "config": {"name": "lstm", "units": H, "go_backwards": True}}]}}  # fmt: skip
    for version, end in (("2.2.4", "model.h5"), ("1.2.2", "model.weights.h5")):
        arrays = CELL if version[0] == "2" else [one[:, k * H : (k + 1) * H] if one.ndim > 1 else one[:H]
                                                 for k in range(4) for one in CELL]  # fmt: skip
        older = pylstm.from_keras(h5_of(version, config, {"lstm": arrays}))
        with pytest.raises(TypeError, match=rf'pylstm\.to_keras\(model, "{end}"\)'):
            older.save(tmp_path / "m.npz")
        pylstm.to_keras(older, tmp_path / end)
